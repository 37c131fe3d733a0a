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
        Self::of(&fs::metadata(path))
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

    /// The stamp of what was found by looking.
    #[must_use]
    pub fn of(looked: &io::Result<Metadata>) -> Self {
        match looked {
            Ok(found) => Self::seen(found),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::Missing,
            Err(error) => Self::Unreachable(error.kind()),
        }
    }
}
