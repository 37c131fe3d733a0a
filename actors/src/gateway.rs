//! The tree: who is whose child, in which order. Read it to see the whole.
//!
//! All mailboxes are made first, so that anyone can be given a port to anyone; then the children are described from the
//! bottom up. What outlives a single actor (the gate, the ledger's writer, the redactor) is made here and handed to each incarnation.

mod ports;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use ports::{DeliveryPort, LinkPort};

use crate::dispatch::actor::{DispatchActor, DispatchSettings};
use crate::dispatch::event::Rules;
use crate::dispatch::messages::{StopSession, StopTurnById};
use crate::dispatch::ports::{DispatchPorts, LinkPorts, TurnChild, TurnMaker};
use crate::drain::actor::{DrainActor, DrainPorts, DrainSettings};
use crate::drain::messages::{AwaitDrained, BeginDrain, BeginShutdown, CancelDrain, GetDrain, ListTurns};
use crate::drain::permit::Gate;
use crate::honcho::actor::{HonchoOwn, HonchoPorts, HonchoProfile, HonchoRefreshActor, HonchoSettings};
use crate::honcho::location::Homes;
use crate::ledger::{self, LedgerActor, LedgerWriter, OpenError};
use crate::profile::name::ProfileName;
use crate::profile::{Caller, GuardCommand, ProfileActor, ProfilePorts, Redactor};
use crate::relay::actor::{LinkSettings, RelayActor, RelayPorts};
use crate::relay::media;
use crate::relay::messages::LinkId;
use crate::settings::{ProfileSettings, Settings};
use crate::status::actor::{PhaseMemory, StatusActor, StatusPorts, StatusSettings};
use crate::status::messages::{GetSnapshot, Phase, Subscribe};
use crate::supervision::{
    Board, ChildSpec, Lane, Mailbox, Port, Readiness, Restart, RestartPolicy, Root, RootHandle, RootOptions, Strategy,
    Supervisor, SupervisorSpec, WhenSpent,
};
use crate::turn::actor::{TurnActor, TurnPorts};
use crate::turn::messages::TurnOrder;

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
}

/// The gateway's tree, described and not yet started.
pub struct Gateway {
    /// The ways in.
    pub ports: GatewayPorts,
    tree: SupervisorSpec,
    board: Arc<OnceLock<Board>>,
    writer: LedgerWriter,
}

/// A running gateway.
pub struct RunningGateway {
    /// The tree.
    pub root: RootHandle,
    /// The ways in.
    pub ports: GatewayPorts,
    writer: LedgerWriter,
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
    /// Who may deliver over HTTP: the default profile first.
    pub deliveries: Vec<DeliveryPort>,
    /// Stops the turn of a session.
    pub stop_session: Port<StopSession>,
}

/// The mailboxes of all children that are there from the start.
struct Mailboxes {
    ledger: Mailbox<LedgerActor>,
    status: Mailbox<StatusActor>,
    profiles: BTreeMap<ProfileName, Mailbox<ProfileActor>>,
    drain: Mailbox<DrainActor>,
    honcho: Mailbox<HonchoRefreshActor>,
    dispatch: Mailbox<DispatchActor>,
    turns: Mailbox<Supervisor>,
    relay: Mailbox<RelayActor>,
    /// Links of profiles that have their own.
    own_links: BTreeMap<ProfileName, Mailbox<RelayActor>>,
}

impl Mailboxes {
    /// Every link, that of the process first.
    fn links(&self) -> impl Iterator<Item = (LinkId, &Mailbox<RelayActor>)> {
        let own = self.own_links.iter().map(|(profile, mailbox)| (LinkId::of_profile(profile), mailbox));
        std::iter::once((LinkId::process(), &self.relay)).chain(own)
    }

    /// The link that dials with a profile's credentials, if it has one.
    fn link_of(&self, profile: &ProfileSettings, home: &Path) -> Option<&Mailbox<RelayActor>> {
        if profile.home == home { Some(&self.relay) } else { self.own_links.get(&profile.name) }
    }
}

impl Gateway {
    /// Describes the tree for `settings`, and opens the ledger.
    ///
    /// # Errors
    /// [`OpenError`]: without its ledger a gateway does not start.
    pub fn new(settings: Settings, surroundings: Surroundings) -> Result<Self, OpenError> {
        let writer = LedgerWriter::open(settings.home.join(ledger::FILE_NAME))?;
        let settings = Arc::new(settings);
        let mailboxes = Mailboxes {
            ledger: Mailbox::new(),
            status: Mailbox::new(),
            profiles: settings.profiles.iter().map(|profile| (profile.name.clone(), Mailbox::new())).collect(),
            drain: Mailbox::new(),
            honcho: Mailbox::new(),
            dispatch: Mailbox::new(),
            turns: Mailbox::new(),
            relay: Mailbox::new(),
            own_links: settings
                .profiles
                .iter()
                .filter(|profile| profile.own_link)
                .map(|profile| (profile.name.clone(), Mailbox::new()))
                .collect(),
        };
        let board = Arc::new(OnceLock::new());
        // A flood of messages must never delay a drain.
        let (control, data) = (Lane::new("control"), Lane::new("data"));
        let wiring = Wiring { settings, surroundings, mailboxes, board: Arc::clone(&board), control, data };
        let tree = SupervisorSpec::new(Strategy::OneForOne)
            .child(wiring.ledger(&writer))
            .child(wiring.status())
            .child(wiring.profiles())
            .child(wiring.drain())
            .child(wiring.honcho())
            .child(wiring.dispatch())
            .child(wiring.turns())
            .child(wiring.relays());
        Ok(Self { ports: wiring.ports(), tree, board, writer })
    }

    /// Adds a child that starts last and stops first.
    #[must_use]
    pub fn with(mut self, child: ChildSpec) -> Self {
        self.tree = self.tree.child(child);
        self
    }

    /// Starts the tree on the current thread; `root` is the mailbox of its top.
    ///
    /// # Panics
    /// Outside an actix `System`.
    #[must_use]
    pub fn start(self, options: RootOptions, root: &Mailbox<Supervisor>) -> RunningGateway {
        let root = Root::start_at(root, self.tree, options);
        // The status is born on a later turn of this or another thread; it waits for the cell.
        let _ = self.board.set(root.board());
        RunningGateway { root, ports: self.ports, writer: self.writer }
    }
}

impl RunningGateway {
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
    settings: Arc<Settings>,
    surroundings: Surroundings,
    mailboxes: Mailboxes,
    board: Arc<OnceLock<Board>>,
    control: Lane,
    data: Lane,
}

impl Wiring {
    fn policy(&self, kind: &str) -> RestartPolicy {
        self.settings.supervision.policies.get(kind).copied().unwrap_or_default()
    }

    fn ledger(&self, writer: &LedgerWriter) -> ChildSpec {
        let (writer, status) = (writer.clone(), self.mailboxes.status.port());
        let factory = move |birth: &_| LedgerActor::new(writer.clone(), life(birth), status.clone());
        ChildSpec::worker("ledger", &self.mailboxes.ledger, factory).on(&self.data).policy(self.policy("ledger"))
    }

    fn status(&self) -> ChildSpec {
        let settings = StatusSettings {
            profiles: self.settings.profiles.iter().map(|profile| profile.name.clone()).collect(),
            drain_timeout: self.settings.drain_timeout,
            started: self.surroundings.started,
            phase: PhaseMemory::default(),
        };
        let ports = StatusPorts {
            drain: self.mailboxes.drain.port(),
            dispatch: self.mailboxes.dispatch.port(),
            ledger: self.mailboxes.ledger.port(),
            honcho: self.mailboxes.honcho.port(),
            profiles: self.mailboxes.profiles.values().map(Mailbox::port).collect(),
            links: self.mailboxes.links().map(|(_, mailbox)| mailbox.port()).collect(),
        };
        let board = Arc::clone(&self.board);
        let factory = move |birth: &_| StatusActor::new(settings.clone(), ports.clone(), board.wait().clone(), birth);
        ChildSpec::worker("status", &self.mailboxes.status, factory).on(&self.control).policy(self.policy("status"))
    }

    fn profiles(&self) -> ChildSpec {
        let one_for_one = SupervisorSpec::new(Strategy::OneForOne);
        let caller = Caller::default();
        let profile = |profile| self.profile(profile, caller.clone());
        let tree = self.settings.profiles.iter().fold(one_for_one, |tree, settings| tree.child(profile(settings)));
        ChildSpec::supervisor("profiles", &Mailbox::new(), tree)
    }

    fn profile(&self, profile: &ProfileSettings, caller: Caller) -> ChildSpec {
        let mailbox = &self.mailboxes.profiles[&profile.name];
        let link = self.mailboxes.link_of(profile, &self.settings.home).map(Mailbox::port);
        let (settings, guard) = (Arc::clone(&self.settings), self.surroundings.guard.clone());
        let (profile, redactor) = (profile.clone(), self.surroundings.redactor.clone());
        let name = profile.name.to_string();
        let (fresh_token, status) = (Some(self.mailboxes.honcho.port()), self.mailboxes.status.port());
        let ports = ProfilePorts { fresh_token, status, caller, link };
        let factory = move |birth: &_| {
            let (profile, settings, ports) = (profile.clone(), Arc::clone(&settings), ports.clone());
            ProfileActor::new(profile, settings, guard.clone(), redactor.clone(), ports, life(birth))
        };
        // One bad profile never takes the process down.
        let policy = RestartPolicy { when_spent: WhenSpent::Park, ..self.policy("profile") };
        ChildSpec::worker(name, mailbox, factory)
            .on(&self.control)
            .policy(policy)
            .readiness(Readiness::Said { within: READY_WITHIN })
    }

    fn drain(&self) -> ChildSpec {
        let named = self.settings.profiles.iter().filter(|profile| profile.home != self.settings.home);
        let settings = DrainSettings {
            home: self.settings.home.clone(),
            profiles: named.map(|profile| (profile.name.clone(), profile.home.clone())).collect(),
            file_events: true,
        };
        let ports = DrainPorts { changes: self.mailboxes.dispatch.port(), status: self.mailboxes.status.port() };
        let gate = Gate::default();
        let factory = move |birth: &_| DrainActor::new(gate.clone(), settings.clone(), ports.clone(), birth);
        ChildSpec::worker("drain", &self.mailboxes.drain, factory)
            .on(&self.control)
            .policy(self.policy("drain"))
            .readiness(Readiness::Said { within: READY_WITHIN })
    }

    fn honcho(&self) -> ChildSpec {
        let profile = |profile: &ProfileSettings| HonchoProfile {
            name: profile.name.clone(),
            homes: Homes {
                own: profile.home.clone(),
                default: self.settings.home.clone(),
                user: self.settings.environment.globals.get("HOME").map(PathBuf::from),
            },
            // The environment is the default profile's.
            host: self
                .settings
                .environment
                .honcho_host()
                .filter(|_| profile.home == self.settings.home)
                .map(str::to_owned),
        };
        let settings = HonchoSettings::new(self.settings.profiles.iter().map(profile).collect());
        let tokens = self.mailboxes.profiles.iter().map(|(name, mailbox)| (name.clone(), mailbox.port()));
        let ports = HonchoPorts { profiles: tokens.collect(), status: self.mailboxes.status.port() };
        let factory = move |birth: &_| {
            HonchoRefreshActor::new(ports.clone(), settings.clone(), life(birth), HonchoOwn::of(birth))
        };
        ChildSpec::worker("honcho", &self.mailboxes.honcho, factory)
            .on(&self.control)
            .policy(self.policy("honcho"))
            .grace(REFRESH_GRACE)
            .readiness(Readiness::Said { within: READY_WITHIN })
    }

    fn dispatch(&self) -> ChildSpec {
        let default = self.settings.profiles[0].name.clone();
        let settings = DispatchSettings {
            rules: Rules {
                multiplex: self.settings.multiplex,
                default,
                served: self.settings.profiles.iter().map(|profile| profile.name.clone()).collect(),
                routes: self.settings.routes.clone(),
                sessions: self.settings.session_rules,
            },
            busy: self.settings.busy,
            max_turns: self.settings.max_concurrent_turns,
            refused: self.settings.refused,
            interrupted: self.settings.interrupted,
            process_started_ms: jiff::Timestamp::now().as_millisecond(),
        };
        let (boxes, maker) = (&self.mailboxes, self.turn_maker());
        let link =
            |(id, link): (LinkId, &Mailbox<RelayActor>)| (id, LinkPorts { send: link.port(), view: link.port() });
        let ports = DispatchPorts {
            record_inbound: boxes.ledger.port(),
            mark_inbound: boxes.ledger.port(),
            list_inbound: boxes.ledger.port(),
            last_interrupted: boxes.ledger.port(),
            note_restart: boxes.ledger.port(),
            record_outbound: boxes.ledger.port(),
            mark_outbound: boxes.ledger.port(),
            list_outbound: boxes.ledger.port(),
            append_history: boxes.ledger.port(),
            permits: boxes.drain.port(),
            turns: boxes.drain.port(),
            start: boxes.turns.port(),
            links: boxes.links().map(link).collect(),
            left: boxes.dispatch.port(),
            status: boxes.status.port(),
        };
        let factory = move |birth: &_| DispatchActor::new(settings.clone(), ports.clone(), Arc::clone(&maker), birth);
        ChildSpec::worker("dispatch", &boxes.dispatch, factory)
            .on(&self.data)
            .policy(self.policy("dispatch"))
            .readiness(Readiness::Said { within: READY_WITHIN })
    }

    fn turns(&self) -> ChildSpec {
        let tree = SupervisorSpec::new(Strategy::OneForOne).tell_exits(self.mailboxes.dispatch.port());
        ChildSpec::supervisor("turns", &self.mailboxes.turns, tree)
    }

    /// Makes one turn. Its child is temporary: whatever befalls it, it is not started again by the tree.
    fn turn_maker(&self) -> TurnMaker {
        let profiles: BTreeMap<_, _> =
            self.mailboxes.profiles.iter().map(|(name, mailbox)| (name.clone(), mailbox.clone())).collect();
        let ledger = self.mailboxes.ledger.clone();
        let links: BTreeMap<_, _> = self.mailboxes.links().map(|(id, mailbox)| (id, mailbox.clone())).collect();
        let process = self.mailboxes.relay.clone();
        let (dispatch, lane) = (self.mailboxes.dispatch.clone(), self.data.clone());
        let redactor = self.surroundings.redactor.clone();
        Arc::new(move |order: TurnOrder| {
            let mailbox: Mailbox<TurnActor> = Mailbox::new();
            let profile = &profiles[&order.profile];
            // A link may be gone that was there when the event came in: then the one there always is says that it cannot send.
            let link = links.get(&order.target.link).unwrap_or(&process);
            let ports = TurnPorts {
                agent: profile.port(),
                spawn: profile.port(),
                call: profile.port(),
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
            let factory = move |birth: &_| {
                let order = order.lock().unwrap_or_else(PoisonError::into_inner).take();
                TurnActor::new(order.expect("a temporary child is born once"), ports.clone(), life(birth))
            };
            let spec = ChildSpec::worker(id, &mailbox, factory).on(&lane).restart(Restart::Temporary).grace(TURN_GRACE);
            TurnChild { spec, stop: mailbox.port(), steer: mailbox.port() }
        })
    }

    fn relays(&self) -> ChildSpec {
        let tree = SupervisorSpec::new(Strategy::OneForOne);
        let own = self.settings.profiles.iter().filter(|profile| profile.own_link);
        let profiles = std::iter::once(&self.settings.profiles[0]).chain(own);
        let tree = profiles.fold(tree, |tree, profile| tree.child(self.relay(profile)));
        ChildSpec::supervisor("relays", &Mailbox::new(), tree)
    }

    /// The link that dials with the credentials of `profile`.
    fn relay(&self, profile: &ProfileSettings) -> ChildSpec {
        let boxes = &self.mailboxes;
        let ports = RelayPorts {
            profile: boxes.profiles[&profile.name].port(),
            dispatch: boxes.dispatch.port(),
            stop_session: boxes.dispatch.port(),
            changes: vec![boxes.dispatch.port()],
            status: boxes.status.port(),
        };
        let owner = profile.own_link.then(|| profile.name.clone());
        let settings = LinkSettings {
            link: owner.as_ref().map_or_else(LinkId::process, LinkId::of_profile),
            owner,
            timings: self.settings.link_timings.clone(),
            trust: self.settings.trust.clone(),
            media: profile.home.join(media::FOLDER),
        };
        let (name, mailbox) = (settings.link.0.to_string(), boxes.link_of(profile, &self.settings.home));
        let factory = move |birth: &_| RelayActor::new(ports.clone(), settings.clone(), life(birth));
        let policy = RestartPolicy { when_spent: WhenSpent::Park, ..self.policy("relay") };
        ChildSpec::worker(name, mailbox.unwrap_or(&boxes.relay), factory)
            .on(&self.data)
            .policy(policy)
            .grace(LINK_GRACE)
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
            links: boxes.links().map(|(link, mailbox)| LinkPort::new(link, mailbox)).collect(),
            deliveries: self.settings.profiles.iter().map(|profile| self.delivery(profile)).collect(),
            stop_session: boxes.dispatch.port(),
        }
    }

    fn delivery(&self, profile: &ProfileSettings) -> DeliveryPort {
        let (boxes, home) = (&self.mailboxes, &self.settings.home);
        DeliveryPort {
            owner: (profile.home != *home).then(|| profile.name.clone()),
            verify: boxes.profiles[&profile.name].port(),
            deliver: boxes.link_of(profile, home).unwrap_or(&boxes.relay).port(),
        }
    }
}

fn life<A: actix::Actor<Context = actix::Context<A>>>(
    birth: &crate::supervision::Birth<A>,
) -> crate::supervision::Life {
    birth.life().clone()
}
