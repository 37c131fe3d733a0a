//! The tree: who is whose child, in which order. Read it to see the whole.
//!
//! All mailboxes are made first, so that anyone can be given a port to anyone; then the children are described from the
//! bottom up. What outlives a single actor (the gate, the ledger's writer, the redactor) is made here and handed to each incarnation.

mod links;
mod ports;
mod profiles; // How one of them is made, at the start or later.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use links::Links;
pub use ports::{DeliveryPort, DeliveryPorts, LinkPort};

use crate::config::messages::{ReadAgain, Served};
use crate::config::{ConfigActor, ConfigPorts, ServedProfiles};
use crate::counts::CountBy;
use crate::dispatch::actor::DispatchActor;
use crate::dispatch::counts::DispatchCounts;
use crate::dispatch::home::Home;
use crate::dispatch::messages::{AnnounceStop, StopSession, StopTurnById};
use crate::dispatch::ports::{DispatchPorts, LinkPorts, TurnChild, TurnMaker};
use crate::dispatch::settings::DispatchSettings;
use crate::drain::actor::{DrainActor, DrainPorts, DrainSettings};
use crate::drain::messages::{AwaitDrained, BeginDrain, BeginShutdown, CancelDrain, GetDrain};
use crate::drain::permit::Gate;
use crate::drain::permit::messages::ListTurns;
use crate::files::FileEvents;
use crate::honcho::actor::{HonchoOwn, HonchoPorts, HonchoRefreshActor, HonchoSettings, HonchoSurroundings};
use crate::honcho::steps::StepHook;
use crate::ledger::{self, LedgerActor, LedgerWriter, OpenError};
use crate::profile::messages::ProfilePorts;
use crate::profile::name::ProfileName;
use crate::profile::{CallTimings, Caller, GuardCommand, ProfileDependencies, Redactor};
use crate::relay::actor::{LinkSettings, RelayActor, RelayPorts};
use crate::relay::counts::LinkCounts;
use crate::relay::media;
use crate::relay::messages::LinkId;
use crate::settings::Settings;
use crate::status::actor::{PhaseMemory, StatusActor, StatusPorts, StatusSettings, ViewMemory};
use crate::status::listener::Listener;
use crate::status::messages::{GetSnapshot, Phase, Subscribe};
use crate::turn::actor::TurnActor;
use crate::turn::order::TurnOrder;
use crate::turn::ports::TurnPorts;
use caduceus_supervision::{
    Board, ChildSpec, Mailbox, Port, Readiness, Restart, RestartPolicy, Root, RootHandle, RootOptions, StartError,
    Strategy, Supervisor, SupervisorSpec, WhenExceeded, WorkerThread,
};

/// How long a child may take to say that it is ready: a slow disk, not a dead one.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a link may take to say farewell.
const LINK_GRACE: Duration = Duration::from_secs(3);
/// How long a refresh under way may take: 20 s for the lock and 15 s for the exchange. A token must not be lost half-way.
const REFRESH_GRACE: Duration = Duration::from_secs(40);
/// How long a turn may take to end: SIGTERM, 5 s, SIGKILL, and a word to the chat.
const TURN_GRACE: Duration = Duration::from_secs(8);

/// What the tree needs beside its settings.
#[derive(Clone)]
pub struct Surroundings {
    /// How the guard of an agent is run.
    pub guard: GuardCommand,
    /// Keeps secrets out of the logs; fed by the profiles.
    pub redactor: Redactor,
    /// When the process started.
    pub started: Instant,
    /// Told of every step of every refresh, for tests that kill us on one.
    pub refresh_steps: StepHook,
    /// Hears of every status.
    pub listener: Listener,
}

/// The gateway's tree, described and not yet started.
pub struct Gateway {
    /// The ways in.
    pub ports: GatewayPorts,
    tree: SupervisorSpec,
    board: Arc<OnceLock<Board>>,
    writer: LedgerWriter,
    present: ServedProfiles,
}

/// A running gateway.
pub struct RunningGateway {
    /// The tree.
    pub root: RootHandle,
    /// The ways in.
    pub ports: GatewayPorts,
    writer: LedgerWriter,
    present: ServedProfiles,
}

/// The ways into the gateway for the layers above.
#[derive(Clone)]
pub struct GatewayPorts {
    /// The status as last built.
    pub snapshot: Port<GetSnapshot>,
    /// Every status from now on.
    pub subscribe: Port<Subscribe>,
    /// The process takes its next step in life.
    pub phase: Port<Phase>,
    /// How the gate is.
    pub drain: Port<GetDrain>,
    /// Begins a drain.
    pub begin_drain: Port<BeginDrain>,
    /// Ends a drain.
    pub cancel_drain: Port<CancelDrain>,
    /// Waits for the turns to end.
    pub await_drained: Port<AwaitDrained>,
    /// Closes the gate for good.
    pub begin_shutdown: Port<BeginShutdown>,
    /// The turns in flight.
    pub turns: Port<ListTurns>,
    /// Stops one turn.
    pub stop_turn: Port<StopTurnById>,
    /// The links, that of the process first.
    pub links: Vec<LinkPort>,
    /// Who may deliver over HTTP.
    pub deliveries: DeliveryPorts,
    /// Reads every file again.
    pub read_again: Port<ReadAgain>,
    /// Stops the turn of a session.
    pub stop_session: Port<StopSession>,
    /// Tells the home channel that the process goes down.
    pub announce_stop: Port<AnnounceStop>,
}

/// The mailboxes of all children that are there from the start to the end.
struct Mailboxes {
    ledger: Mailbox<LedgerActor>,
    status: Mailbox<StatusActor>,
    profiles: Mailbox<Supervisor>,
    drain: Mailbox<DrainActor>,
    honcho: Mailbox<HonchoRefreshActor>,
    dispatch: Mailbox<DispatchActor>,
    turns: Mailbox<Supervisor>,
    links: Links,
    config: Mailbox<ConfigActor>,
}

impl Gateway {
    /// Describes the tree for `settings`, and opens the ledger.
    ///
    /// # Errors
    /// [`OpenError`]: without its ledger a gateway does not start.
    pub fn new(settings: Settings, surroundings: Surroundings) -> Result<Self, OpenError> {
        let writer = LedgerWriter::open(settings.home.join(ledger::FILE_NAME))?;
        let mailboxes = Mailboxes {
            ledger: Mailbox::new(),
            status: Mailbox::new(),
            profiles: Mailbox::new(),
            drain: Mailbox::new(),
            honcho: Mailbox::new(),
            dispatch: Mailbox::new(),
            turns: Mailbox::new(),
            links: Links::new(&settings),
            config: Mailbox::new(),
        };
        let board = Arc::new(OnceLock::new());
        // A flood of messages must never delay a drain.
        let (control, data) = (WorkerThread::new("control"), WorkerThread::new("data"));
        let events = FileEvents::default();
        let policies = settings.supervision.policies.clone();
        let counts = Counts::default();
        let dependencies = ProfileDependencies {
            fresh_token: Some(mailboxes.honcho.port()),
            status: mailboxes.status.port(),
            caller: Caller::new(settings.trust.clone(), CallTimings::default()),
            link: Some(mailboxes.links.process().port()),
            claims: mailboxes.links.claims().clone(),
            trust: settings.trust.clone(),
            events: events.clone(),
            children: counts.children.clone(),
        };
        let maker = profiles::maker(dependencies, &surroundings, policy(&policies, "profile"), &control);
        let present = ServedProfiles::new(settings, maker);
        let board_cell = Arc::clone(&board);
        let wiring =
            Wiring { present, policies, surroundings, events, mailboxes, board: board_cell, control, data, counts };
        let tree = SupervisorSpec::new(Strategy::OneForOne)
            .child(wiring.ledger(&writer))
            .child(wiring.status())
            .child(wiring.profiles())
            .child(wiring.drain())
            .child(wiring.honcho())
            .child(wiring.dispatch())
            .child(wiring.turns())
            .child(wiring.config())
            .child(wiring.relays());
        Ok(Self { ports: wiring.ports(), tree, board, writer, present: wiring.present })
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
        // The status is born on a later turn of this or another thread; it waits for the cell.
        let _ = self.board.set(root.board());
        Ok(RunningGateway { root, ports: self.ports, writer: self.writer, present: self.present })
    }
}

impl RunningGateway {
    /// How long a shutdown waits for turns, by what is in force now.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.present.settings().drain_timeout
    }

    /// Writes out what the ledger still holds; at most `patience`. Blocks.
    ///
    /// # Errors
    /// [`ledger::CloseError`] if the disk did not take it in time.
    pub fn close_ledger(&self, patience: Duration) -> Result<(), ledger::CloseError> {
        self.writer.close(patience)
    }
}

/// Everything the children are described from.
struct Wiring {
    present: ServedProfiles,
    policies: BTreeMap<String, RestartPolicy>,
    surroundings: Surroundings,
    events: FileEvents,
    mailboxes: Mailboxes,
    board: Arc<OnceLock<Board>>,
    control: WorkerThread,
    data: WorkerThread,
    counts: Counts,
}

/// What is counted, for as long as the process lives: each is handed to every incarnation of the actor that counts.
#[derive(Default)]
struct Counts {
    dispatch: DispatchCounts,
    /// Children started, by profile.
    children: CountBy<ProfileName>,
    /// Tokens exchanged, by file and host.
    exchanges: CountBy<(PathBuf, String)>,
}

impl Wiring {
    fn policy(&self, kind: &str) -> RestartPolicy {
        policy(&self.policies, kind)
    }

    fn ledger(&self, writer: &LedgerWriter) -> ChildSpec {
        let (writer, status) = (writer.clone(), self.mailboxes.status.port());
        let factory = move |start: &_| LedgerActor::new(writer.clone(), incarnation(start), status.clone());
        ChildSpec::worker("ledger", &self.mailboxes.ledger, factory).on(&self.data).policy(self.policy("ledger"))
    }

    fn status(&self) -> ChildSpec {
        let (present, started, phase) = (self.present.clone(), self.surroundings.started, PhaseMemory::default());
        let views = ViewMemory::default();
        let listener = self.surroundings.listener.clone();
        let ports = StatusPorts {
            drain: self.mailboxes.drain.port(),
            dispatch: self.mailboxes.dispatch.port(),
            ledger: self.mailboxes.ledger.port(),
            honcho: self.mailboxes.honcho.port(),
            config: self.mailboxes.config.port(),
            links: self.mailboxes.links.all().map(|(id, mailbox)| (id, mailbox.port())).collect(),
            agents_started: self.counts.children.clone(),
            exchanges: self.counts.exchanges.clone(),
        };
        let board = Arc::clone(&self.board);
        let factory = move |start: &_| {
            let settings = StatusSettings {
                in_force: present.in_force(),
                started,
                phase: phase.clone(),
                views: views.clone(),
                listener: listener.clone(),
            };
            StatusActor::new(settings, ports.clone(), board.wait().clone(), start)
        };
        ChildSpec::worker("status", &self.mailboxes.status, factory).on(&self.control).policy(self.policy("status"))
    }

    fn profiles(&self) -> ChildSpec {
        let one_for_one = SupervisorSpec::new(Strategy::OneForOne);
        let tree = self.present.children().into_iter().fold(one_for_one, |tree, child| tree.child(child.spec));
        ChildSpec::supervisor("profiles", &self.mailboxes.profiles, tree)
    }

    fn drain(&self) -> ChildSpec {
        let (present, events) = (self.present.clone(), self.events.clone());
        let ports = DrainPorts { changes: self.mailboxes.dispatch.port(), status: self.mailboxes.status.port() };
        let gate = Gate::default();
        let factory = move |start: &_| {
            let settings = DrainSettings::of(&present.in_force(), Some(events.clone()));
            DrainActor::new(gate.clone(), settings, ports.clone(), start)
        };
        ChildSpec::worker("drain", &self.mailboxes.drain, factory)
            .on(&self.control)
            .policy(self.policy("drain"))
            .readiness(Readiness::Reported { within: READY_WITHIN })
    }

    fn honcho(&self) -> ChildSpec {
        let settings = self.present.settings();
        let surroundings = HonchoSurroundings {
            environment: Arc::clone(&settings.environment),
            client: settings.trust.clone(),
            redactor: self.surroundings.redactor.clone(),
        };
        let steps = self.surroundings.refresh_steps.clone();
        let (present, status, events) = (self.present.clone(), self.mailboxes.status.port(), self.events.clone());
        let exchanges = self.counts.exchanges.clone();
        let factory = move |start: &_| {
            let exchanges = exchanges.clone();
            let (in_force, surroundings, steps) = (present.in_force(), surroundings.clone(), steps.clone());
            let profiles = surroundings.profiles(&in_force);
            let events = events.clone();
            let settings = HonchoSettings { surroundings, steps, events, exchanges, ..HonchoSettings::new(profiles) };
            let ports = HonchoPorts { profiles: HonchoPorts::profiles(&in_force), status: status.clone() };
            HonchoRefreshActor::new(ports, settings, incarnation(start), HonchoOwn::of(start))
        };
        ChildSpec::worker("honcho", &self.mailboxes.honcho, factory)
            .on(&self.control)
            .policy(self.policy("honcho"))
            .grace(REFRESH_GRACE)
            .readiness(Readiness::Reported { within: READY_WITHIN })
    }

    fn dispatch(&self) -> ChildSpec {
        let (present, process_started_ms) = (self.present.clone(), jiff::Timestamp::now().as_millisecond());
        let home = self.present.settings().home_channel.clone().map(Home::new);
        let (boxes, maker) = (&self.mailboxes, self.turn_maker());
        let link = |(id, link): (LinkId, &Mailbox<RelayActor>)| {
            (id, LinkPorts { send: link.port(), view: link.port(), tell_again: link.port() })
        };
        let ports = DispatchPorts {
            record_inbound: boxes.ledger.port(),
            mark_inbound: boxes.ledger.port(),
            list_inbound: boxes.ledger.port(),
            list_waiting: boxes.ledger.port(),
            read_inbound: boxes.ledger.port(),
            list_unread: boxes.ledger.port(),
            tell_unread: boxes.ledger.port(),
            last_interrupted: boxes.ledger.port(),
            note_restart: boxes.ledger.port(),
            record_outbound: boxes.ledger.port(),
            mark_outbound: boxes.ledger.port(),
            list_outbound: boxes.ledger.port(),
            append_history: boxes.ledger.port(),
            permits: boxes.drain.port(),
            turns: boxes.drain.port(),
            gate: boxes.drain.port(),
            start: boxes.turns.port(),
            links: boxes.links.all().map(link).collect(),
            left: boxes.dispatch.port(),
            status: boxes.status.port(),
            counts: self.counts.dispatch.clone(),
        };
        let factory = move |start: &_| {
            let settings = DispatchSettings::of(&present.in_force(), home.clone(), process_started_ms);
            DispatchActor::new(settings, ports.clone(), Arc::clone(&maker), start)
        };
        ChildSpec::worker("dispatch", &boxes.dispatch, factory)
            .on(&self.data)
            .policy(self.policy("dispatch"))
            .readiness(Readiness::Reported { within: READY_WITHIN })
    }

    fn turns(&self) -> ChildSpec {
        let tree = SupervisorSpec::new(Strategy::OneForOne).report_exits(self.mailboxes.dispatch.port());
        ChildSpec::supervisor("turns", &self.mailboxes.turns, tree)
    }

    /// Makes one turn. Its child is temporary: whatever befalls it, it is not started again by the tree.
    fn turn_maker(&self) -> TurnMaker {
        let (ledger, links) = (self.mailboxes.ledger.clone(), self.mailboxes.links.clone());
        let (dispatch, lane) = (self.mailboxes.dispatch.clone(), self.data.clone());
        let redactor = self.surroundings.redactor.clone();
        Arc::new(move |order: TurnOrder, profile: &ProfilePorts| {
            let mailbox: Mailbox<TurnActor> = Mailbox::new();
            let link = links.named(&order.target.link);
            let ports = TurnPorts {
                agent: profile.agent.clone(),
                spawn: profile.spawn.clone(),
                call: profile.call.clone(),
                history: ledger.port(),
                record: ledger.port(),
                mark: ledger.port(),
                send: link.port(),
                ended: dispatch.port(),
                left: dispatch.port(),
                stop: mailbox.port(),
                redactor: redactor.clone(),
            };
            let id = order.id.to_string();
            let order = Mutex::new(Some(order));
            let factory = move |start: &_| {
                let order = order.lock().unwrap_or_else(PoisonError::into_inner).take();
                TurnActor::new(order.expect("a temporary child is born once"), ports.clone(), incarnation(start))
            };
            let spec = ChildSpec::worker(id, &mailbox, factory).on(&lane).restart(Restart::Temporary).grace(TURN_GRACE);
            TurnChild { spec, stop: mailbox.port(), steer: mailbox.port() }
        })
    }

    fn relays(&self) -> ChildSpec {
        let served = self.present.in_force().profiles.clone();
        // The home's own profile is there from the start to the end, and lends the process its credentials.
        let process = (LinkId::process(), self.mailboxes.links.process(), &served[0]);
        let own = served.iter().filter_map(|served| {
            let mailbox = self.mailboxes.links.of(&served.name)?;
            Some((LinkId::of_profile(&served.name), mailbox, served))
        });
        let tree = SupervisorSpec::new(Strategy::OneForOne);
        let links = std::iter::once(process).chain(own);
        let tree = links.fold(tree, |tree, (link, mailbox, served)| tree.child(self.relay(&link, mailbox, served)));
        ChildSpec::supervisor("relays", &Mailbox::new(), tree)
    }

    /// The link that dials with the credentials of a profile.
    fn relay(&self, link: &LinkId, mailbox: &Mailbox<RelayActor>, served: &Served) -> ChildSpec {
        let boxes = &self.mailboxes;
        let ports = RelayPorts {
            profile: served.ports.dial.clone(),
            dispatch: boxes.dispatch.port(),
            ledger: boxes.ledger.port(),
            stop_session: boxes.dispatch.port(),
            changes: vec![boxes.dispatch.port()],
            status: boxes.status.port(),
        };
        let settings = self.present.settings();
        let settings = LinkSettings {
            link: link.clone(),
            owner: (*link != LinkId::process()).then(|| served.name.clone()),
            profile: served.name.clone(),
            claims: boxes.links.claims().clone(),
            timings: settings.link_timings.clone(),
            trust: settings.trust.clone(),
            media: served.home.join(media::FOLDER),
            counts: LinkCounts::default(),
        };
        let factory = move |start: &_| RelayActor::new(ports.clone(), settings.clone(), incarnation(start));
        let policy = RestartPolicy { when_exceeded: WhenExceeded::Fail, ..self.policy("relay") };
        ChildSpec::worker(link.0.to_string(), mailbox, factory).on(&self.data).policy(policy).grace(LINK_GRACE)
    }

    fn config(&self) -> ChildSpec {
        let boxes = &self.mailboxes;
        let ports = ConfigPorts {
            start: boxes.profiles.port(),
            stop: boxes.profiles.port(),
            turns: boxes.drain.port(),
            drain: boxes.drain.port(),
            dispatch: boxes.dispatch.port(),
            honcho: boxes.honcho.port(),
            status: boxes.status.port(),
            touched: boxes.status.port(),
            claims: boxes.links.claims().clone(),
            redactor: self.surroundings.redactor.clone(),
            events: self.events.clone(),
        };
        let present = self.present.clone();
        let factory = move |_: &_| ConfigActor::new(present.clone(), ports.clone());
        // Whatever is wrong with the files, who is served goes on being served.
        let policy = RestartPolicy { when_exceeded: WhenExceeded::Fail, ..self.policy("config") };
        ChildSpec::worker("config", &boxes.config, factory).on(&self.control).policy(policy)
    }

    fn ports(&self) -> GatewayPorts {
        let boxes = &self.mailboxes;
        GatewayPorts {
            snapshot: boxes.status.port(),
            subscribe: boxes.status.port(),
            phase: boxes.status.port(),
            drain: boxes.drain.port(),
            begin_drain: boxes.drain.port(),
            cancel_drain: boxes.drain.port(),
            await_drained: boxes.drain.port(),
            begin_shutdown: boxes.drain.port(),
            turns: boxes.drain.port(),
            stop_turn: boxes.dispatch.port(),
            links: boxes.links.all().map(|(link, mailbox)| LinkPort::new(link, mailbox)).collect(),
            deliveries: DeliveryPorts::new(self.present.clone(), boxes.links.clone()),
            read_again: boxes.config.port(),
            stop_session: boxes.dispatch.port(),
            announce_stop: boxes.dispatch.port(),
        }
    }
}

fn policy(policies: &BTreeMap<String, RestartPolicy>, kind: &str) -> RestartPolicy {
    policies.get(kind).copied().unwrap_or_default()
}

fn incarnation<A: actix::Actor<Context = actix::Context<A>>>(
    start: &caduceus_supervision::StartContext<A>,
) -> caduceus_supervision::Incarnation {
    start.incarnation().clone()
}
