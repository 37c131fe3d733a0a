//! One gateway per home, decided by the kernel's lock, never by the presence of a file.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use caduceus_actors::atomic;
use caduceus_actors::status::identity::{Identity, Written};
use tracing::warn;

/// The name that the original uses, so that the two exclude each other.
const LOCK: &str = "gateway.lock";
/// Where the original's tools look for the process first.
const PID: &str = "gateway.pid";
/// Records are some hundred bytes.
const MAX_RECORD: u64 = 64 * 1024;

/// The lock on a home; given back when dropped, and by the kernel however the process ends.
#[derive(Debug)]
pub(crate) struct HomeLock {
    #[expect(dead_code, reason = "held, not read")]
    file: File,
    pid_file: PathBuf,
}

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
    /// Takes the lock of `home`, without waiting, and writes down who has it.
    ///
    /// # Errors
    /// [`LockError`]; in every case nothing of the home was changed but the empty file made.
    pub(crate) fn take(home: &Path, identity: &Identity) -> Result<Self, LockError> {
        let path = home.join(LOCK);
        let unusable = |source| LockError::Unusable { path: path.clone(), source };
        let file = loop {
            let file = open(&path).map_err(unusable)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(LockError::Held(home.to_owned())),
                Err(TryLockError::Error(source)) => return Err(unusable(source)),
            }
            // The original's tools remove the file of a gateway that is gone; one who locked it just then holds nothing.
            if is_at(&file, &path).map_err(unusable)? {
                break file;
            }
        };
        let (record, pid_file) = (identity.to_json(), home.join(PID));
        if let Err(error) = write(&file, &record).and_then(|()| atomic::replace(&pid_file, &record)) {
            warn!(%error, "who holds the home cannot be written down; the home is held all the same");
        }
        Ok(Self { file, pid_file })
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        // Before the lock is given back, after which it might be another's.
        if read(&self.pid_file).is_some_and(|written| written.pid == std::process::id()) {
            let _ = fs::remove_file(&self.pid_file);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    // Never truncated here: what is in it is the holder's.
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// In place: a lock is on the file, and another file under its name would not be locked.
fn write(mut file: &File, record: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(record)?;
    file.sync_all()
}

fn read(path: &Path) -> Option<Written> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_RECORD).read_to_end(&mut bytes).ok()?;
    Written::parse(&bytes)
}

/// Who holds `home`, as the holder wrote it down and as far as that process is there: ours or the original's.
///
/// Ask only when [`is_held`]; a record outlives its process.
pub(crate) fn holder(home: &Path) -> Option<Written> {
    [LOCK, PID].iter().filter_map(|name| read(&home.join(name))).find(Written::is_alive)
}

/// Whether a gateway holds `home`, found out without making or writing the file.
///
/// The lock is shared and held for a moment only; a gateway that starts in that very moment is refused, and starts again.
///
/// # Errors
/// What the system said.
pub(crate) fn is_held(home: &Path) -> io::Result<bool> {
    let file = match File::open(home.join(LOCK)) {
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

    fn own() -> Identity {
        Identity::own(vec!["hermes-gateway".to_owned()])
    }

    #[test]
    fn a_home_is_held_by_one_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let first = HomeLock::take(home.path(), &own()).unwrap();
        assert!(matches!(HomeLock::take(home.path(), &own()), Err(LockError::Held(_))));
        drop(first);
        assert!(HomeLock::take(home.path(), &own()).is_ok());
    }

    #[test]
    fn asking_who_holds_a_home_leaves_it_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        assert!(!is_held(home.path()).unwrap());
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
        let lock = HomeLock::take(home.path(), &own()).unwrap();
        assert!(is_held(home.path()).unwrap());
        drop(lock);
        assert!(!is_held(home.path()).unwrap());
    }

    #[test]
    fn the_holder_writes_itself_down_and_takes_its_pid_file_along() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(LOCK), "a long record of a gateway that crashed".repeat(50)).unwrap();
        fs::write(home.path().join(PID), r#"{"kind":"hermes-gateway","pid":1,"start_time":1}"#).unwrap();
        assert_eq!(holder(home.path()), None);
        let lock = HomeLock::take(home.path(), &own()).unwrap();
        assert_eq!(holder(home.path()).unwrap().pid, std::process::id());
        assert_eq!(read(&home.path().join(PID)), read(&home.path().join(LOCK)));
        drop(lock);
        assert!(!home.path().join(PID).exists());
    }

    #[test]
    fn a_pid_file_that_is_anothers_by_now_stays() {
        let home = tempfile::tempdir().unwrap();
        let lock = HomeLock::take(home.path(), &own()).unwrap();
        fs::write(home.path().join(PID), r#"{"kind":"hermes-gateway","pid":1,"start_time":1}"#).unwrap();
        drop(lock);
        assert!(home.path().join(PID).exists());
    }

    #[test]
    fn a_lock_on_a_file_that_is_gone_is_none() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(LOCK);
        let file = open(&path).unwrap();
        assert!(is_at(&file, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap());
        let _other = open(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap());
    }
}
