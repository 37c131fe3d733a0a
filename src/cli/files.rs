//! The permissions of the files that hold secrets.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use caduceus_actors::honcho::location;
use caduceus_actors::ledger::place;
use caduceus_actors::relay::identity;

use super::finding::{Finding, quoted};

/// Names in a home whose files hold secrets: Caduceus's, and the original's token store.
const SECRET_FILES: [&str; 3] = [".env", location::FILE_NAME, identity::LOGIN_FILE];
/// A file that is there, and its permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileFact {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
}

impl FileFact {
    /// Reads the mode of `path`, links followed; `None` if there is no file.
    pub(super) fn read(path: PathBuf) -> Option<Self> {
        let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o777;
        Some(Self { path, mode })
    }
}

/// The files with secrets in a profile's home.
pub(super) fn of_profile(home: &Path) -> Vec<FileFact> {
    SECRET_FILES.iter().filter_map(|name| FileFact::read(home.join(name))).collect()
}

/// The files that the gateway itself keeps in its home.
pub(super) fn of_ledger(home: &Path) -> Vec<FileFact> {
    let ledger = place::find(home);
    let with = |ending: &&str| FileFact::read(format!("{}{ending}", ledger.display()).into());
    // They hold messages of users.
    [""].iter().chain(&place::COMPANIONS).filter_map(with).collect()
}

/// A finding for each file that others than its owner may use.
pub(super) fn exposed<'a>(files: impl IntoIterator<Item = &'a FileFact>) -> Vec<Finding> {
    let finding = |file: &FileFact| {
        let what = match file.mode & 0o077 {
            0 => return None,
            bits if bits & 0o022 != 0 => "changed",
            _ => "read",
        };
        let detail = format!("{} can be {what} by others (mode {:04o})", file.path.display(), file.mode);
        Some(Finding::warn("file_mode", detail, format!("chmod 600 {}", quoted(&file.path))))
    };
    files.into_iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_exposed_by_any_permission_for_others() {
        for (mode, found) in
            [(0o600, None), (0o400, None), (0o700, None), (0o640, Some("read")), (0o602, Some("changed"))]
        {
            let file = FileFact { path: "/h/.env".into(), mode };
            let findings = exposed([&file]);
            assert_eq!(findings.is_empty(), found.is_none(), "{mode:o}");
            assert!(findings.iter().all(|finding| finding.detail.contains(found.unwrap_or_default())), "{findings:?}");
        }
    }
}
