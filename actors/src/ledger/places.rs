//! Whether the ledger's files are still where they were opened. Blocks.
//!
//! A file that was removed or replaced under a process goes on taking its writes, and is gone with it: nothing else tells.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The files, and which they were.
#[derive(Debug)]
pub(super) struct Places(Vec<FilePlace>);

#[derive(Debug)]
struct FilePlace {
    path: PathBuf,
    /// Device and number, once it was seen: the log is made by the first write.
    seen: Option<(u64, u64)>,
}

impl Places {
    /// Those of the ledger at `path`, which is open.
    pub(super) fn of(path: &Path) -> Self {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let mut places = Self([path.to_owned(), log.into()].map(|path| FilePlace { path, seen: None }).into());
        places.gone();
        places
    }

    /// What became of the first one that is not where it was, in a sentence.
    pub(super) fn gone(&mut self) -> Option<String> {
        self.0.iter_mut().find_map(FilePlace::gone)
    }
}

impl FilePlace {
    fn gone(&mut self) -> Option<String> {
        let there = match std::fs::symlink_metadata(&self.path) {
            Ok(found) => Some((found.dev(), found.ino())),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            // The next write says what is wrong with the disk.
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
            assert_eq!(places.gone(), None, "the log has just come");
            fs::rename(&path, &away).unwrap();
            let gone = places.gone().unwrap();
            assert!(gone.contains("removed") && gone.contains(name), "{gone}");
            fs::write(&path, "").unwrap();
            assert!(places.gone().unwrap().contains("replaced"));
            fs::rename(&away, &path).unwrap();
            assert_eq!(places.gone(), None);
        }
    }
}
