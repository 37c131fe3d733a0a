//! What tells one state of a file from another without reading it.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// One state of one path, links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stamp {
    /// There is nothing.
    Missing,
    /// There is a symbolic link that leads to nothing: a trouble, where a missing file is none.
    Dangling,
    /// It cannot be looked at.
    Unreachable(ErrorKind),
    /// It is there.
    Present {
        /// Where it lies; another file in its place has another number.
        device: u64,
        /// See `device`.
        inode: u64,
        /// How long it is.
        bytes: u64,
        /// When it was written, in seconds and nanoseconds.
        modified: (i64, i64),
        /// When anything about it changed.
        changed: (i64, i64),
    },
}

impl Stamp {
    /// Looks at `path`. Blocks.
    #[must_use]
    pub fn look(path: &Path) -> Self {
        match Self::of(&fs::metadata(path)) {
            Self::Missing if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) => Self::Dangling,
            stamp => stamp,
        }
    }

    /// The stamp of what is there.
    #[must_use]
    pub fn seen(found: &Metadata) -> Self {
        Self::Present {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    fn of(looked: &io::Result<Metadata>) -> Self {
        match looked {
            Ok(found) => Self::seen(found),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::Missing,
            Err(error) => Self::Unreachable(error.kind()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_state_of_a_path_has_a_stamp_of_its_own() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("it");
        assert_eq!(Stamp::look(&path), Stamp::Missing);
        symlink("real", &path).unwrap();
        assert_eq!(Stamp::look(&path), Stamp::Dangling);
        fs::write(home.path().join("real"), "1").unwrap();
        assert_eq!(Stamp::look(&path), Stamp::seen(&fs::metadata(home.path().join("real")).unwrap()));
        assert!(matches!(Stamp::look(&path.join("below")), Stamp::Unreachable(ErrorKind::NotADirectory)));
    }
}
