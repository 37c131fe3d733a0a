//! Files: opening and reading them, detecting changes, and threads for file systems that may not answer.

mod error;
pub mod events;
mod listeners;
pub mod lock_file;
pub mod own;
mod pool;
pub mod small;
#[cfg(test)]
pub(crate) mod special;
pub mod stamp;
mod sweep;
pub mod workers;

pub use error::{FileError, FileKind, Unusable};
pub use events::{FileEvents, Listening};
pub use lock_file::{INHERITED_LOCK_TIMEOUT, LockFile};
pub use small::{Contents, Symlinks};
pub use stamp::FileStamp;
pub use workers::{FileWorker, NoAnswer, Purpose};
