//! The hand-over of the writer from one incarnation of its actor to the next: in whatever order the threads take their steps, each request is
//! done once and answered, and what was passed before the close is on disk.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use shuttle::thread;
use tokio::sync::oneshot;

use super::*;
use crate::ledger::LedgerWriter;
use crate::ledger::composed::{ModelDisk, ModelTransaction};
use crate::ledger::shared::Ended;
use crate::ledger::states::OldestRows;
use crate::ledger::store::{Deleted, Expiry};
use crate::ledger::tests::{event, target};
use crate::sync::explored::explore;
use caduceus_contract::messages::ledger::{InboundId, Recorded};

const ORDERS: usize = 1_000;
/// Requests of each incarnation.
const REQUESTS: u64 = 3;

/// A database in memory, which is kept when the thread drops it.
struct ModelStore {
    disk: ModelDisk,
    kept: Arc<Mutex<Option<ModelDisk>>>,
}

impl Store for ModelStore {
    type Transaction<'a> = ModelTransaction<'a>;

    fn begin(&mut self, now_ms: i64) -> Result<ModelTransaction<'_>, StoreError> {
        Ok(self.disk.begin(now_ms))
    }

    fn row_counts(&self) -> RowCounts {
        RowCounts::default()
    }

    fn oldest_rows(&mut self) -> OldestRows {
        OldestRows::default()
    }

    fn corrupt_rows(&self) -> u64 {
        0
    }

    fn damage(&self) -> &[String] {
        &[]
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn delete_expired(&mut self, _: &Expiry) -> Result<Deleted, StoreError> {
        Ok(Deleted { delta: RowCounts::default(), early: 0, more: false })
    }

    fn check_rows(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn check_again(&mut self) {}

    fn clear_log(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn check_files(&mut self) -> Option<String> {
        None
    }
}

impl Drop for ModelStore {
    fn drop(&mut self) {
        *self.kept.lock().unwrap() = Some(self.disk.clone());
    }
}

/// What the thread does. A mutant does less.
type WriterThread = fn(Writer<ModelStore>);

/// A request, with the receiver of its answer.
struct Asked {
    number: u64,
    answer: oneshot::Receiver<Result<Recorded, LedgerError>>,
    /// Whether the handle was closed when it was passed on.
    after_close: bool,
}

fn count(calls: &AtomicUsize) {
    calls.fetch_add(1, Ordering::Relaxed);
}

/// What one incarnation does: it adopts the writer, passes requests on, and drops its handle.
fn incarnation(
    writer: LedgerWriter<ModelStore>,
    generation: u64,
    notified: Arc<AtomicUsize>,
    is_closed: Arc<AtomicBool>,
) -> thread::JoinHandle<Vec<Asked>> {
    thread::spawn(move || {
        writer.adopt(generation, move || count(&notified));
        let ask = |number| {
            let (to, answer) = oneshot::channel();
            writer.ask_for(event(generation * 10 + number), Some(to));
            Asked { number: generation * 10 + number, answer, after_close: is_closed.load(Ordering::Relaxed) }
        };
        (0..REQUESTS).map(ask).collect()
    })
}

/// Two incarnations pass requests on, the second one while the first one may still do so. `closes`: the writer is closed meanwhile.
fn hand_over(run: WriterThread, closes: bool) {
    let kept = Arc::<Mutex<Option<ModelDisk>>>::default();
    let store = ModelStore { disk: ModelDisk::new(target()), kept: Arc::clone(&kept) };
    let (handle, writer) = LedgerWriter::prepare(store, PathBuf::new());
    let shared = Arc::clone(&writer.shared);
    let is_closed = Arc::<AtomicBool>::default();
    let notified = [(); 2].map(|()| Arc::<AtomicUsize>::default());
    let ended = Ended(Arc::clone(&shared));
    let writing = thread::spawn(move || {
        let _ended = ended;
        run(writer);
    });
    let incarnations = [1, 2].map(|generation| {
        let notified = Arc::clone(&notified[usize::try_from(generation).unwrap() - 1]);
        incarnation(handle.clone(), generation, notified, Arc::clone(&is_closed))
    });
    let closing = closes.then(|| {
        let handle = handle.clone();
        thread::spawn(move || {
            is_closed.store(true, Ordering::Relaxed);
            // The wait is not explored.
            let _ = handle.close(Duration::ZERO);
        })
    });
    let asked: Vec<Asked> = incarnations.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    if let Some(closing) = closing {
        closing.join().unwrap();
    } else {
        assert!(!handle.is_lost(), "the thread ended with the handle of an incarnation");
    }
    drop(handle);
    writing.join().unwrap();

    assert!(shared.has_ended());
    shared.notify();
    let calls = notified.map(|calls| calls.load(Ordering::Relaxed));
    assert!(calls[1] > 0, "the last incarnation is notified: {calls:?}");
    let disk = kept.lock().unwrap().take().expect("the thread has ended");
    let mut rows: [Vec<InboundId>; 2] = [Vec::new(), Vec::new()];
    for Asked { number, mut answer, after_close } in asked {
        let row = disk.row_of(&format!("buffer-{number}"));
        match answer.try_recv() {
            Ok(Ok(Recorded::New(id))) => {
                assert_eq!(row, Some(id), "answered, and not on disk");
                rows[usize::try_from(number / 10).unwrap() - 1].push(id);
            }
            Ok(Err(LedgerError::Closed)) => {
                assert!(after_close, "passed on before the close, and lost");
                assert_eq!(row, None, "on disk, and answered as closed");
            }
            answer => panic!("request {number}: {answer:?}"),
        }
    }
    assert_eq!(rows.iter().map(Vec::len).sum::<usize>(), disk.event_count(), "each request is one row");
    assert!(rows.iter().all(|rows| rows.is_sorted()), "the order of an incarnation is kept: {rows:?}");
    if !closes {
        assert_eq!(disk.event_count() as u64, 2 * REQUESTS);
    }
}

#[test]
fn no_request_is_lost_or_done_twice_in_any_order_of_a_hand_over() {
    for closes in [false, true] {
        let name = format!("writer, closed meanwhile: {closes}");
        explore(&name, ORDERS, move || hand_over(Writer::run, closes)).expect("every order is right");
    }
}

#[test]
fn a_thread_that_ends_with_work_in_its_queue_or_drops_what_it_took_is_found() {
    let leaves_the_rest: WriterThread = |mut writer| {
        while !writer.shared.is_closing() {
            match writer.queue.next(Duration::ZERO) {
                Waiting::Group(jobs) => writer.run_group(jobs),
                Waiting::Nothing => {}
                Waiting::Disconnected => break,
            }
        }
    };
    let drops_a_group: WriterThread = |mut writer| {
        while let Waiting::Group(jobs) = writer.queue.next(Duration::from_secs(1)) {
            if writer.shared.is_closing() {
                break;
            }
            writer.run_group(jobs);
        }
        writer.run();
    };
    for (name, mutant) in [("writer, queue not emptied", leaves_the_rest), ("writer, group dropped", drops_a_group)] {
        explore(name, ORDERS, move || hand_over(mutant, true)).expect_err(name);
    }
}
