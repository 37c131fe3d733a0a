//! The description of the dispatchers, and of the turns under each.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::data_threads::DataThread;
use super::dependencies::{READY_WITHIN, incarnation};
use super::wiring::Wiring;
use crate::dispatch::actor::DispatchActor;
use crate::dispatch::home::HomeNotices;
use crate::dispatch::ports::{DispatchPorts, GatePorts, LedgerPorts, LinkPorts, TurnChild, TurnFactory};
use crate::dispatch::settings::{DispatchSettings, FixedSettings};
use crate::locked::locked;
use crate::outbox::Outbox;
use crate::profile::messages::ProfilePorts;
use crate::time::now_ms;
use crate::turn::actor::TurnActor;
use crate::turn::order::TurnOrder;
use crate::turn::ports::TurnPorts;
use caduceus_supervision::{ChildSpec, Mailbox, Readiness, Restart, Strategy, SupervisorSpec};

/// Timeout of the end of a turn: SIGTERM, 5 s, SIGKILL, and a message to the chat.
const TURN_GRACE: Duration = Duration::from_secs(8);

impl Wiring {
    /// The dispatchers, in order.
    pub(super) fn dispatchers(&self) -> Vec<ChildSpec> {
        // The same for each: the start of the process is counted once.
        let process_started_ms = now_ms();
        self.mailboxes.data.iter().map(|data| self.dispatcher(data, process_started_ms)).collect()
    }

    fn dispatcher(&self, data: &DataThread, process_started_ms: i64) -> ChildSpec {
        let served_profiles = self.served_profiles.clone();
        let home = self.served_profiles.settings().values.notices.home.clone().filter(|_| data.share.is_first());
        let fixed = FixedSettings { share: data.share, home: home.map(HomeNotices::new), process_started_ms };
        let (boxes, turn_factory) = (&self.mailboxes, self.turn_factory(data));
        let ports = DispatchPorts {
            ledger: LedgerPorts::of(&boxes.ledger),
            permits: self.gate.clone(),
            gate: GatePorts::of(&boxes.drain),
            slots: self.slots.clone(),
            backlogs: self.backlogs.clone(),
            start_children: data.turns.port(),
            reply_pending: boxes.data.first().dispatch.port(),
            links: boxes.links.all().map(|(id, link)| (id, LinkPorts::of(link))).collect(),
            outbox: self.outbox(),
            status: self.changes.clone(),
            counts: self.counts.dispatch.clone(),
            reply_notices: self.counts.reply_notices.clone(),
        };
        let factory = move |start: &_| {
            let settings = DispatchSettings::of(&served_profiles.in_force(), fixed.clone());
            DispatchActor::new(settings, ports.clone(), Arc::clone(&turn_factory), start)
        };
        ChildSpec::worker(data.share.name("dispatch"), &data.dispatch, factory)
            .on(&data.thread)
            .policy(self.policy("dispatch"))
            .readiness(Readiness::Reported { within: READY_WITHIN })
    }

    /// The supervisors of turns, in order.
    pub(super) fn turns(&self) -> Vec<ChildSpec> {
        let turns = |data: &DataThread| {
            let tree = SupervisorSpec::new(Strategy::OneForOne).report_exits(data.dispatch.port());
            // On the thread of the turns: each start and each end stays on it.
            ChildSpec::supervisor(data.share.name("turns"), &data.turns, tree).on(&data.thread)
        };
        self.mailboxes.data.iter().map(turns).collect()
    }

    /// The way of messages to chats. The first dispatcher sends again what waits.
    fn outbox(&self) -> Outbox {
        Outbox::of(&self.mailboxes.ledger, &self.mailboxes.data.first().dispatch)
    }

    /// Describes one turn. Its child is temporary: the tree never restarts it.
    fn turn_factory(&self, data: &DataThread) -> TurnFactory {
        let links = self.mailboxes.links.clone();
        let (load_history, ended, outbox) = (self.mailboxes.ledger.port(), data.dispatch.port(), self.outbox());
        let thread = data.thread.clone();
        let redactor = self.dependencies.redactor.clone();
        Arc::new(move |order: TurnOrder, profile: &ProfilePorts| {
            let mailbox: Mailbox<TurnActor> = Mailbox::new();
            let link = links.named(&order.target.link);
            let ports = TurnPorts {
                agent: profile.agent.clone(),
                send: link.port(),
                load_history: load_history.clone(),
                outbox: outbox.clone(),
                ended: ended.clone(),
                stop: mailbox.port(),
                redactor: redactor.clone(),
            };
            let id = order.id.to_string();
            let order = Mutex::new(Some(order));
            let factory = move |start: &_| {
                let order = locked(&order).take();
                TurnActor::new(order.expect("a temporary child is started once"), ports.clone(), incarnation(start))
            };
            let spec =
                ChildSpec::worker(id, &mailbox, factory).on(&thread).restart(Restart::Temporary).grace(TURN_GRACE);
            TurnChild { spec, stop: mailbox.port(), steer: mailbox.port() }
        })
    }
}
