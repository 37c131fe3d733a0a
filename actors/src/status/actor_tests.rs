//! How many snapshots are made, and what they include.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::Message;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::config::{ConfigView, GetConfig};
use caduceus_contract::messages::dispatch::{DispatchView, GetDispatch};
use caduceus_contract::messages::drain::{DrainView, GetDrain};
use caduceus_contract::messages::honcho::{GetGrants, GrantView};
use caduceus_contract::messages::ledger::{GetLedger, LedgerView};
use caduceus_contract::messages::relay::{GetLink, LinkView};
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::{ChildSpec, Mailbox, Root, RootOptions, Strategy, SupervisorSpec};

use super::*;
use crate::config::messages::InForce;
use crate::counts::CountBy;
use crate::settings::{Environment, Settings};
use crate::status::changes::StatusChanges;
use crate::status::listener::SnapshotListener;

/// Far longer than any wait here takes.
const CEILING: Duration = Duration::from_secs(20);

/// Answers the queries of the status.
struct QueriedParts;

impl Actor for QueriedParts {
    type Context = Context<Self>;
}

macro_rules! answers {
    ($($query:ty => $view:ty),*) => {$(
        impl Handler<$query> for QueriedParts {
            type Result = MessageResult<$query>;

            fn handle(&mut self, _: $query, _: &mut Self::Context) -> Self::Result {
                MessageResult(<$view>::default())
            }
        }
    )*};
}

answers!(GetDrain => DrainView, GetDispatch => DispatchView, GetLedger => LedgerView, GetGrants => Vec<GrantView>, GetConfig => ConfigView);

impl Handler<GetLink> for QueriedParts {
    type Result = MessageResult<GetLink>;

    fn handle(&mut self, _: GetLink, _: &mut Self::Context) -> Self::Result {
        MessageResult(LinkView::not_reported(LinkId::process()))
    }
}

impl Handler<SnapshotChanged> for QueriedParts {
    type Result = ();

    fn handle(&mut self, _: SnapshotChanged, _: &mut Self::Context) {}
}

/// The status as the only child of a tree, and the number of its snapshots.
struct StatusBench {
    mailbox: Mailbox<StatusActor>,
    changes: StatusChanges,
    made: Arc<AtomicUsize>,
    /// When each of them was received.
    times: Arc<Mutex<Vec<Instant>>>,
    settings: StatusSettings,
    ports: StatusPorts,
    board: Board,
    _home: tempfile::TempDir,
}

impl StatusBench {
    fn start(phase: ProcessPhase) -> Self {
        let (home, queried) = (tempfile::tempdir().unwrap(), QueriedParts.start());
        let (made, times) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<Instant>>>::default());
        let (count, received) = (Arc::clone(&made), Arc::clone(&times));
        let memory = PhaseMemory::default();
        memory.set(Phase { phase, exit_reason: None });
        let mailbox = Mailbox::new();
        let changes = StatusChanges::new(mailbox.port());
        let settings = StatusSettings {
            in_force: in_force(home.path()),
            started: Instant::now(),
            phase: memory,
            views: ViewMemory::default(),
            changes: changes.clone(),
            listener: SnapshotListener::new(move |_| {
                received.lock().unwrap().push(Instant::now());
                count.fetch_add(1, Ordering::SeqCst);
            }),
        };
        let ports = StatusPorts {
            drain: queried.clone().into(),
            dispatch: vec![("dispatch".to_owned(), queried.clone().into())],
            ledger: queried.clone().into(),
            honcho: queried.clone().into(),
            config: queried.clone().into(),
            links: vec![(LinkId::process(), queried.into())],
            agents_started: CountBy::default(),
            exchanges: CountBy::default(),
        };
        let board = Arc::new(std::sync::OnceLock::<Board>::new());
        let given = Arc::clone(&board);
        let (settings_of_child, ports_of_child) = (settings.clone(), ports.clone());
        let child = ChildSpec::worker("status", &mailbox, move |_: &_| {
            StatusActor::new(settings_of_child.clone(), ports_of_child.clone(), given.wait().clone())
        });
        let root = Root::start(SupervisorSpec::new(Strategy::OneForOne).child(child), RootOptions::default()).unwrap();
        let reported = changes.clone();
        root.board().on_change(move || reported.report());
        let _ = board.set(root.board());
        Self { mailbox, changes, made, times, settings, ports, board: root.board(), _home: home }
    }

    async fn ask<M>(&self, message: M) -> M::Result
    where
        StatusActor: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.mailbox.port().ask(message, CEILING).await.unwrap()
    }
}

fn in_force(home: &std::path::Path) -> Arc<InForce> {
    let settings = Settings::load(home, Environment::default()).unwrap();
    let settings = Arc::new(settings.in_force(&settings));
    Arc::new(InForce { settings, profiles: Vec::new() })
}

#[actix::test]
async fn a_flood_of_changes_makes_at_most_ten_snapshots_a_second() {
    let bench = StatusBench::start(ProcessPhase::Running);
    bench.ask(GetSnapshot).await;
    let (begun, before) = (Instant::now(), bench.made.load(Ordering::SeqCst));
    while bench.made.load(Ordering::SeqCst) < before + 5 {
        assert!(begun.elapsed() < CEILING, "no snapshots are made");
        bench.changes.report();
        bench.ask(GetSnapshot).await;
    }
    let made = bench.made.load(Ordering::SeqCst) - before;
    let most = begun.elapsed().as_millis() / PAUSE.as_millis() + 1;
    assert!(made as u128 <= most, "{made} snapshots in {:?}", begun.elapsed());
}

#[actix::test]
async fn a_snapshot_younger_than_a_second_answers_all_requests() {
    let bench = StatusBench::start(ProcessPhase::Running);
    let begun = Instant::now();
    let first = bench.ask(RefreshSnapshot).await;
    let mut other = bench.ask(RefreshSnapshot).await;
    while Arc::ptr_eq(&first, &other) {
        assert!(begun.elapsed() < CEILING, "no other snapshot is made");
        other = bench.ask(RefreshSnapshot).await;
    }
    let again = bench.made.load(Ordering::SeqCst);
    // That of the start, that of the tree's change, and one a second at most.
    assert!(again as u128 <= begun.elapsed().as_millis() / 1_000 + 3, "{again} snapshots in {:?}", begun.elapsed());
}

#[actix::test]
async fn the_first_snapshot_of_a_subscription_is_younger_than_a_second() {
    let bench = StatusBench::start(ProcessPhase::Running);
    let (begun, mut last) = (Instant::now(), bench.ask(RefreshSnapshot).await);
    // What is tested is what happens at this age. The tree may still change at first.
    loop {
        assert!(begun.elapsed() < CEILING, "snapshots are made all the time");
        tokio::time::sleep_until((last.made + MAX_AGE).into()).await;
        let present = bench.ask(GetSnapshot).await;
        if Arc::ptr_eq(&present, &last) {
            break;
        }
        last = present;
    }
    let first = bench.ask(Subscribe { to: QueriedParts.start().into() }).await;
    assert!(first.made.elapsed() < MAX_AGE, "{:?}", first.made.elapsed());
    let next = bench.ask(Subscribe { to: QueriedParts.start().into() }).await;
    assert!(Arc::ptr_eq(&first, &next) || next.made > first.made);
}

#[actix::test]
async fn the_times_of_the_last_changes_outlive_the_status_actor() {
    let bench = StatusBench::start(ProcessPhase::Running);
    bench.ask(RefreshSnapshot).await;
    let new = || StatusActor::new(bench.settings.clone(), bench.ports.clone(), bench.board.clone()).snapshot;
    let (before, after) = (new(), new());
    assert_eq!(before.gateway_updated_at, after.gateway_updated_at);
    assert!(!before.gateway_platforms.is_empty());
    assert_eq!(before.gateway_platforms, after.gateway_platforms);
}

#[actix::test]
async fn a_request_after_a_change_is_answered_with_a_snapshot_that_includes_it() {
    let bench = StatusBench::start(ProcessPhase::Running);
    let begun = Instant::now();
    for _ in 0..5 {
        // In the pause after the snapshot that the last request caused.
        bench.changes.report();
        let reported = bench.changes.reported();
        assert!(bench.ask(RefreshSnapshot).await.changes >= reported);
    }
    let made = bench.made.load(Ordering::SeqCst) as u128;
    let ran = begun.elapsed().as_millis();
    // That of the start and that of the tree's change, one a pause, and one that does not wait for it.
    let most = ran / PAUSE.as_millis() + ran / HURRY_EVERY.as_millis() + 4;
    assert!(made <= most, "{made} snapshots in {ran} ms");
}

#[actix::test]
async fn a_notification_of_a_change_that_is_included_already_does_not_keep_later_ones_back() {
    let bench = StatusBench::start(ProcessPhase::Running);
    // The first rounds may find a snapshot that was due before.
    for round in 0..3 {
        bench.ask(RefreshSnapshot).await;
        // As if that snapshot had been begun between the count of a change and its message.
        bench.changes.notify();
        bench.ask(GetSnapshot).await;
        bench.changes.report();
        let (reported, begun) = (bench.changes.reported(), Instant::now());
        while bench.ask(GetSnapshot).await.changes < reported {
            assert!(begun.elapsed() < TICK / 2, "round {round}: the change waits for the next tick");
        }
    }
}

#[test]
fn only_the_first_change_after_a_snapshot_is_a_message() {
    let (mailbox, profile) = (Mailbox::<StatusActor>::new(), ProfileName::parse("work").unwrap());
    let changes = StatusChanges::new(mailbox.port());
    for snapshots in 1..=3 {
        for _ in 0..1_000 {
            changes.report();
        }
        changes.report_profile(&profile);
        assert_eq!(mailbox.gauge().waiting(), snapshots);
        assert_eq!(changes.take(), (1_001 * snapshots as u64, BTreeSet::from([profile.clone()])));
    }
    assert!(changes.take().1.is_empty());
}

#[test]
fn a_change_that_could_not_be_reported_is_counted_and_the_next_one_reports_it() {
    let mailbox = Mailbox::<StatusActor>::with_limit(1);
    let changes = StatusChanges::new(mailbox.port());
    changes.report();
    let _ = changes.take();
    changes.report();
    assert_eq!((changes.reported(), mailbox.gauge().refused()), (2, 1));
    changes.report();
    assert_eq!((changes.reported(), mailbox.gauge().refused()), (3, 2));
}

#[actix::test]
async fn the_children_that_start_make_no_snapshots_until_the_process_is_up() {
    let bench = StatusBench::start(ProcessPhase::Starting);
    let begun = Instant::now();
    for _ in 0..1_000 {
        bench.changes.report();
        bench.ask(GetSnapshot).await;
    }
    let made = bench.made.load(Ordering::SeqCst) as u128;
    assert!(made <= begun.elapsed().as_millis() / STARTING_PAUSE.as_millis(), "{made} snapshots");
    bench.ask(Phase { phase: ProcessPhase::Running, exit_reason: None }).await;
    assert_eq!(bench.ask(GetSnapshot).await.phase, ProcessPhase::Running);
}

/// As if everything that permits a snapshot out of turn came at once.
#[actix::test]
async fn changes_of_the_phase_and_requests_make_at_most_ten_snapshots_in_any_second() {
    let bench = StatusBench::start(ProcessPhase::Running);
    let begun = Instant::now();
    while bench.times.lock().unwrap().len() < 25 {
        assert!(begun.elapsed() < CEILING, "no snapshots are made");
        for phase in [ProcessPhase::Running, ProcessPhase::Stopping] {
            bench.changes.report();
            let (_, ()) = tokio::join!(bench.ask(RefreshSnapshot), bench.ask(Phase { phase, exit_reason: None }));
        }
    }
    let times = bench.times.lock().unwrap();
    for eleven in times.windows(11) {
        let within = eleven[10].duration_since(eleven[0]);
        assert!(within >= Duration::from_secs(1), "eleven snapshots in {within:?}");
    }
}
