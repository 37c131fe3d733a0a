//! The top of a tree: starts it, says how it ended, stops it, joins its threads.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::dev::ToEnvelope;
use actix::{Context, Handler, Message};
use tokio::sync::mpsc;

use super::board::{Board, Cell, ChildState, Posting, wall_clock};
use super::carried::spawn_outside;
use super::exit::ExitReason;
use super::leash::Leash;
use super::life::Life;
use super::mailbox::Mailbox;
use super::port::Port;
use super::pulse::Pulse;
use super::realm::Realm;
use super::runner::{News, Obituary, Run};
use super::spec::{ChildSpec, SupervisorSpec};
use super::supervisor::Supervisor;
use super::watch::watch;
use super::watchdog::Watchdog;

/// The top of a tree.
#[derive(Debug)]
pub struct Root;

/// How a tree is kept.
#[derive(Debug, Clone)]
pub struct RootOptions {
    /// A thread or an actor silent for longer counts as wedged. Anything that blocks must be shorter, or live on a
    /// lane that is never replaced.
    pub wedge_after: Duration,
    /// Wedged threads given up before the tree is.
    pub max_leaked_threads: usize,
    /// Whether [`InjectFault`](super::InjectFault) is taken.
    pub faults_allowed: bool,
    /// Looks after the root's own thread.
    pub watchdog: Option<Watchdog>,
}

impl Default for RootOptions {
    /// 5 s, 2 threads, no faults, no watchdog.
    fn default() -> Self {
        Self { wedge_after: Duration::from_secs(5), max_leaked_threads: 2, faults_allowed: false, watchdog: None }
    }
}

/// How a tree ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootEnd {
    /// It was asked to.
    Asked,
    /// A child of the root fell too often.
    BudgetSpent {
        /// Its path; empty if it was the root itself that fell.
        path: String,
        /// How it last ended.
        reason: ExitReason,
    },
    /// More threads are wedged than may be given up. The children still run.
    TooManyWedged,
}

impl fmt::Display for RootEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("the tree was asked to end"),
            Self::BudgetSpent { path, .. } if path.is_empty() => f.write_str("the root fell"),
            // The text of a panic may hold anything; the word for it does not.
            Self::BudgetSpent { path, reason } => write!(f, "{path} fell more often than it may ({})", reason.word()),
            Self::TooManyWedged => f.write_str("more threads hang than may be given up"),
        }
    }
}

impl RootEnd {
    /// The exit code of the process: 0 asked, 70 an internal error, 75 worth another try.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Asked => 0,
            Self::BudgetSpent { .. } => 70,
            Self::TooManyWedged => 75,
        }
    }
}

/// The handle on a running tree. Cheap to clone; dropping it stops nothing.
#[derive(Clone)]
pub struct RootHandle {
    realm: Realm,
    board: Board,
    leash: Leash,
    mailbox: Mailbox<Supervisor>,
}

impl Root {
    /// Starts a tree on the current thread, and its other threads.
    ///
    /// # Panics
    /// Outside an actix `System`.
    #[must_use]
    pub fn start(spec: SupervisorSpec, options: RootOptions) -> RootHandle {
        Self::start_at(&Mailbox::new(), spec, options)
    }

    /// As [`Root::start`], with a mailbox for the root supervisor that its own children may already have ports into.
    ///
    /// # Panics
    /// Outside an actix `System`.
    #[must_use]
    pub fn start_at(mailbox: &Mailbox<Supervisor>, spec: SupervisorSpec, options: RootOptions) -> RootHandle {
        let mailbox = mailbox.clone();
        let cell = Cell::root(Arc::clone(mailbox.gauge()));
        let board = Board::new(Arc::clone(&cell));
        let realm = Realm::new(options);
        if let (Some(watchdog), Some((_, pulse))) = (&realm.options().watchdog, realm.root_lane().sign_of_life()) {
            watchdog.look_after(pulse, board.clone());
        }
        let (news, heard) = mpsc::unbounded_channel();
        let (life, leash, pulse) = (Life::new("", 1), Leash::default(), Pulse::new());
        let run = Run {
            life: life.clone(),
            leash: leash.clone(),
            pulse: pulse.clone(),
            beat_every: realm.beat_every(),
            fault: None,
            obituary: Obituary::new(0, news.clone()),
        };
        let lane = realm.root_lane();
        let seed = ChildSpec::supervisor("root", &mailbox, spec).seed;
        let begun = seed.begin(run, &realm, &cell, lane);
        cell.write(|vitals| {
            vitals.generation = 1;
            vitals.started_at = Some(wall_clock());
            let (lane, leash) = (lane.clone(), leash.clone());
            vitals.posting =
                begun.ok().map(|thread| Posting { run: 0, life, leash, pulse, lane, thread, permanent: true, news });
        });
        spawn_outside(outlive(heard, cell, realm.clone()));
        spawn_outside(watch(realm.clone(), board.clone()));
        RootHandle { realm, board, leash, mailbox }
    }
}

/// Waits for the end of the root supervisor, and says what it means.
async fn outlive(mut heard: mpsc::UnboundedReceiver<News>, cell: Arc<Cell>, realm: Realm) {
    let reason = loop {
        match heard.recv().await {
            Some(News::Started { .. }) => cell.write(|vitals| vitals.state = ChildState::Running),
            Some(News::Ended { reason, .. }) => break reason,
            None => break ExitReason::Killed,
        }
    };
    tracing::info!(%reason, "root supervisor ended");
    cell.write(|vitals| {
        vitals.state = ChildState::Stopped;
        vitals.posting = None;
        vitals.last_exit = Some((reason.clone(), wall_clock()));
    });
    let end = match reason {
        ExitReason::Asked | ExitReason::Normal => RootEnd::Asked,
        ExitReason::Panic(_)
        | ExitReason::Error(_)
        | ExitReason::Killed
        | ExitReason::Wedged
        | ExitReason::Fatal(_) => realm.verdict().unwrap_or(RootEnd::BudgetSpent { path: String::new(), reason }),
    };
    realm.end(end);
}

impl RootHandle {
    /// The window on the tree.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// A way into the root supervisor.
    #[must_use]
    pub fn port<M>(&self) -> Port<M>
    where
        Supervisor: Handler<M>,
        Context<Supervisor>: ToEnvelope<Supervisor, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.mailbox.port()
    }

    /// Waits until the tree has ended, and says how. Answers every caller, also later.
    pub async fn ended(&self) -> RootEnd {
        let mut end = self.realm.ended();
        // The sender lives in the realm that we hold, so the wait cannot fail.
        let end = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        end.unwrap_or(RootEnd::Asked)
    }

    /// Stops the tree in reverse order, one child at a time, each killed after its grace, and waits for it.
    pub async fn stop(&self) {
        self.leash.stop();
        self.ended().await;
    }

    /// Ends the lanes' threads and joins them, waiting at most `within` for all. Returns how many were left behind.
    /// Call it once the tree has ended.
    pub async fn join_lanes(&self, within: Duration) -> usize {
        let deadline = Instant::now() + within;
        let mut left = 0;
        let threads = self.realm.lanes().into_iter().filter_map(|lane| lane.take()).chain(self.realm.take_leaked());
        for thread in threads {
            if !thread.join(deadline.saturating_duration_since(Instant::now())).await {
                left += 1;
            }
        }
        left
    }
}
