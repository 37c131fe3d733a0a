//! Distinguishes the states of a file without reading it.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

/// Distinguishes the directories that were at one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirectoryIdentity {
    device: u64,
    inode: u64,
    /// `None` where the file system does not record it. The number of a removed directory may be given to another.
    created: Option<SystemTime>,
}

/// One state of one path, links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileStamp {
    /// It does not exist.
    Missing,
    /// It is a symbolic link without a target: an error, unlike a missing file.
    Dangling,
    /// It cannot be examined.
    Unreachable(ErrorKind),
    /// It exists.
    Present {
        /// Its device; a file that replaces it has another number.
        device: u64,
        /// See `device`.
        inode: u64,
        /// Its length.
        bytes: u64,
        /// The time of the last write, in seconds and nanoseconds.
        modified: (i64, i64),
        /// The time of the last change of any kind.
        changed: (i64, i64),
    },
}

impl DirectoryIdentity {
    /// Examines `path`, links followed; `None` if there is no directory. Blocks.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok().filter(Metadata::is_dir)?;
        Some(Self { device: found.dev(), inode: found.ino(), created: found.created().ok() })
    }

    /// Whether both are one directory, and not one that replaced the other.
    pub(super) fn is_certainly(self, other: Self) -> bool {
        self == other && self.created.is_some()
    }
}

impl FileStamp {
    /// Examines `path`. Blocks.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        match Self::of(&fs::metadata(path)) {
            Self::Missing if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) => Self::Dangling,
            stamp => stamp,
        }
    }

    /// The stamp of an existing file.
    #[must_use]
    pub fn of_metadata(found: &Metadata) -> Self {
        Self::Present {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    fn of(metadata: &io::Result<Metadata>) -> Self {
        match metadata {
            Ok(found) => Self::of_metadata(found),
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
        assert_eq!(FileStamp::read(&path), FileStamp::Missing);
        symlink("real", &path).unwrap();
        assert_eq!(FileStamp::read(&path), FileStamp::Dangling);
        fs::write(home.path().join("real"), "1").unwrap();
        assert_eq!(FileStamp::read(&path), FileStamp::of_metadata(&fs::metadata(home.path().join("real")).unwrap()));
        assert!(matches!(FileStamp::read(&path.join("below")), FileStamp::Unreachable(ErrorKind::NotADirectory)));
    }
}
