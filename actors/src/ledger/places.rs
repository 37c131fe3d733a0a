//! Whether the ledger's files are still at their paths. Blocks.
//!
//! A file that is removed or replaced under a process continues to accept writes, which are lost with it; nothing else shows it.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The files, with their identities.
#[derive(Debug)]
pub(super) struct Places(Vec<FilePlace>);

#[derive(Debug)]
struct FilePlace {
    path: PathBuf,
    /// Device and inode, once it was seen: the log is created by the first write.
    seen: Option<(u64, u64)>,
}

impl Places {
    /// The files of the open ledger at `path`.
    pub(super) fn of(path: &Path) -> Self {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let mut places = Self([path.to_owned(), log.into()].map(|path| FilePlace { path, seen: None }).into());
        places.check();
        places
    }

    /// What happened to the first one that is not at its path, in a sentence.
    pub(super) fn check(&mut self) -> Option<String> {
        self.0.iter_mut().find_map(FilePlace::check)
    }
}

impl FilePlace {
    fn check(&mut self) -> Option<String> {
        let there = match std::fs::symlink_metadata(&self.path) {
            Ok(found) => Some((found.dev(), found.ino())),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            // The next write reports a problem of the disk.
            Err(_) => return None,
        };
        let Some(seen) = self.seen else {
            self.seen = there;
            return None;
        };
        let what = match there {
            Some(there) if there == seen => return None,
            Some(_) => "replaced",
            None => "removed",
        };
        Some(format!(
            "{} was {what} while in use: what is written since is lost with this process; restart it",
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
            let mut places = Places::of(&home.path().join("ledger"));
            fs::write(home.path().join("ledger-wal"), "").unwrap();
            assert_eq!(places.check(), None, "the log has just come");
            fs::rename(&path, &away).unwrap();
            let gone = places.check().unwrap();
            assert!(gone.contains("removed") && gone.contains(name), "{gone}");
            fs::write(&path, "").unwrap();
            assert!(places.check().unwrap().contains("replaced"));
            fs::rename(&away, &path).unwrap();
            assert_eq!(places.check(), None);
        }
    }
}
