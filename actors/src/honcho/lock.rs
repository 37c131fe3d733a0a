//! The lock on `honcho.json` that every process takes before it rotates, this gateway's and the original's alike.
//!
//! It is an exclusive `flock` on `<path>.lock`, a file that is never renamed or removed. If the path is a symbolic link, the
//! lock of its target is taken as well, because another process may use that name. Everything here blocks.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::note::Notes;
use crate::files::{LockFile, Symlinks, own, small};

/// Interval of attempts; a rotation takes some tenths of a second.
const TRY_EVERY: Duration = Duration::from_millis(25);
/// Notes are some hundred bytes per host; a larger file has another content.
const MAX_NOTES: u64 = 256 * 1024;
/// Linux's limit of links.
const MAX_LINKS: usize = 40;

/// The lock, held until dropped. May be moved to another thread.
#[derive(Debug)]
pub struct ConfigLock {
    /// Locked in this order.
    held: Vec<HeldLock>,
    /// The file behind all links.
    target: PathBuf,
}

#[derive(Debug)]
struct HeldLock {
    /// Device and inode.
    identity: (u64, u64),
    path: PathBuf,
    file: LockFile,
}

/// Why there is no lock. Without it no exchange may happen.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it; worth retrying.
    #[error("another process holds {path} for longer than {} s", waited.as_secs())]
    Busy {
        /// Which lock file.
        path: PathBuf,
        /// How long the wait was.
        waited: Duration,
    },
    /// It cannot be opened or locked.
    #[error("{path} cannot be locked")]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl ConfigLock {
    /// Takes the lock of the file at `path`, waiting at most `timeout`. The file itself need not exist.
    ///
    /// # Errors
    /// [`LockError`]; nothing is held then.
    pub fn take(path: &Path, timeout: Duration) -> Result<Self, LockError> {
        let deadline = Instant::now() + timeout;
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io { path, source }
        };
        let named = std::path::absolute(path).map_err(fail(path))?;
        let target = resolve(&named).map_err(fail(path))?;
        let paths = [lock_path(&named), lock_path(&target)];
        loop {
            let mut held = Vec::new();
            for path in &paths {
                held.push(HeldLock::open(path).map_err(fail(path))?);
            }
            // All processes use the same order, whatever name they use; and one file is locked once, because a second lock
            // through another descriptor would wait for the first.
            held.sort_by_key(|held| held.identity);
            held.dedup_by_key(|held| held.identity);
            for held in &held {
                held.lock(deadline, timeout)?;
            }
            // The lock file may have been deleted during the wait: then this lock is not that of the other processes.
            if held.iter().all(HeldLock::is_current) {
                return Ok(Self { held, target });
            }
        }
    }

    /// The file behind all links, which is read and replaced.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The notes of the processes that held the lock before.
    pub(super) fn notes(&self) -> Notes {
        let read = || {
            let mut text = String::new();
            let mut file = self.notes_file();
            file.seek(SeekFrom::Start(0))?;
            file.take(MAX_NOTES).read_to_string(&mut text)?;
            io::Result::Ok(text)
        };
        read().map(|text| Notes::parse(&text)).unwrap_or_default()
    }

    /// Writes notes for the next holders of the lock; on disk when this returns.
    ///
    /// # Errors
    /// The system's error, or the file has foreign content, which is not overwritten.
    pub(super) fn write_notes(&self, notes: &Notes) -> Result<(), LockError> {
        let mut file = self.notes_file();
        let mut write = || {
            let mut held = Vec::new();
            file.seek(SeekFrom::Start(0))?;
            file.take(MAX_NOTES).read_to_end(&mut held)?;
            if !Notes::may_replace(&held) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "its content is not the gateway's; move it away",
                ));
            }
            file.set_len(0)?;
            // The file is open for appending, so this is written at its start.
            file.write_all(notes.to_text().as_bytes())?;
            file.sync_data()
        };
        write().map_err(|source| LockError::Io { path: lock_path(&self.target), source })
    }

    /// Notes are about the file itself, so they are in its own lock, whatever name was used.
    fn notes_file(&self) -> &File {
        let own = lock_path(&self.target);
        let found = self.held.iter().find(|held| held.path == own);
        // Both names may lead to one lock file, of which one name was kept.
        &found.unwrap_or(&self.held[0]).file
    }
}

impl HeldLock {
    fn open(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            own::make_directory(parent)?;
        }
        let file = own::open_or_create(path, own::OpenMode::ReadAppend, 0o600).map_err(|error| error.why)?;
        let seen = file.metadata()?;
        Ok(Self { identity: (seen.dev(), seen.ino()), path: path.to_owned(), file: LockFile::new(file) })
    }

    fn lock(&self, deadline: Instant, timeout: Duration) -> Result<(), LockError> {
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(TRY_EVERY),
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Busy { path: self.path.clone(), waited: timeout });
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(source)) => return Err(LockError::Io { path: self.path.clone(), source }),
            }
        }
    }

    fn is_current(&self) -> bool {
        own::is_at(&self.file, &self.path).unwrap_or(false)
    }
}

/// Reads the notes without the lock, for a first estimate.
pub(super) fn read_notes(path: &Path) -> Notes {
    let read = || small::read_text(&lock_path(&resolve(path)?), MAX_NOTES, Symlinks::Refuse).map_err(io::Error::from);
    read().map(|text| Notes::parse(&text)).unwrap_or_default()
}

/// Whether another process holds the lock at present. Holding it shared for a moment makes no process fail: all retry.
pub(super) fn is_held(path: &Path) -> bool {
    let file = resolve(path).and_then(|target| Ok(small::open(&lock_path(&target), Symlinks::Refuse)?));
    file.and_then(|(file, _)| LockFile::new(file).is_taken()).unwrap_or(false)
}

/// `path` with the links of its last part followed, even if the target does not exist yet.
///
/// # Errors
/// The system's error; `FilesystemLoop` is reported as [`io::ErrorKind::InvalidInput`].
pub(super) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&path) {
            // A relative link is relative to its directory; `join` leaves an absolute one unchanged.
            Ok(link) => path = path.parent().unwrap_or(Path::new("/")).join(link),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Ok(path.canonicalize().unwrap_or(path));
            }
            // It has no other name.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "too many links"))
}

/// The lock file of `path`.
#[must_use]
pub fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}
