//! One gateway per home, decided by the kernel's lock and not by the presence of a file.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use caduceus_actors::atomic;
use caduceus_actors::files::{FileError, INHERITED_LOCK_TIMEOUT, LockFile, Symlinks, Unusable, own, small};
use caduceus_actors::locked::locked;
use caduceus_actors::status::identity;
use caduceus_actors::system_error::is_temporary;
use caduceus_contract::files::process_identity::{ProcessIdentity, RecordedProcess};
use tracing::{error, warn};

/// The name that the original uses, so that the two exclude each other.
const LOCK: &str = "gateway.lock";
/// The file in which the original's tools look up the process first.
const PID: &str = "gateway.pid";
/// How often the lock's file is checked: each check wakes the process.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a check whether the home is held may have the lock; a gateway that starts meanwhile waits.
const CHECK_TIMEOUT: Duration = Duration::from_millis(100);
/// Records are some hundred bytes.
const MAX_RECORD: u64 = 64 * 1024;

/// The lock on a home; released when dropped, and by the kernel when the process ends.
#[derive(Debug)]
pub(crate) struct HomeLock(Arc<Mutex<HeldFile>>);

#[derive(Debug)]
struct HeldFile {
    home: PathBuf,
    record: Vec<u8>,
    /// The locked file; `None` once it is released.
    file: Option<LockFile>,
}

/// Why the home cannot be locked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeLockError {
    /// Another gateway, Caduceus or the original, serves this home.
    #[error("another gateway holds the home {}", .0.display())]
    Held(PathBuf),
    /// Something that is not a file is there, or it is another user's.
    #[error("cannot lock the home: {0}")]
    File(FileError),
    /// The file cannot be locked.
    #[error("cannot lock {}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl HomeLockError {
    /// Whether the failure is temporary: another try may succeed without a repair.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Held(_) => true,
            Self::File(error) => matches!(&error.why, Unusable::System(source) if is_temporary(source)),
            Self::Unusable { source, .. } => is_temporary(source),
        }
    }
}

impl HomeLock {
    /// Takes the lock of `home`, without waiting, and records its holder.
    ///
    /// # Errors
    /// [`HomeLockError`]; in every case the home is unchanged, except that the empty file may exist.
    pub(crate) fn take(home: &Path, identity: &ProcessIdentity) -> Result<Self, HomeLockError> {
        let held = HeldFile { home: home.to_owned(), record: identity.to_json(), file: Some(lock(home)?) };
        held.write_record();
        let lock = Self(Arc::new(Mutex::new(held)));
        let kept = Arc::downgrade(&lock.0);
        if let Err(error) = thread::Builder::new().name("home-lock".to_owned()).spawn(move || watch(&kept)) {
            warn!(%error, "the lock on the home is not watched");
        }
        Ok(lock)
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        let mut held = locked(&self.0);
        let pid_file = held.home.join(PID);
        // Before the lock is released; after that the file may be another process's.
        if read(&pid_file).is_some_and(|written| written.pid == std::process::id()) {
            let _ = fs::remove_file(&pid_file);
        }
        held.file = None;
    }
}

impl HeldFile {
    fn write_record(&self) {
        let in_lock = self.file.as_ref().map_or(Ok(()), |file| write(file, &self.record));
        if let Err(error) = in_lock.and_then(|()| atomic::replace(&self.home.join(PID), &self.record)) {
            warn!(%error, "the holder of the home cannot be recorded; the home is held anyway");
        }
    }

    /// Takes the home again if the file under the lock's name is no longer the locked one. Returns whether it was.
    fn renew(&mut self) -> Result<bool, HomeLockError> {
        let path = self.home.join(LOCK);
        let Some(file) = &self.file else { return Ok(false) };
        if own::is_at(file, &path).map_err(|source| HomeLockError::Unusable { path, source })? {
            return Ok(false);
        }
        self.file = Some(lock(&self.home)?);
        self.write_record();
        Ok(true)
    }
}

/// Watches the lock's file until the lock is released. The original's tools remove the files of a running gateway if its command line
/// lacks the word that they search for.
fn watch(held: &Weak<Mutex<HeldFile>>) {
    let (mut warned, mut lost) = (false, false);
    while let Some(held) = held.upgrade() {
        match locked(&held).renew() {
            Ok(true) if !warned => {
                warn!(
                    "gateway.lock was removed by another process and put back; the tools do not remove it if the program is started as hermes-gateway"
                );
                warned = true;
            }
            Err(error) if !lost => {
                error!(%error, "gateway.lock was removed and cannot be locked again");
                lost = true;
            }
            Ok(_) | Err(_) => {}
        }
        drop(held);
        thread::sleep(CHECK_INTERVAL);
    }
}

/// The file with the lock on it.
fn lock(home: &Path) -> Result<LockFile, HomeLockError> {
    let path = home.join(LOCK);
    let unusable = |source| HomeLockError::Unusable { path: path.clone(), source };
    let since = Instant::now();
    loop {
        let file = open(&path).map_err(HomeLockError::File)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if since.elapsed() < lock_timeout(home) => {
                thread::sleep(CHECK_TIMEOUT / 10);
                continue;
            }
            Err(TryLockError::WouldBlock) => return Err(HomeLockError::Held(home.to_owned())),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        // The original's tools remove the file of a gateway that is gone; a process that locked it just then holds nothing.
        if !own::is_at(&file, &path).map_err(unusable)? {
            continue;
        }
        // With a second name it is also another file of the user, and must not be overwritten by the record.
        if file.metadata().map_err(unusable)?.nlink() == 1 {
            return Ok(file);
        }
        fs::remove_file(&path).map_err(unusable)?;
    }
}

/// How long a start waits for the lock: briefly for a gateway that runs, longer if its holder has ended.
fn lock_timeout(home: &Path) -> Duration {
    if holder(home).is_some() { CHECK_TIMEOUT } else { INHERITED_LOCK_TIMEOUT }
}

fn open(path: &Path) -> Result<LockFile, FileError> {
    // Readable by all, as the original makes it. Never truncated here: what is in it is the holder's.
    own::open_or_create(path, own::OpenMode::ReadWrite, 0o644).map(LockFile::new)
}

/// In place: a lock is on the file, and another file under its name would not be locked.
fn write(mut file: &File, record: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(record)?;
    file.sync_all()
}

fn read(path: &Path) -> Option<RecordedProcess> {
    RecordedProcess::parse(&small::read(path, MAX_RECORD, Symlinks::Refuse).ok()?.bytes)
}

/// The holder of `home`, from its record, if that process is running: Caduceus or the original.
///
/// Use it only if [`is_held`]; a record outlives its process.
pub(crate) fn holder(home: &Path) -> Option<RecordedProcess> {
    [LOCK, PID].iter().filter_map(|name| read(&home.join(name))).find(identity::is_alive)
}

/// Whether a gateway holds `home`, checked without creating or writing the file.
///
/// The check holds a shared lock briefly; a gateway that starts meanwhile waits for it.
///
/// # Errors
/// The error of the system.
pub(crate) fn is_held(home: &Path) -> io::Result<bool> {
    let file = match small::open(&home.join(LOCK), Symlinks::Refuse) {
        Ok((file, _)) => file,
        Err(error) if error.is_missing() => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    LockFile::new(file).is_taken()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> ProcessIdentity {
        identity::own(vec!["hermes-gateway".to_owned()])
    }

    #[test]
    fn a_home_is_held_by_one_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let first = HomeLock::take(home.path(), &own()).unwrap();
        assert!(matches!(HomeLock::take(home.path(), &own()), Err(HomeLockError::Held(_))));
        drop(first);
        assert!(HomeLock::take(home.path(), &own()).is_ok());
    }

    #[test]
    fn a_gateway_that_starts_during_a_check_of_the_lock_is_not_refused() {
        let home = tempfile::tempdir().unwrap();
        let checker = open(&home.path().join(LOCK)).unwrap();
        checker.try_lock_shared().unwrap();
        thread::scope(|threads| {
            let gateway = threads.spawn(|| HomeLock::take(home.path(), &own()));
            thread::sleep(CHECK_TIMEOUT / 5);
            drop(checker);
            assert!(gateway.join().unwrap().is_ok());
        });
    }

    #[test]
    fn a_home_is_taken_once_the_child_that_a_killed_gateway_had_forked_has_executed_its_program() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(LOCK);
        fs::write(&path, r#"{"kind":"hermes-gateway","pid":1,"start_time":1}"#).unwrap();
        let inherited = open(&path).unwrap();
        inherited.try_lock().unwrap();
        thread::scope(|threads| {
            let gateway = threads.spawn(|| HomeLock::take(home.path(), &own()));
            // Longer than a start waits for a gateway that runs.
            thread::sleep(CHECK_TIMEOUT * 3);
            drop(inherited);
            assert!(gateway.join().unwrap().is_ok());
        });
    }

    #[test]
    fn a_check_of_the_lock_changes_no_file() {
        let home = tempfile::tempdir().unwrap();
        assert!(!is_held(home.path()).unwrap());
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
        let lock = HomeLock::take(home.path(), &own()).unwrap();
        assert!(is_held(home.path()).unwrap());
        drop(lock);
        assert!(!is_held(home.path()).unwrap());
    }

    #[test]
    fn the_holder_writes_its_record_and_removes_its_pid_file_at_the_end() {
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
    fn a_pid_file_of_another_process_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let lock = HomeLock::take(home.path(), &own()).unwrap();
        fs::write(home.path().join(PID), r#"{"kind":"hermes-gateway","pid":1,"start_time":1}"#).unwrap();
        drop(lock);
        assert!(home.path().join(PID).exists());
    }

    #[test]
    fn a_removed_lock_file_is_restored() {
        let home = tempfile::tempdir().unwrap();
        let lock = HomeLock::take(home.path(), &own()).unwrap();
        assert!(!lock.0.lock().unwrap().renew().unwrap());
        fs::remove_file(home.path().join(PID)).unwrap();
        fs::remove_file(home.path().join(LOCK)).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !(is_held(home.path()).unwrap() && home.path().join(PID).exists()) {
            assert!(std::time::Instant::now() < deadline, "the lock was not restored");
            thread::sleep(Duration::from_millis(10));
        }
        assert!(matches!(HomeLock::take(home.path(), &own()), Err(HomeLockError::Held(_))));
        drop(lock);
        assert!(!is_held(home.path()).unwrap() && !home.path().join(PID).exists());
    }

    #[test]
    fn a_lock_file_with_a_second_link_is_replaced_and_the_other_file_kept() {
        let home = tempfile::tempdir().unwrap();
        let precious = home.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        fs::hard_link(&precious, home.path().join(LOCK)).unwrap();
        let lock = HomeLock::take(home.path(), &own()).unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert_eq!(holder(home.path()).unwrap().pid, std::process::id());
        drop(lock);
    }

    #[test]
    fn a_lock_file_that_is_a_symbolic_link_is_refused_and_its_target_kept() {
        let home = tempfile::tempdir().unwrap();
        let precious = home.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, home.path().join(LOCK)).unwrap();
        let refused = HomeLock::take(home.path(), &own()).unwrap_err().to_string();
        assert!(refused.contains(LOCK) && refused.contains("symbolic link"), "{refused}");
        assert!(is_held(home.path()).is_err(), "it is unknown");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }
}
