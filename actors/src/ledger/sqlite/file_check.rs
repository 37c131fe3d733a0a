//! Whether the ledger's files are still at their paths. Blocks.
//!
//! A file that is removed or replaced under a process continues to accept writes, which are lost with it; nothing else reports it. So the
//! ledger accepts none until the file is back.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::names::log_path;

/// The files, with their identities.
#[derive(Debug)]
pub(super) struct LedgerFiles {
    files: Vec<LedgerFile>,
    missing: Option<String>,
}

#[derive(Debug)]
struct LedgerFile {
    path: PathBuf,
    /// Device and inode, once it was seen: the log is created by the first write.
    identity: Option<(u64, u64)>,
}

impl LedgerFiles {
    /// The files of the open ledger at `path`.
    pub(super) fn of(path: &Path) -> Self {
        let files = [path.to_owned(), log_path(path)].map(|path| LedgerFile { path, identity: None }).into();
        let mut files = Self { files, missing: None };
        files.check();
        files
    }

    /// Looks for them. What happened to the first one that is not at its path, in a sentence.
    pub(super) fn check(&mut self) -> Option<String> {
        self.missing = self.files.iter_mut().find_map(LedgerFile::check);
        self.missing.clone()
    }

    /// What the last check found.
    pub(super) fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }
}

impl LedgerFile {
    fn check(&mut self) -> Option<String> {
        let current = match std::fs::symlink_metadata(&self.path) {
            Ok(found) => Some((found.dev(), found.ino())),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            // The next write reports a problem of the disk.
            Err(_) => return None,
        };
        let Some(identity) = self.identity else {
            self.identity = current;
            return None;
        };
        let what = match current {
            Some(current) if current == identity => return None,
            Some(_) => "replaced",
            None => "removed",
        };
        Some(format!(
            "{} was {what} while in use: nothing is accepted until it is back or this process is restarted",
            self.path.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_was_removed_or_replaced_is_named_until_it_is_back() {
        let home = tempfile::tempdir().unwrap();
        for name in ["ledger", "ledger-wal"] {
            let (path, away) = (home.path().join(name), home.path().join("away"));
            fs::write(home.path().join("ledger"), "").unwrap();
            let mut files = LedgerFiles::of(&home.path().join("ledger"));
            fs::write(home.path().join("ledger-wal"), "").unwrap();
            assert_eq!(files.check(), None, "the log is new");
            fs::rename(&path, &away).unwrap();
            let gone = files.check().unwrap();
            assert!(gone.contains("removed") && gone.contains(name), "{gone}");
            fs::write(&path, "").unwrap();
            assert!(files.check().unwrap().contains("replaced"));
            fs::rename(&away, &path).unwrap();
            assert_eq!(files.check(), None);
        }
    }
}
