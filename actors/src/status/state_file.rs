//! Writes `gateway_state.json`: a separate thread writes the record whenever it has changed, so that no actor waits for the disk.
//!
//! It outlives every incarnation of the status. A disk that hangs or is full affects only the file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use tracing::warn;

use crate::atomic;
use crate::files::{Symlinks, small};
use crate::locked::locked;
use caduceus_contract::files::gateway_state::{FILE_NAME, FoundRecord, MAX_BYTES, StateRecord};

/// Shortest time between two writes.
const PERIOD: Duration = Duration::from_millis(100);
/// The wait after a write that the disk refused.
const RETRY: Duration = Duration::from_secs(1);

/// The handle on the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StateFile(Arc<StateFileShared>);

#[derive(Debug)]
struct StateFileShared {
    path: PathBuf,
    slot: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Debug)]
struct Slot {
    record: StateRecord,
    /// Further changes are ignored.
    closed: bool,
    /// The writer has ended.
    done: bool,
}

impl StateFile {
    /// Writes `record` to `path`, and every later change of it.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn start(path: PathBuf, record: StateRecord) -> io::Result<Self> {
        let slot = Mutex::new(Slot { record, closed: false, done: false });
        let file = Self(Arc::new(StateFileShared { path, slot, changed: Condvar::new() }));
        let writer = Arc::clone(&file.0);
        thread::Builder::new().name("state-file".to_owned()).spawn(move || writer.run())?;
        Ok(file)
    }

    /// Changes the record. Changes close together make one write.
    pub fn change(&self, how: impl FnOnce(&mut StateRecord)) {
        let mut slot = self.0.slot();
        if !slot.closed {
            let before = slot.record.clone();
            how(&mut slot.record);
            if slot.record != before {
                self.0.changed.notify_all();
            }
        }
    }

    /// Makes a last change and waits until it is written, at most `timeout`. Blocks. Returns whether the writer ended.
    pub fn close(&self, timeout: Duration, how: impl FnOnce(&mut StateRecord)) -> bool {
        self.change(how);
        let mut slot = self.0.slot();
        slot.closed = true;
        self.0.changed.notify_all();
        let waited = self.0.changed.wait_timeout_while(slot, timeout, |slot| !slot.done);
        waited.unwrap_or_else(PoisonError::into_inner).0.done
    }
}

/// Reads the record in `home`; `None` if it is no valid record. Blocks.
#[must_use]
pub fn read(home: &Path) -> Option<FoundRecord> {
    FoundRecord::parse(&small::read(&home.join(FILE_NAME), MAX_BYTES, Symlinks::Refuse).ok()?.bytes)
}

impl StateFileShared {
    fn run(&self) {
        let mut written: Option<StateRecord> = None;
        let mut warned = false;
        loop {
            let (record, closed) = self.next(written.as_ref());
            let wait = match self.write(&record, written.as_ref()) {
                Ok(()) => {
                    (written, warned) = (Some(record), false);
                    PERIOD
                }
                Err(error) => {
                    if !std::mem::replace(&mut warned, true) {
                        warn!(path = %self.path.display(), %error, "state of the gateway not written");
                    }
                    written = None;
                    RETRY
                }
            };
            if closed {
                break;
            }
            let waited = self.changed.wait_timeout_while(self.slot(), wait, |slot| !slot.closed);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        self.slot().done = true;
        self.changed.notify_all();
    }

    /// Waits for a record that is not written yet, or for the last one.
    fn next(&self, written: Option<&StateRecord>) -> (StateRecord, bool) {
        let settled = |slot: &mut Slot| !slot.closed && written == Some(&slot.record);
        let slot = self.changed.wait_while(self.slot(), settled).unwrap_or_else(PoisonError::into_inner);
        (slot.record.clone(), slot.closed)
    }

    fn write(&self, record: &StateRecord, written: Option<&StateRecord>) -> io::Result<()> {
        if written == Some(record) { Ok(()) } else { atomic::replace(&self.path, &record.to_json(Timestamp::now())) }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        locked(&self.slot)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;
    use crate::status::identity;
    use caduceus_contract::status::lifecycle::GatewayState;

    /// Timeout of one write.
    const SOON: Duration = Duration::from_secs(20);

    fn start(home: &Path) -> StateFile {
        let record = StateRecord::starting(identity::own(vec!["hermes-gateway".to_owned()]), home);
        StateFile::start(home.join(FILE_NAME), record).unwrap()
    }

    fn found(home: &Path) -> Option<FoundRecord> {
        FoundRecord::parse(&fs::read(home.join(FILE_NAME)).ok()?)
    }

    fn until(home: &Path, is: impl Fn(&FoundRecord) -> bool) -> FoundRecord {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(found) = found(home).filter(&is) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "the record was not written within the timeout; found {:?}",
                found(home)
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn each_change_is_written_and_the_last_one_before_the_end() {
        let home = tempfile::tempdir().unwrap();
        let file = start(home.path());
        let first = until(home.path(), |found| found.state == Some(GatewayState::Starting));
        assert!(identity::is_alive(&first.written));
        file.change(|record| record.set_address("http://127.0.0.1:1".to_owned()));
        until(home.path(), |found| found.http.as_deref() == Some("http://127.0.0.1:1"));
        assert!(file.close(SOON, |record| record.set_ended(
            GatewayState::Stopped,
            Some("why".to_owned()),
            Timestamp::now()
        )));
        let last = found(home.path()).unwrap();
        assert_eq!((last.state, last.exit_reason.as_deref()), (Some(GatewayState::Stopped), Some("why")));
        file.change(|record| record.set_ended(GatewayState::StartupFailed, None, Timestamp::now()));
        assert!(file.close(SOON, |_| ()));
        assert_eq!(found(home.path()).unwrap().state, Some(GatewayState::Stopped), "nothing is written after the end");
    }

    #[test]
    fn a_flood_of_changes_makes_few_writes() {
        let home = tempfile::tempdir().unwrap();
        let file = start(home.path());
        let (begun, mut stamps) = (Instant::now(), std::collections::BTreeSet::new());
        for port in 0_u32.. {
            file.change(|record| record.set_address(format!("http://127.0.0.1:{port}")));
            stamps.extend(found(home.path()).and_then(|found| found.updated_at));
            if begun.elapsed() > Duration::from_millis(550) {
                break;
            }
        }
        let most = begun.elapsed().as_millis() / PERIOD.as_millis() + 1;
        assert!(stamps.len() as u128 <= most, "{} writes in {:?}", stamps.len(), begun.elapsed());
        assert!(stamps.len() > 1, "the file was written while it changed");
    }

    #[test]
    fn a_refusing_disk_is_retried_and_blocks_no_caller() {
        let home = tempfile::tempdir().unwrap();
        // A directory cannot be replaced by a file.
        fs::create_dir(home.path().join(FILE_NAME)).unwrap();
        let file = start(home.path());
        file.change(|record| record.set_address("http://127.0.0.1:1".to_owned()));
        fs::remove_dir(home.path().join(FILE_NAME)).unwrap();
        until(home.path(), |found| found.http.is_some());
        fs::remove_file(home.path().join(FILE_NAME)).unwrap();
        fs::create_dir(home.path().join(FILE_NAME)).unwrap();
        assert!(
            file.close(SOON, |record| record.set_ended(GatewayState::Stopped, None, Timestamp::now())),
            "a refusal is an end too"
        );
    }
}
