//! Why a file cannot be used: its path, and what is there.

use std::fmt;
use std::fs::FileType;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

/// The kind of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A named pipe (FIFO).
    Pipe,
    /// A socket.
    Socket,
    /// A character or block device.
    Device,
    /// A symbolic link that is not followed.
    Link,
    /// Something else.
    Other,
}

impl FileKind {
    /// The kind by the system's type.
    #[must_use]
    pub fn of(kind: FileType) -> Self {
        match kind {
            kind if kind.is_file() => Self::File,
            kind if kind.is_dir() => Self::Directory,
            kind if kind.is_symlink() => Self::Link,
            kind if kind.is_fifo() => Self::Pipe,
            kind if kind.is_socket() => Self::Socket,
            kind if kind.is_char_device() || kind.is_block_device() => Self::Device,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a regular file",
            Self::Directory => "a directory",
            Self::Pipe => "a named pipe",
            Self::Socket => "a socket",
            Self::Device => "a device",
            Self::Link => "a symbolic link, which is not followed here",
            Self::Other => "something else",
        })
    }
}

/// A file that cannot be used. Contains none of its content.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct FileError {
    /// Its path.
    pub path: PathBuf,
    /// The reason.
    pub why: Unusable,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It does not exist.
    #[error("there is no such file")]
    Missing,
    /// It is a link without a target.
    #[error("it is a symbolic link to nothing")]
    Dangling,
    /// It is not a regular file: opening or reading it could block, or never end.
    #[error("it is not a file, but {0}")]
    NotAFile(FileKind),
    /// It is too large for its purpose, for example a log.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// It is not text.
    #[error("it is not UTF-8 at byte {0}")]
    NotText(usize),
    /// It belongs to another user, for example because root created it first.
    #[error(
        "permission denied: it belongs to user {owner} and this process runs as user {user}; as root run `{remedy}`"
    )]
    Foreign {
        /// The id of the owner.
        owner: u32,
        /// The id of our user.
        user: u32,
        /// The command that changes the owner.
        remedy: String,
    },
    /// The system's error.
    #[error("it cannot be used: {0}")]
    System(io::Error),
}

impl FileError {
    /// Whether the file does not exist; also for a link without a target.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.why, Unusable::Missing | Unusable::Dangling)
    }

    pub(super) fn new(path: &Path, why: Unusable) -> Self {
        Self { path: path.to_owned(), why }
    }
}

impl Unusable {
    /// The kind of the equivalent system error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing | Self::Dangling => ErrorKind::NotFound,
            Self::NotAFile(FileKind::Directory) => ErrorKind::IsADirectory,
            Self::NotAFile(_) => ErrorKind::InvalidInput,
            Self::TooLarge(_) => ErrorKind::FileTooLarge,
            Self::NotText(_) => ErrorKind::InvalidData,
            Self::Foreign { .. } => ErrorKind::PermissionDenied,
            Self::System(error) => error.kind(),
        }
    }
}

/// For callers whose text has the path already.
impl From<Unusable> for io::Error {
    fn from(why: Unusable) -> Self {
        match why {
            Unusable::System(error) => error,
            why => Self::new(why.kind(), why),
        }
    }
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        Self::new(error.why.kind(), error)
    }
}

/// The reason at `path`, after an attempt to open it failed with `error`.
pub(super) fn explain(path: &Path, follow: bool, error: io::Error) -> FileError {
    if error.kind() == ErrorKind::NotFound {
        return missing(path);
    }
    let found = if follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
    let why = match found {
        Ok(found) if !found.is_file() => Unusable::NotAFile(FileKind::of(found.file_type())),
        Ok(found) if error.kind() == ErrorKind::PermissionDenied => {
            foreign(path, &found).unwrap_or(Unusable::System(error))
        }
        Ok(_) | Err(_) => Unusable::System(error),
    };
    FileError::new(path, why)
}

/// The reason why no file was found at `path`.
pub(super) fn missing(path: &Path) -> FileError {
    let link = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    FileError::new(path, if link { Unusable::Dangling } else { Unusable::Missing })
}

fn foreign(path: &Path, found: &std::fs::Metadata) -> Option<Unusable> {
    let (owner, user) = (std::os::unix::fs::MetadataExt::uid(found), rustix::process::geteuid().as_raw());
    let shown = path.display().to_string().replace('\'', r"'\''");
    (owner != user).then(|| Unusable::Foreign { owner, user, remedy: format!("chown {user} '{shown}'") })
}
