//! The thread without its queue.

use serde_json::json;
use tokio::sync::oneshot;

use caduceus_contract::json::RawJson;
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::ledger::{InboundId, InboundState, ListInbound, MarkInbound, Receipt, RecordInbound};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::share::DispatchShare;
use caduceus_contract::wire::event::Source;
use caduceus_contract::wire::session::{SessionKey, SessionRules};

use super::*;
use crate::ledger::failure::{ErrorClass, Failure};
use crate::ledger::jobs::{job, queue};
use crate::ledger::sqlite::SqliteStore;
use crate::ledger::sqlite::tests::Home;
use crate::ledger::store::StoreTransaction;
use crate::ledger::tests::TestHome as _;
use crate::ledger::work::Work;

/// Receives the answer to some work.
type Answered<W> = oneshot::Receiver<Result<<W as Work>::Answer, LedgerError>>;

/// A job, and the receiver of its answer.
fn asked<W: Work>(work: W) -> (Box<dyn Job<SqliteStore>>, Answered<W>) {
    let (to, answered) = oneshot::channel();
    (job(work, Some(to)), answered)
}

#[test]
fn a_successful_read_does_not_clear_the_error_of_a_disk_that_refuses_writes() {
    let home = Home::new();
    let mut writer = writer(&home);
    let pages = |writer: &Writer<SqliteStore>, pages: i64| {
        writer.store.connection().pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    };
    pages(&writer, 1);
    assert_eq!(run(&mut writer, list(InboundState::Received)), Some(Ok(Vec::new())));
    assert!(!writer.shared.cannot_write());
    let long = RecordInbound { event: RawJson::of(&json!("x".repeat(99_999))), ..event(1) };
    run(&mut writer, long);
    assert!(writer.shared.cannot_write());
    assert_eq!(run(&mut writer, list(InboundState::Received)), Some(Ok(Vec::new())));
    assert!(writer.shared.cannot_write());
    pages(&writer, 99_999);
    run(&mut writer, event(1));
    assert!(!writer.shared.cannot_write());
}

fn writer(home: &Home) -> Writer<SqliteStore> {
    let store = home.open_store();
    let shared = Arc::new(SharedView::new(home.path.clone(), store.row_counts(), 0));
    Writer::new(store, queue().1, shared)
}

/// Runs `work` as a group of its own. Returns its answer; `None` while it is owed.
fn run<W: Work>(writer: &mut Writer<SqliteStore>, work: W) -> Option<Result<W::Answer, LedgerError>> {
    let (job, mut answered) = asked(work);
    writer.run_group(vec![job]);
    answered.try_recv().ok()
}

/// An event that waits for its turn.
fn event(number: u8) -> RecordInbound {
    let target = Arc::new(Target {
        link: LinkId::process(),
        platform: "slack".into(),
        bot_id: None,
        chat_id: "chat".into(),
        scope_id: None,
        user_id: None,
        thread_id: None,
    });
    let profile = ProfileName::default_profile();
    let session = SessionKey::new(&Source::default(), &profile, SessionRules::default());
    RecordInbound {
        receipt: Receipt { gateway: None, arrived_at_ms: 0 },
        target,
        buffer_id: Some(format!("buffer-{number}")),
        digest: [number; 32],
        message_id: None,
        profile,
        session,
        event: RawJson::of(&json!({})),
        state: InboundState::Received,
        turn: None,
        note: None,
    }
}

fn mark(id: i64, state: InboundState) -> MarkInbound {
    MarkInbound { id: InboundId(id), state, turn: None, note: None }
}

fn list(state: InboundState) -> ListInbound {
    ListInbound { share: DispatchShare::ALL, states: vec![state], after: None, limit: 10 }
}

/// Makes the disk refuse every write, or accept them again.
fn refuse_writes(writer: &Writer<SqliteStore>, refuse: bool) {
    writer.store.connection().pragma_update(None, "query_only", refuse).unwrap();
}

#[test]
fn a_mark_that_the_disk_refuses_is_owed_and_written_before_anything_else() {
    let home = Home::new();
    let mut writer = writer(&home);
    run(&mut writer, event(1));
    assert_eq!(run(&mut writer, mark(1, InboundState::Running)), Some(Ok(())));
    refuse_writes(&writer, true);
    let (done, mut answered) = asked(mark(1, InboundState::Done));
    let (second, mut second_answered) = asked(event(2));
    writer.run_group(vec![done, second]);
    assert!(matches!(second_answered.try_recv(), Ok(Err(LedgerError::Unwritable(_)))), "an event is refused");
    assert!(answered.try_recv().is_err(), "what has happened is not refused");
    assert!(writer.shared.view().write_error.unwrap().ends_with("; 1 changes of state wait for it"));
    // Otherwise the dispatcher would run the event again, or send the reply again.
    let read = run(&mut writer, list(InboundState::Running));
    assert!(matches!(read, Some(Err(LedgerError::Unwritable(_)))), "the state before it was read: {read:?}");
    refuse_writes(&writer, false);
    assert_eq!(run(&mut writer, list(InboundState::Running)), Some(Ok(Vec::new())));
    assert_eq!(answered.try_recv(), Ok(Ok(())));
    assert_eq!((writer.queue.owed(), writer.shared.view().write_error), (0, None));
}

#[test]
fn what_is_owed_is_written_without_further_work() {
    let home = Home::new();
    let mut writer = writer(&home);
    run(&mut writer, event(1));
    refuse_writes(&writer, true);
    assert_eq!(run(&mut writer, mark(1, InboundState::Held)), None);
    assert_eq!(run(&mut writer, mark(1, InboundState::Received)), None);
    writer.probe();
    assert_eq!(writer.queue.owed(), 2);
    refuse_writes(&writer, false);
    writer.probe();
    assert_eq!(writer.queue.owed(), 0);
    assert_eq!(writer.shared.view().inbound, [(InboundState::Received, 1)].into(), "in the order of their requests");
}

#[test]
fn a_turn_begins_now_or_never() {
    let home = Home::new();
    let mut writer = writer(&home);
    run(&mut writer, event(1));
    refuse_writes(&writer, true);
    let begun = run(&mut writer, mark(1, InboundState::Running));
    assert!(matches!(begun, Some(Err(LedgerError::Unwritable(_)))), "{begun:?}");
    refuse_writes(&writer, false);
    writer.probe();
    assert_eq!(writer.shared.view().inbound, [(InboundState::Received, 1)].into());
}

/// Panics, or fails as if a part of the file were corrupt; says what has happened.
struct Failing(bool);

impl Work for Failing {
    type Answer = ();

    fn run<T: StoreTransaction>(&self, _: &mut LedgerTransaction<'_, T>) -> Result<(), Failure> {
        assert!(self.0, "panic requested by the test");
        Err(StoreError { class: ErrorClass::Permanent, text: "a part of the file is corrupt".to_owned() }.into())
    }

    fn is_owed(&self) -> bool {
        true
    }
}

#[test]
fn work_that_can_never_succeed_is_answered_and_fails_neither_the_others_nor_the_thread() {
    for corrupt in [false, true] {
        let home = Home::new();
        let mut writer = writer(&home);
        run(&mut writer, event(1));
        let (first, mut first_answered) = asked(event(2));
        let (failing, mut failing_answered) = asked(Failing(corrupt));
        let (done, mut done_answered) = asked(mark(1, InboundState::Done));
        writer.run_group(vec![first, failing, done]);
        assert!(matches!(first_answered.try_recv(), Ok(Ok(_))));
        assert!(matches!(failing_answered.try_recv(), Ok(Err(LedgerError::Unwritable(_)))));
        assert_eq!(done_answered.try_recv(), Ok(Ok(())));
        assert_eq!(writer.queue.owed(), 0);
    }
}

#[test]
fn no_work_overtakes_what_is_owed_when_each_runs_alone() {
    let home = Home::new();
    let mut writer = writer(&home);
    run(&mut writer, event(1));
    refuse_writes(&writer, true);
    assert_eq!(run(&mut writer, mark(1, InboundState::Held)), None);
    let jobs = [mark(1, InboundState::Received), mark(1, InboundState::Dead)].map(|mark| job(mark, None));
    let owed = writer.queue.take_owed();
    writer.run_each_alone(owed.into_iter().chain(jobs).collect());
    assert_eq!(writer.queue.owed(), 3);
    refuse_writes(&writer, false);
    writer.probe();
    assert_eq!(writer.shared.view().inbound, [(InboundState::Dead, 1)].into());
}

#[test]
fn a_full_queue_takes_what_is_owed_and_refuses_the_rest() {
    let (sender, mut queue) = queue::<SqliteStore>();
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..5_000 {
        let (job, mut answered) = asked(event(1));
        sender.send(job);
        if answered.try_recv().is_err() { taken += 1 } else { refused += 1 }
    }
    let (owed, mut answered) = asked(mark(1, InboundState::Done));
    sender.send(owed);
    assert!(answered.try_recv().is_err(), "it was refused");
    assert!(refused > 0);
    let mut found = 0;
    while let Waiting::Group(group) = queue.next_now() {
        found += group.len();
    }
    assert_eq!(found, taken + 1);
    let (job, mut answered) = asked(event(1));
    sender.send(job);
    assert!(answered.try_recv().is_err(), "there is room again");
}

/// Says what has happened, and meets a part of the file that cannot be read.
struct Unreadable;

impl Work for Unreadable {
    type Answer = ();

    fn run<T: StoreTransaction>(&self, _: &mut LedgerTransaction<'_, T>) -> Result<(), Failure> {
        Err(StoreError { class: ErrorClass::Unreadable, text: "a part of the file cannot be read".to_owned() }.into())
    }

    fn is_owed(&self) -> bool {
        true
    }
}

#[test]
fn an_operation_that_never_succeeds_while_the_disk_accepts_others_blocks_them_only_for_some_seconds() {
    let home = Home::new();
    let mut writer = writer(&home);
    run(&mut writer, event(1));
    let (unreadable, mut given_up) = asked(Unreadable);
    let (done, mut done_answered) = asked(mark(1, InboundState::Done));
    writer.run_group(vec![unreadable, done]);
    assert_eq!(done_answered.try_recv(), Ok(Ok(())), "it is done alone");
    for failure in 2..=FAILURES_ALONE {
        assert!(given_up.try_recv().is_err(), "failure {failure}");
        // In the same second nothing is tried alone.
        assert!(matches!(run(&mut writer, event(2)), Some(Err(_))), "what is owed is before anything else");
        writer.separated_at = None;
        writer.probe();
    }
    assert!(matches!(given_up.try_recv(), Ok(Err(LedgerError::Unwritable(_)))));
    assert!(matches!(run(&mut writer, event(2)), Some(Ok(_))));
    assert_eq!(writer.shared.view().write_error, None);
}

#[test]
fn work_that_is_dropped_before_it_is_done_is_answered_as_closed() {
    let (sender, queue) = queue();
    let (waits, mut answered) = asked(event(1));
    sender.send(waits);
    drop(queue);
    assert_eq!(answered.try_recv(), Ok(Err(LedgerError::Closed)));
    let (late, mut answered) = asked(event(2));
    sender.send(late);
    assert_eq!(answered.try_recv(), Ok(Err(LedgerError::Closed)));
}
