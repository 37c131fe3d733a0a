//! The description of each child: its thread, its restart policy, its ports.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::data_threads::DataThreads;
use super::dependencies::{GatewayDependencies, READY_WITHIN, incarnation, policy};
use super::links::RelayLinks;
use super::ports::{DeliveryPorts, GatewayPorts, LinkPort};
use crate::config::messages::Served;
use crate::config::{ConfigActor, ConfigPorts, ServedProfiles};
use crate::counts::CountBy;
use crate::dispatch::counts::DispatchCounts;
use crate::dispatch::notice_limit::ReplyNotices;
use crate::dispatch::room::LinkBacklogs;
use crate::dispatch::slots::Slots;
use crate::drain::actor::{DrainActor, DrainPorts, DrainSettings};
use crate::drain::permit::Gate;
use crate::files::FileEvents;
use crate::honcho::actor::{HonchoContext, HonchoOwnPorts, HonchoPorts, HonchoRefreshActor, HonchoSettings};
use crate::ledger::{LedgerActor, LedgerWriter, SqliteStore};
use crate::relay::actor::RelayActor;
use crate::relay::counts::LinkCounts;
use crate::relay::media;
use crate::relay::ports::RelayPorts;
use crate::relay::settings::LinkSettings;
use crate::relay::timings::LinkTimings;
use crate::status::actor::{PhaseMemory, StatusActor, StatusPorts, StatusSettings, ViewMemory};
use crate::status::changes::StatusChanges;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::dispatch::{RowError, StopSession};
use caduceus_contract::messages::drain::DrainControlPorts;
use caduceus_contract::messages::ledger_control::LedgerControlPorts;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::{
    Board, ChildSpec, Mailbox, Port, Readiness, RestartPolicy, StartContext, Strategy, Supervisor, SupervisorSpec,
    WhenExceeded, WorkerThread,
};
/// Timeout of a link's closing handshake.
const LINK_GRACE: Duration = Duration::from_secs(3);
/// Timeout of a running refresh: 20 s for the lock and 15 s for the exchange. A token must not be lost half-way.
const REFRESH_GRACE: Duration = Duration::from_secs(40);

/// The mailboxes of all children that exist from the start to the end.
pub(super) struct Mailboxes {
    pub(super) ledger: Mailbox<LedgerActor<SqliteStore>>,
    pub(super) status: Mailbox<StatusActor>,
    pub(super) profiles: Mailbox<Supervisor>,
    pub(super) drain: Mailbox<DrainActor>,
    pub(super) honcho: Mailbox<HonchoRefreshActor>,
    /// Those of the dispatchers and of their turns, with their threads.
    pub(super) data: DataThreads,
    pub(super) links: RelayLinks,
    pub(super) config: Mailbox<ConfigActor>,
}

/// The inputs of all descriptions.
pub(super) struct Wiring {
    pub(super) served_profiles: ServedProfiles,
    pub(super) policies: BTreeMap<String, RestartPolicy>,
    pub(super) dependencies: GatewayDependencies,
    pub(super) events: FileEvents,
    pub(super) mailboxes: Mailboxes,
    pub(super) changes: StatusChanges,
    pub(super) board: Arc<OnceLock<Board>>,
    pub(super) control: WorkerThread,
    pub(super) counts: GatewayCounts,
    /// The gate, which outlives its actor and from which the dispatchers take permits.
    pub(super) gate: Gate,
    /// The slots for turns, which outlive the dispatchers.
    pub(super) slots: Slots,
    /// How many events wait over each link, of all dispatchers.
    pub(super) backlogs: LinkBacklogs,
}

/// The counts, for as long as the process runs: each is passed to every incarnation of the actor that counts.
#[derive(Default)]
pub(super) struct GatewayCounts {
    pub(super) dispatch: DispatchCounts,
    pub(super) reply_notices: ReplyNotices,
    /// Children started, by profile.
    pub(super) children: CountBy<ProfileName>,
    /// Tokens exchanged, by file and host.
    pub(super) exchanges: CountBy<(PathBuf, String)>,
}

impl Wiring {
    pub(super) fn policy(&self, kind: &str) -> RestartPolicy {
        policy(&self.policies, kind)
    }

    pub(super) fn ledger(&self, writer: &LedgerWriter<SqliteStore>) -> ChildSpec {
        let (writer, changes) = (writer.clone(), self.changes.clone());
        let factory = move |start: &_| LedgerActor::new(writer.clone(), incarnation(start), changes.clone());
        ChildSpec::worker("ledger", &self.mailboxes.ledger, factory)
            .on(&self.mailboxes.data.first().thread)
            .policy(self.policy("ledger"))
    }

    pub(super) fn status(&self) -> ChildSpec {
        let (served_profiles, started, phase) =
            (self.served_profiles.clone(), self.dependencies.started, PhaseMemory::default());
        let (views, changes) = (ViewMemory::default(), self.changes.clone());
        let listener = self.dependencies.listener.clone();
        let ports = StatusPorts {
            drain: self.mailboxes.drain.port(),
            dispatch: self
                .mailboxes
                .data
                .iter()
                .map(|data| (data.share.name("dispatch"), data.dispatch.port()))
                .collect(),
            ledger: self.mailboxes.ledger.port(),
            honcho: self.mailboxes.honcho.port(),
            config: self.mailboxes.config.port(),
            links: self.mailboxes.links.all().map(|(id, mailbox)| (id, mailbox.port())).collect(),
            agents_started: self.counts.children.clone(),
            exchanges: self.counts.exchanges.clone(),
        };
        let board = Arc::clone(&self.board);
        let factory = move |_: &_| {
            let settings = StatusSettings {
                in_force: served_profiles.in_force(),
                started,
                phase: phase.clone(),
                views: views.clone(),
                changes: changes.clone(),
                listener: listener.clone(),
            };
            StatusActor::new(settings, ports.clone(), board.wait().clone())
        };
        ChildSpec::worker("status", &self.mailboxes.status, factory).on(&self.control).policy(self.policy("status"))
    }

    pub(super) fn profiles(&self) -> ChildSpec {
        let one_for_one = SupervisorSpec::new(Strategy::OneForOne).start_together();
        let tree = self.served_profiles.children().into_iter().fold(one_for_one, |tree, child| tree.child(child.spec));
        ChildSpec::supervisor("profiles", &self.mailboxes.profiles, tree)
    }

    pub(super) fn drain(&self) -> ChildSpec {
        let (served_profiles, events) = (self.served_profiles.clone(), self.events.clone());
        let ports = DrainPorts { changes: self.mailboxes.data.notify_all(), status: self.changes.clone() };
        let gate = self.gate.clone();
        let factory = move |start: &_| {
            let settings = DrainSettings::of(&served_profiles.in_force(), Some(events.clone()));
            DrainActor::new(gate.clone(), settings, ports.clone(), start)
        };
        ChildSpec::worker("drain", &self.mailboxes.drain, factory)
            .on(&self.control)
            .policy(self.policy("drain"))
            .readiness(Readiness::Reported { within: READY_WITHIN })
    }

    pub(super) fn honcho(&self) -> ChildSpec {
        let settings = self.served_profiles.settings();
        let context = HonchoContext {
            environment: Arc::clone(&settings.environment),
            client: settings.client.clone(),
            redactor: self.dependencies.redactor.clone(),
        };
        let steps = self.dependencies.refresh_steps.clone();
        let (served_profiles, status, events) =
            (self.served_profiles.clone(), self.changes.clone(), self.events.clone());
        let exchanges = self.counts.exchanges.clone();
        let factory = move |start: &_| {
            let exchanges = exchanges.clone();
            let (in_force, context, steps) = (served_profiles.in_force(), context.clone(), steps.clone());
            let profiles = context.profiles(&in_force);
            let events = events.clone();
            let settings = HonchoSettings { context, steps, events, exchanges, ..HonchoSettings::new(profiles) };
            let ports = HonchoPorts { profiles: HonchoPorts::profiles(&in_force), status: status.clone() };
            HonchoRefreshActor::new(ports, settings, incarnation(start), HonchoOwnPorts::of(start))
        };
        ChildSpec::worker("honcho", &self.mailboxes.honcho, factory)
            .on(&self.control)
            .policy(self.policy("honcho"))
            .grace(REFRESH_GRACE)
            .readiness(Readiness::Reported { within: READY_WITHIN })
    }

    pub(super) fn relays(&self) -> ChildSpec {
        let served = self.served_profiles.in_force().profiles.clone();
        // The home's own profile exists from the start to the end; the link of the process dials with its credentials.
        let process = (LinkId::process(), self.mailboxes.links.process(), &served[0]);
        let own = served.iter().filter_map(|served| {
            let mailbox = self.mailboxes.links.of(&served.name)?;
            Some((LinkId::of_profile(&served.name), mailbox, served))
        });
        let tree = SupervisorSpec::new(Strategy::OneForOne);
        let links = std::iter::once(process).chain(own);
        let tree = links.enumerate().fold(tree, |tree, (number, (link, mailbox, served))| {
            let thread = self.mailboxes.data.of_link(number);
            tree.child(self.relay(&link, mailbox, served).on(thread))
        });
        ChildSpec::supervisor("relays", &Mailbox::new(), tree)
    }

    /// The link that dials with the credentials of a profile.
    fn relay(&self, link: &LinkId, mailbox: &Mailbox<RelayActor>, served: &Served) -> ChildSpec {
        let boxes = &self.mailboxes;
        let ports = RelayPorts {
            profile: served.ports.dial.clone(),
            dispatch: boxes.data.ports(),
            ledger: boxes.ledger.port(),
            stop_session: self.stop_session(),
            changes: boxes.data.ports(),
            status: self.changes.clone(),
        };
        let settings = self.served_profiles.settings();
        let settings = LinkSettings {
            link: link.clone(),
            owner: (*link != LinkId::process()).then(|| served.name.clone()),
            profile: served.name.clone(),
            claims: boxes.links.claims().clone(),
            timings: LinkTimings::of(&settings.values.relay),
            client: settings.client.clone(),
            media: served.home.join(media::FOLDER),
            counts: LinkCounts::default(),
        };
        let factory = move |start: &_| RelayActor::new(ports.clone(), settings.clone(), incarnation(start));
        let policy = RestartPolicy { when_exceeded: WhenExceeded::Fail, ..self.policy("relay") };
        ChildSpec::worker(link.0.to_string(), mailbox, factory).policy(policy).grace(LINK_GRACE)
    }

    /// Stops a session, whichever dispatcher has it: the text of a session does not say which.
    fn stop_session(&self) -> Port<StopSession> {
        self.mailboxes.data.port_to_all(|is_stopped| *is_stopped)
    }

    pub(super) fn config(&self) -> ChildSpec {
        let boxes = &self.mailboxes;
        let ports = ConfigPorts {
            start: boxes.profiles.port(),
            stop: boxes.profiles.port(),
            turns: boxes.drain.port(),
            drain: boxes.drain.port(),
            dispatch: boxes.data.notify_all(),
            honcho: boxes.honcho.port(),
            status: boxes.status.port(),
            touched: self.changes.clone(),
            claims: boxes.links.claims().clone(),
            redactor: self.dependencies.redactor.clone(),
            events: self.events.clone(),
        };
        let served_profiles = self.served_profiles.clone();
        // The actors that start with the process have its first settings.
        let factory = move |start: &StartContext<ConfigActor>| {
            ConfigActor::new(served_profiles.clone(), ports.clone(), start.incarnation().generation() > 1)
        };
        // With invalid files, the served profiles stay served.
        let policy = RestartPolicy { when_exceeded: WhenExceeded::Fail, ..self.policy("config") };
        ChildSpec::worker("config", &boxes.config, factory).on(&self.control).policy(policy)
    }

    pub(super) fn ports(&self) -> GatewayPorts {
        let boxes = &self.mailboxes;
        GatewayPorts {
            snapshot: boxes.status.port(),
            refresh: boxes.status.port(),
            changes: self.changes.clone(),
            subscribe: boxes.status.port(),
            phase: boxes.status.port(),
            drain: DrainControlPorts::of(&boxes.drain),
            begin_shutdown: boxes.drain.port(),
            turns: boxes.drain.port(),
            ledger: LedgerControlPorts::of(&boxes.ledger),
            retry_row: boxes.data.port_to_all(RowError::settles),
            drop_row: boxes.data.port_to_all(RowError::settles),
            stop_turn: boxes.data.port_to_all(Result::is_ok),
            links: boxes.links.all().map(|(link, mailbox)| LinkPort::new(link, mailbox)).collect(),
            deliveries: DeliveryPorts::new(self.served_profiles.clone(), boxes.links.clone()),
            reload: boxes.config.port(),
            stop_session: self.stop_session(),
            announce_stop: boxes.data.first().dispatch.port(),
        }
    }
}
