//! The thread, its groups, and the restarts of the actors above it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use actix::{Actor, Context, Handler, Message, System};

use super::*;
use crate::ledger::jobs::Job;
use crate::ledger::sqlite::tests::{Home, commits_in_log};
use crate::ledger::{CloseError, LedgerActor, SqliteStore};
use crate::status::changes::StatusChanges;
use caduceus_contract::messages::status::StatusTouched;
use caduceus_supervision::{ExitReason, Incarnation, Port};

#[test]
fn waiting_work_is_committed_together() {
    let home = Home::new();
    let writer = home.open();
    record(&writer, 0);
    let before = commits_in_log(&home.path);
    let release = hold(&writer);
    let answers: Vec<_> = (1..=100).map(|number| writer.ask(event(number))).collect();
    drop(release);
    for answer in answers {
        wait(answer).unwrap();
    }
    assert_eq!(commits_in_log(&home.path) - before, 1);
    assert_eq!(received(&writer).len(), 101);
}

#[test]
fn nothing_is_answered_before_it_is_committed() {
    let home = Home::new();
    let writer = home.open();
    let release = hold(&writer);
    let recorded = writer.ask(event(1));
    let (begun, begins) = channel();
    let (let_go, released) = channel();
    // In the same transaction as the event, after it.
    drop(writer.ask(Hold { begun, released: Mutex::new(released) }));
    drop(release);
    begins.recv_timeout(CEILING).expect("the second hold was not reached within the timeout");
    let mut recorded = Box::pin(recorded);
    let waker = futures_util::task::noop_waker();
    let mut poll = std::task::Context::from_waker(&waker);
    assert!(recorded.as_mut().poll(&mut poll).is_pending(), "answered inside the transaction");
    assert_eq!(home.peek().query_row("SELECT count(*) FROM inbound", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    drop(let_go);
    assert!(matches!(wait(recorded), Ok(Recorded::New(_))));
}

#[test]
fn a_failed_operation_does_not_affect_the_others_of_its_group() {
    let home = Home::new();
    let writer = home.open();
    // An event that a drain refused is added in two steps, of which the first succeeds.
    let trigger = "CREATE TRIGGER refuse BEFORE INSERT ON unread BEGIN SELECT RAISE(ABORT, 'no'); END";
    home.peek().execute_batch(trigger).unwrap();
    let release = hold(&writer);
    let good = writer.ask(event(1));
    let bad = writer.ask(refused(2, "chat"));
    let also_good = writer.ask(event(3));
    drop(release);
    assert!(wait(good).is_ok() && wait(also_good).is_ok());
    assert!(matches!(wait(bad), Err(LedgerError::Unwritable(_))));
    let left = |table| -> i64 {
        home.peek().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((left("inbound"), left("inbound_marks")), (2, 2), "half of a failed operation stayed");
    assert_eq!(writer.view().inbound, [(InboundState::Received, 2)].into());
    home.peek().execute_batch("DROP TRIGGER refuse").unwrap();
    assert!(matches!(wait(writer.ask(refused(2, "chat"))), Ok(Recorded::New(_))), "its keys stayed in memory");
    assert_eq!(writer.view().write_error, None);
}

#[test]
fn a_panic_affects_only_its_own_operation() {
    let home = Home::new();
    let writer = home.open();
    let release = hold(&writer);
    let neighbour = writer.ask(event(1));
    let bug = writer.ask(PanickingWork);
    drop(release);
    assert!(matches!(wait(bug), Err(LedgerError::Unwritable(text)) if text.contains("panic requested by the test")));
    assert!(wait(neighbour).is_ok());
    record(&writer, 2);
    assert_eq!(writer.view().write_error, None);
    assert_eq!(writer.view().inbound, [(InboundState::Received, 2)].into());
    assert_eq!(received(&writer).len(), 2);
}

#[test]
fn a_full_queue_is_answered_at_once() {
    let home = Home::new();
    let writer = home.open();
    let release = hold(&writer);
    let answers: Vec<_> = (0..5_000).map(|number| writer.ask(event(number))).collect();
    let last = writer.ask(event(5_000));
    // The thread still hangs, so this answer is not from it.
    assert!(matches!(wait(last), Err(LedgerError::Unwritable(_))));
    drop(release);
    let taken = answers.into_iter().filter_map(|answer| wait(answer).ok()).count();
    assert_eq!(received(&writer).len(), taken);
}

#[test]
fn closing_writes_the_waiting_work_and_refuses_later_work() {
    let home = Home::new();
    let writer = home.open();
    let release = hold(&writer);
    let waiting = writer.ask(event(1));
    assert_eq!(writer.close(Duration::from_millis(1)), Err(CloseError(Duration::from_millis(1))));
    assert_eq!(wait(writer.ask(event(2))), Err(LedgerError::Closed));
    drop(release);
    close(&writer);
    assert!(matches!(wait(waiting), Ok(Recorded::New(_))));
    assert!(!writer.is_lost());
    assert_eq!(received(&home.open()).len(), 1);
}

#[test]
fn a_refusing_disk_is_reported_until_it_accepts_writes_again() {
    let home = Home::new();
    let writer = home.open();
    record(&writer, 1);
    let (notify, notified) = channel();
    writer.adopt(1, move || notify.send(()).unwrap_or_default());
    writer.send(Box::new(SetPages(1)));
    let long = RecordInbound { event: RawJson::of(&json!("x".repeat(100_000))), ..event(2) };
    assert!(matches!(wait(writer.ask(long.clone())), Err(LedgerError::Unwritable(text)) if text.contains("full")));
    assert!(writer.view().write_error.is_some());
    assert_eq!(writer.view().inbound, [(InboundState::Received, 1)].into());
    assert_eq!(received(&writer).len(), 1);

    // Without further writes: the thread detects it by its own probe, and reports it.
    while writer.view().write_error.is_some() {
        notified.recv_timeout(CEILING).expect("the thread did not report the end of the error within the timeout");
    }
    writer.send(Box::new(SetPages(i64::from(u32::MAX - 1))));
    assert!(matches!(wait(writer.ask(long)), Ok(Recorded::New(_))));
}

/// Limits the file to this many pages: the effect of a full disk.
struct SetPages(i64);

impl Job<SqliteStore> for SetPages {
    fn operations(&self) -> usize {
        1
    }

    fn is_owed(&self) -> bool {
        false
    }

    fn failed_alone(&mut self) -> u32 {
        0
    }

    fn run(
        &mut self,
        ledger: &mut LedgerTransaction<'_, <SqliteStore as Store>::Transaction<'_>>,
    ) -> Result<(), StoreError> {
        ledger.store.connection().pragma_update_and_check(None, "max_page_count", self.0, |_| Ok(()))?;
        Ok(())
    }

    fn answer(self: Box<Self>, _: Option<&LedgerError>) {}
}

/// Counts the notifications of the status.
struct Status(Arc<AtomicUsize>);

impl Actor for Status {
    type Context = Context<Self>;
}

impl Handler<StatusTouched> for Status {
    type Result = ();
    fn handle(&mut self, _: StatusTouched, _: &mut Self::Context) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct PanicLedgerActor;

impl Handler<PanicLedgerActor> for LedgerActor<SqliteStore> {
    type Result = ();
    fn handle(&mut self, _: PanicLedgerActor, _: &mut Self::Context) {
        panic!("panic requested by the test")
    }
}

#[test]
fn an_actor_that_panics_loses_no_operation_and_its_successor_continues() {
    let home = Home::new();
    let writer = home.open();
    let touched = Arc::new(AtomicUsize::new(0));
    let release = hold(&writer);
    let successor = writer.clone();
    System::new().block_on(async {
        let status = StatusChanges::new(Status(Arc::clone(&touched)).start().into());
        let incarnation = |generation| {
            let incarnation = Incarnation::new("ledger", generation);
            LedgerActor::new(successor.clone(), incarnation, status.clone()).start()
        };
        let first = incarnation(1);
        let inbound: Port<RecordInbound> = first.clone().into();
        // Fewer than a plain mailbox accepts at once, so that all are before the crash.
        let asked: Vec<_> = (0..10).map(|number| inbound.ask(event(number), CEILING)).collect();
        let asked = caduceus_supervision::spawn(futures_util::future::join_all(asked));
        let crash: Port<PanicLedgerActor> = first.into();
        assert!(crash.ask(PanicLedgerActor, CEILING).await.is_err(), "the actor did not panic");

        let second = incarnation(2);
        drop(release);
        for answer in asked.await.unwrap() {
            assert!(matches!(answer, Ok(Ok(Recorded::New(_)))), "{answer:?}");
        }
        let list: Port<ListInbound> = second.clone().into();
        let all =
            ListInbound { share: DispatchShare::ALL, states: vec![InboundState::Received], after: None, limit: 100 };
        assert_eq!(list.ask(all, CEILING).await.unwrap().unwrap().len(), 10);
        let view: Port<GetLedger> = second.into();
        let view = view.ask(GetLedger, CEILING).await.unwrap();
        assert_eq!((view.written, view.inbound[&InboundState::Received]), (10, 10));
        let notify = async {
            while touched.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(CEILING, notify).await.expect("the status was not notified within the timeout");
    });
}

#[test]
fn the_end_of_the_thread_ends_the_actor_as_not_restartable() {
    let home = Home::new();
    let writer = home.open();
    // A panic in this callback is the one that the thread does not catch.
    writer.adopt(u64::MAX, || panic!("panic requested by the test"));
    record(&writer, 1);
    assert!(writer.view().write_error.is_none_or(|write_error| write_error.contains("ended")));
    let incarnation = Incarnation::new("ledger", 1);
    System::new().block_on(async {
        let status = StatusChanges::new(Status(Arc::default()).start().into());
        let actor = LedgerActor::new(writer.clone(), incarnation.clone(), status).start();
        let ended = async {
            while actor.connected() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(CEILING, ended).await.expect("the actor continued without a thread");
    });
    assert!(
        matches!(incarnation.end(), Some(ExitReason::Fatal(fatal)) if fatal.code == "ledger_lost"),
        "{:?}",
        incarnation.end()
    );
    assert_eq!(wait(writer.ask(event(2))), Err(LedgerError::Closed));
    assert!(writer.view().write_error.is_some());
}

/// Waits until the check of all rows has ended.
fn checked(writer: &LedgerWriter<SqliteStore>) -> LedgerCheck {
    let begun = std::time::Instant::now();
    loop {
        let check = writer.check();
        if !check.runs {
            return check;
        }
        assert!(begun.elapsed() < CEILING, "the check did not end: {check:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_check_begins_at_open_and_again_when_it_is_requested() {
    let home = Home::new();
    let writer = home.open();
    record(&writer, 1);
    let first = checked(&writer);
    assert!(first.begun_at_ms.is_some() && first.ended_at_ms >= first.begun_at_ms, "{first:?}");
    assert_eq!((first.rows, first.corrupt, first.error), (1, 0, None));
    home.peek().execute("UPDATE inbound SET event = '{}'", ()).unwrap();
    assert_eq!(checked(&writer).corrupt, 0, "it is found by the next check");
    writer.check_again();
    let second = checked(&writer);
    assert_eq!(second.corrupt, 1);
    assert!(second.begun_at_ms >= first.begun_at_ms && second.ended_at_ms >= second.begun_at_ms, "{second:?}");
    close(&writer);
    assert!(!writer.check().runs, "without the thread none runs");
    assert_eq!(wait(writer.clear_log()), Err(LedgerError::Closed));
}
