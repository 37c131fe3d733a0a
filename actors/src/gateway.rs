//! The supervision tree: parents, children, and their order.
//!
//! All mailboxes are created first, so that every child can be given every port; then the children are described from the
//! bottom up. What outlives a single actor (the gate, the ledger's writer, the redactor) is created here and passed to each incarnation.

mod data_threads; // The threads of the dispatchers, of their turns and of the links.
mod dependencies;
mod dispatching; // The description of the dispatchers and of their turns.
mod links;
mod ports;
mod profiles; // The description of one profile, at the start or later.
mod wiring;

use std::num::NonZero;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use data_threads::DataThreads;
pub use dependencies::GatewayDependencies;
use dependencies::policy;
use links::RelayLinks;
pub use links::configured_links;
pub use ports::{DeliveryPort, DeliveryPorts, GatewayPorts, LinkPort};
use wiring::{GatewayCounts, Mailboxes, Wiring};

use crate::config::ServedProfiles;
use crate::dispatch::room::LinkBacklogs;
use crate::dispatch::slots::Slots;
use crate::drain::permit::Gate;
use crate::files::FileEvents;
use crate::ledger::{CloseError, LedgerWriter, OpenError, SqliteStore, place};
use crate::profile::{CallTimings, Caller, ProfileDependencies};
use crate::settings::Settings;
use crate::status::changes::StatusChanges;
use caduceus_supervision::{
    Board, ChildSpec, Mailbox, Root, RootHandle, RootOptions, StartError, Strategy, Supervisor, SupervisorSpec,
    WorkerThread,
};

/// The gateway's tree, described and not yet started.
pub struct Gateway {
    /// The ports of the gateway.
    pub ports: GatewayPorts,
    tree: SupervisorSpec,
    board: Arc<OnceLock<Board>>,
    writer: LedgerWriter<SqliteStore>,
    served_profiles: ServedProfiles,
}

/// A running gateway.
pub struct RunningGateway {
    /// The tree.
    pub root: RootHandle,
    /// The ports of the gateway.
    pub ports: GatewayPorts,
    writer: LedgerWriter<SqliteStore>,
    served_profiles: ServedProfiles,
}

impl Gateway {
    /// Describes the tree for `settings`, and opens the ledger.
    ///
    /// # Errors
    /// [`OpenError`]: without its ledger a gateway does not start.
    pub fn new(settings: Settings, dependencies: GatewayDependencies) -> Result<Self, OpenError> {
        let writer = LedgerWriter::open(place::prepare(&settings.home)?)?;
        let mailboxes = Mailboxes {
            ledger: Mailbox::new(),
            status: Mailbox::new(),
            profiles: Mailbox::new(),
            drain: Mailbox::new(),
            honcho: Mailbox::new(),
            data: DataThreads::new(settings.values.threads.number(cores())),
            links: RelayLinks::new(&settings),
            config: Mailbox::new(),
        };
        let board = Arc::new(OnceLock::new());
        // A flood of messages must never delay a drain.
        let control = WorkerThread::new("control");
        let events = FileEvents::default();
        let policies = settings.values.supervision.policies.clone();
        let counts = GatewayCounts::default();
        let changes = StatusChanges::new(mailboxes.status.port());
        let profile_dependencies = ProfileDependencies {
            fresh_token: Some(mailboxes.honcho.port()),
            status: changes.clone(),
            caller: Caller::new(settings.client.clone(), CallTimings::default()),
            link: Some(mailboxes.links.process().port()),
            claims: mailboxes.links.claims().clone(),
            client: settings.client.clone(),
            events: events.clone(),
            children: counts.children.clone(),
        };
        let profile_factory =
            profiles::profile_factory(profile_dependencies, &dependencies, policy(&policies, "profile"), &control);
        let served_profiles = ServedProfiles::new(settings, profile_factory);
        let board_cell = Arc::clone(&board);
        let max_turns = served_profiles.settings().values.turns.max_concurrent;
        let dispatchers = mailboxes.data.iter().count();
        let gate = Gate::of_dispatchers(dispatchers);
        let backlogs = LinkBacklogs::new(mailboxes.links.all().map(|(link, _)| link), dispatchers);
        let slots = Slots::new(max_turns, gate.clone(), mailboxes.data.ports());
        let wiring = Wiring {
            served_profiles,
            policies,
            dependencies,
            events,
            mailboxes,
            changes,
            board: board_cell,
            control,
            counts,
            gate,
            slots,
            backlogs,
        };
        let tree = SupervisorSpec::new(Strategy::OneForOne)
            .child(wiring.ledger(&writer))
            .child(wiring.status())
            .child(wiring.profiles())
            .child(wiring.drain())
            .child(wiring.honcho());
        let tree = wiring.dispatchers().into_iter().chain(wiring.turns()).fold(tree, SupervisorSpec::child);
        let tree = tree.child(wiring.config()).child(wiring.relays());
        Ok(Self { ports: wiring.ports(), tree, board, writer, served_profiles: wiring.served_profiles })
    }

    /// Adds a child that starts last and stops first.
    #[must_use]
    pub fn with(mut self, child: ChildSpec) -> Self {
        self.tree = self.tree.child(child);
        self
    }

    /// Starts the tree on the current thread; `root` is the mailbox of its top.
    ///
    /// # Errors
    /// [`StartError`]. Nothing was started.
    pub fn start(self, options: RootOptions, root: &Mailbox<Supervisor>) -> Result<RunningGateway, StartError> {
        let root = Root::start_at(root, self.tree, options)?;
        let changes = self.ports.changes.clone();
        root.board().on_change(move || changes.report());
        // The status actor starts later, on this or another thread, and waits for the cell.
        let _ = self.board.set(root.board());
        Ok(RunningGateway { root, ports: self.ports, writer: self.writer, served_profiles: self.served_profiles })
    }
}

/// The cores that this process may use.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

impl RunningGateway {
    /// How long a shutdown waits for turns, by the settings in force.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.served_profiles.settings().values.drain.timeout
    }

    /// Writes the work that is left in the ledger's queue, for at most `timeout`. Blocks.
    ///
    /// # Errors
    /// [`CloseError`] if the disk did not accept it in time.
    pub fn close_ledger(&self, timeout: Duration) -> Result<(), CloseError> {
        self.writer.close(timeout)
    }
}
