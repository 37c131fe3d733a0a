//! What a tree is made of: children, supervisors, and how each is kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Context, Handler, Message};

use super::board::{Cell, Kind};
use super::carried::spawn_outside;
use super::exit::ExitReason;
use super::lane::Lane;
use super::life::Life;
use super::mailbox::{Gauge, Mailbox};
use super::messages::ChildExited;
use super::policy::RestartPolicy;
use super::port::Port;
use super::realm::Realm;
use super::runner::{Run, Runner};
use super::supervisor::Supervisor;

/// How long a child may take to stop unless its spec says otherwise.
const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// When an ended child is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Unless it ended in peace.
    Transient,
    /// Never; it leaves the tree when it ends.
    Temporary,
}

/// When a child counts as ready, so that its next sibling may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// When `started` is through.
    Started,
    /// When it calls [`Life::ready`].
    Said {
        /// Longer is an error of the child.
        within: Duration,
    },
}

/// Who else falls when a child falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Nobody.
    OneForOne,
    /// All its siblings.
    OneForAll,
    /// Those started after it.
    RestForOne,
}

/// What an incarnation is born with.
pub struct Birth<A: Actor> {
    life: Life,
    mailbox: Mailbox<A>,
    pub(super) realm: Realm,
    pub(super) cell: Arc<Cell>,
}

impl<A: Actor<Context = Context<A>>> Birth<A> {
    /// The incarnation to be.
    #[must_use]
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// A way into the child's own outer mailbox, for whatever outlives this incarnation.
    #[must_use]
    pub fn own<M>(&self) -> Port<M>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.mailbox.port()
    }

    pub(super) fn mailbox(&self) -> &Mailbox<A> {
        &self.mailbox
    }
}

/// Builds one incarnation after another, on the thread where it will live.
pub(super) type Factory<A> = dyn Fn(&Birth<A>) -> A + Send + Sync;

/// A child and how it is kept. Cheap to clone; a clone is another description of the same child.
#[derive(Clone)]
pub struct ChildSpec {
    pub(super) id: String,
    pub(super) seed: Arc<dyn Seed>,
    /// `None` for the root's thread.
    pub(super) lane: Option<Lane>,
    pub(super) restart: Restart,
    pub(super) policy: RestartPolicy,
    /// `None` for a supervisor, whose children each have theirs.
    pub(super) grace: Option<Duration>,
    pub(super) readiness: Readiness,
    /// The way into a supervisor.
    pub(super) branch: Option<Mailbox<Supervisor>>,
}

impl ChildSpec {
    /// A child that lives on the root's thread, is permanent, has 5 s to stop and is ready once started.
    ///
    /// # Panics
    /// If `id` is empty or contains a slash: it is one segment of a path.
    #[must_use]
    pub fn worker<A: Actor<Context = Context<A>>>(
        id: impl Into<String>,
        mailbox: &Mailbox<A>,
        factory: impl Fn(&Birth<A>) -> A + Send + Sync + 'static,
    ) -> Self {
        Self::with(id.into(), Arc::new(Worker { mailbox: mailbox.clone(), factory: Arc::new(factory) }), None)
    }

    /// A subtree. Supervisors live on the root's thread and take as long to stop as their children do. It is ready
    /// when the last of its children is.
    ///
    /// # Panics
    /// If `id` is empty or contains a slash: it is one segment of a path.
    #[must_use]
    pub fn supervisor(id: impl Into<String>, mailbox: &Mailbox<Supervisor>, spec: SupervisorSpec) -> Self {
        let roll = Roll(Arc::new(Mutex::new(spec)));
        let sown = roll.clone();
        let worker = Worker {
            mailbox: mailbox.clone(),
            factory: Arc::new(move |birth: &Birth<Supervisor>| Supervisor::new(sown.clone(), birth)),
        };
        let mut branch = Self::with(id.into(), Arc::new(Branch { worker, roll }), Some(mailbox.clone()));
        branch.grace = None;
        branch.readiness = Readiness::Said { within: Duration::MAX };
        branch
    }

    fn with(id: String, seed: Arc<dyn Seed>, branch: Option<Mailbox<Supervisor>>) -> Self {
        assert!(!id.is_empty() && !id.contains('/'), "child id {id:?} is not one segment of a path");
        Self {
            id,
            seed,
            lane: None,
            restart: Restart::Permanent,
            policy: RestartPolicy::default(),
            grace: Some(DEFAULT_GRACE),
            readiness: Readiness::Started,
            branch,
        }
    }

    /// Lives on `lane`. Without effect on a supervisor.
    #[must_use]
    pub fn on(mut self, lane: &Lane) -> Self {
        if self.branch.is_none() {
            self.lane = Some(lane.clone());
        }
        self
    }

    /// When it is started again.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How often it is started again, and what happens when that was too often.
    #[must_use]
    pub fn policy(mut self, policy: RestartPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// How long a polite stop may take before it is killed.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// When it counts as ready.
    #[must_use]
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
    }

    /// The id given.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn kind(&self) -> Kind {
        if self.branch.is_some() { Kind::Supervisor } else { Kind::Worker }
    }
}

/// A supervisor: its strategy and its children, in the order in which they start.
#[derive(Clone)]
pub struct SupervisorSpec {
    pub(super) strategy: Strategy,
    pub(super) children: Vec<ChildSpec>,
    pub(super) exits: Option<Port<ChildExited>>,
}

impl SupervisorSpec {
    /// A supervisor without children yet.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        Self { strategy, children: Vec::new(), exits: None }
    }

    /// Adds a child, started after those before it and stopped before them.
    ///
    /// # Panics
    /// If a child of this id is there already.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        assert!(self.children.iter().all(|other| other.id != child.id), "child id {:?} is taken", child.id);
        self.children.push(child);
        self
    }

    /// Has every exit of a child told to `port`.
    #[must_use]
    pub fn tell_exits(mut self, port: Port<ChildExited>) -> Self {
        self.exits = Some(port);
        self
    }
}

/// What one supervisor is to keep, as it stands by now; outlives its incarnations, so that a child that came or went
/// while one ran is not forgotten by the next.
#[derive(Clone)]
pub(super) struct Roll(Arc<Mutex<SupervisorSpec>>);

impl Roll {
    pub(super) fn spec(&self) -> SupervisorSpec {
        self.lock().clone()
    }

    /// A temporary child is not started a second time, so nobody needs to know it.
    pub(super) fn add(&self, child: &ChildSpec) {
        if child.restart != Restart::Temporary {
            self.lock().children.push(child.clone());
        }
    }

    pub(super) fn remove(&self, id: &str) {
        self.lock().children.retain(|child| child.id != id);
    }

    fn lock(&self) -> MutexGuard<'_, SupervisorSpec> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A child with its type forgotten.
pub(super) trait Seed: Send + Sync {
    /// Sends an incarnation to its thread; returns the thread's number.
    fn begin(&self, run: Run, realm: &Realm, cell: &Arc<Cell>, lane: &Lane) -> Result<u64, ExitReason>;

    /// Has the mailbox emptied, from this thread, until the next incarnation is born.
    fn drain(&self);

    fn gauge(&self) -> &Arc<Gauge>;
}

struct Worker<A: Actor> {
    mailbox: Mailbox<A>,
    factory: Arc<Factory<A>>,
}

impl<A: Actor<Context = Context<A>>> Seed for Worker<A> {
    fn begin(&self, run: Run, realm: &Realm, cell: &Arc<Cell>, lane: &Lane) -> Result<u64, ExitReason> {
        let birth = Birth {
            life: run.life.clone(),
            mailbox: self.mailbox.clone(),
            realm: realm.clone(),
            cell: Arc::clone(cell),
        };
        let factory = Arc::clone(&self.factory);
        lane.run(realm.beat_every(), move || {
            spawn_outside(Runner::new(run, birth, factory));
        })
        .map_err(|error| ExitReason::Error(format!("lane {} has no thread: {error}", lane.name())))
    }

    fn drain(&self) {
        spawn_outside(self.mailbox.reader().drain());
    }

    fn gauge(&self) -> &Arc<Gauge> {
        self.mailbox.gauge()
    }
}

/// A supervisor takes its children's mailboxes along when it is down for good.
struct Branch {
    worker: Worker<Supervisor>,
    roll: Roll,
}

impl Seed for Branch {
    fn begin(&self, run: Run, realm: &Realm, cell: &Arc<Cell>, lane: &Lane) -> Result<u64, ExitReason> {
        self.worker.begin(run, realm, cell, lane)
    }

    fn drain(&self) {
        self.worker.drain();
        for child in self.roll.spec().children {
            child.seed.drain();
        }
    }

    fn gauge(&self) -> &Arc<Gauge> {
        self.worker.gauge()
    }
}
