//! Files with an `flock`, which excludes other processes for as long as it is held.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::Deref;
use std::thread;
use std::time::{Duration, Instant};

/// How long the lock of a killed process may still be held: a child that it had forked keeps it until it executes its program.
pub const INHERITED_LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two tries.
const TRY_EVERY: Duration = Duration::from_millis(10);

/// A file for an exclusive lock. Dropping it releases the lock.
///
/// The lock belongs to the opened file, and closing releases it only once no process has it open. A child that another thread has
/// forked has it open until it executes its program, so the lock is released by name.
#[derive(Debug)]
pub struct LockFile(File);

impl LockFile {
    /// A file without a lock so far.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self(file)
    }

    /// Takes the lock if no one else has it.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] if another process, or another opened file of this one, has the lock.
    #[expect(clippy::disallowed_methods, reason = "released by the drop")]
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.0.try_lock()
    }

    /// Takes the lock, and waits for it for at most `limit`. Blocks the thread.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] if another has the lock all the time.
    pub fn lock_within(&self, limit: Duration) -> Result<(), TryLockError> {
        let until = Instant::now() + limit;
        loop {
            match self.try_lock() {
                Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(TRY_EVERY),
                tried => return tried,
            }
        }
    }

    /// Whether another process has the lock at present; if not, it is held shared for a moment.
    ///
    /// # Errors
    /// The system's error.
    #[expect(clippy::disallowed_methods, reason = "released by the drop")]
    pub fn is_taken(self) -> io::Result<bool> {
        match self.0.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Deref for LockFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing releases it as well, later perhaps.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::own::{OpenMode, open_or_create};

    #[test]
    fn a_dropped_lock_is_free_though_a_forked_child_still_has_its_file_open() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("it.lock");
        let open = || LockFile::new(open_or_create(&path, OpenMode::ReadWrite, 0o600).unwrap());
        let first = open();
        first.try_lock().unwrap();
        // The same opened file under another descriptor: what a child has between fork and exec.
        let inherited = first.try_clone().unwrap();
        assert!(matches!(open().try_lock(), Err(TryLockError::WouldBlock)));
        assert!(open().is_taken().unwrap());
        drop(first);
        assert!(!open().is_taken().unwrap());
        open().try_lock().unwrap();
        drop(inherited);
    }
}
