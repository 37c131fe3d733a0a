//! One gateway per home, decided by the kernel's lock, never by the presence of a file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The name that the original uses, so that the two exclude each other.
const FILE_NAME: &str = "gateway.lock";

/// The lock on a home; given back when dropped, and by the kernel however the process ends.
#[derive(Debug)]
pub(crate) struct HomeLock(#[expect(dead_code, reason = "held, not read")] File);

/// Why the home is not ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another gateway, ours or the original, serves this home.
    #[error("another gateway holds the home {}", .0.display())]
    Held(PathBuf),
    /// The file cannot be made or locked.
    #[error("cannot lock {}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl HomeLock {
    /// Takes the lock of `home`, without waiting.
    ///
    /// # Errors
    /// [`LockError`]; in every case nothing of the home was changed but the empty file made.
    pub(crate) fn take(home: &Path) -> Result<Self, LockError> {
        let path = home.join(FILE_NAME);
        let unusable = |source| LockError::Unusable { path: path.clone(), source };
        // Never truncated: the original keeps a record in it.
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(LockError::Held(home.to_owned())),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }
}

/// Whether a gateway holds `home`, found out without making or writing the file.
///
/// The lock is shared and held for a moment only; a gateway that starts in that very moment is refused, and starts again.
///
/// # Errors
/// What the system said.
pub(crate) fn is_held(home: &Path) -> io::Result<bool> {
    let file = match File::open(home.join(FILE_NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_held_by_one_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let first = HomeLock::take(home.path()).unwrap();
        assert!(matches!(HomeLock::take(home.path()), Err(LockError::Held(_))));
        drop(first);
        assert!(HomeLock::take(home.path()).is_ok());
    }

    #[test]
    fn asking_who_holds_a_home_leaves_it_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        assert!(!is_held(home.path()).unwrap());
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
        let lock = HomeLock::take(home.path()).unwrap();
        assert!(is_held(home.path()).unwrap());
        drop(lock);
        assert!(!is_held(home.path()).unwrap());
    }
}
