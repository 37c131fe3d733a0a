//! The ports of the dispatcher to other actors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::counts::DispatchCounts;
use super::notice_limit::ReplyNotices;
use super::room::LinkBacklogs;
use super::slots::Slots;
use crate::drain::permit::Gate;
use crate::drain::permit::messages::{ListTurns, RequestPermits};
use crate::outbox::Outbox;
use crate::profile::messages::ProfilePorts;
use crate::status::changes::StatusChanges;
use crate::turn::order::TurnOrder;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::batch::Batch;
use caduceus_contract::messages::dispatch::ReplyPending;
use caduceus_contract::messages::drain::GetDrain;
use caduceus_contract::messages::ledger::{
    ListInbound, ListInterrupted, ListOutbound, ListRefusals, ListWaiting, MarkInbound, NoteRestart, ReadInbound,
    RecordInbound, RecordRefusalNotices, SettleTurn, WithdrawTurns,
};
use caduceus_contract::messages::ledger_control::{RecordDrop, RecordRetry, ShowRow};
use caduceus_contract::messages::relay::{GetLink, ResendLinkState, SendAction};
use caduceus_contract::messages::turn::{SteerTurn, StopTurn};
use caduceus_supervision::{ChildSpec, Port, StartChildren, port_set};

/// Most attempts to run one event, or to hand one reply to a link.
pub(super) const MAX_ATTEMPTS: u32 = 3;
/// Timeout of the gate for a permit, after which it is requested again: a gate that hangs is replaced within seconds, and permits
/// that it still grants afterwards are void.
pub(super) const PERMIT_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of the gate, including a restart of it.
pub(super) const GATE_TIMEOUT: Duration = Duration::from_secs(10);

/// The ports of the dispatcher to other actors.
#[derive(Clone)]
pub struct DispatchPorts {
    /// The ledger.
    pub ledger: LedgerPorts,
    /// The gate, from which turns take their permits.
    pub permits: Gate,
    /// Its actor.
    pub gate: GatePorts,
    /// The slots for turns.
    pub slots: Slots,
    /// How many events wait over each link, of all dispatchers; they outlive the actor.
    pub backlogs: LinkBacklogs,
    /// Starts turns, as children of the `turns` supervisor.
    pub start_children: Port<StartChildren>,
    /// The first dispatcher, which sends replies again.
    pub reply_pending: Port<ReplyPending>,
    /// The links, by name.
    pub links: BTreeMap<LinkId, LinkPorts>,
    /// The way of its messages to chats.
    pub outbox: Outbox,
    /// Notifies of a change in what the status shows.
    pub status: StatusChanges,
    /// The counts; they outlive the actor.
    pub counts: DispatchCounts,
    /// Which chats got a notice lately that a reply is lost; it outlives the actor.
    pub reply_notices: ReplyNotices,
}

port_set! {
    /// The ports of the dispatcher to the ledger.
    pub struct LedgerPorts {
        /// Records events.
        pub record_inbound: Port<Batch<RecordInbound>>,
        /// Sets the state of an event.
        pub mark_inbound: Port<MarkInbound>,
        /// Marks events as running.
        pub mark_running: Port<Batch<MarkInbound>>,
        /// Lists events.
        pub list_inbound: Port<ListInbound>,
        /// Lists the waiting events.
        pub list_waiting: Port<ListWaiting>,
        /// Reads an event when it is next.
        pub read_inbound: Port<ReadInbound>,
        /// Lists the profiles with chats to notify of messages that a drain refused.
        pub list_refusals: Port<ListRefusals>,
        /// Records the notices to these chats.
        pub record_refusal_notices: Port<RecordRefusalNotices>,
        /// Finds the events that `/retry` runs again.
        pub list_interrupted: Port<ListInterrupted>,
        /// Counts the starts that found interrupted turns.
        pub note_restart: Port<NoteRestart>,
        /// Lists replies.
        pub list_outbound: Port<ListOutbound>,
        /// Records the end of a turn.
        pub settle_turn: Port<SettleTurn>,
        /// Takes back turns that never started.
        pub withdraw_turns: Port<WithdrawTurns>,
        /// Shows a row, for an operator.
        pub show: Port<ShowRow>,
        /// Makes a row wait again, for an operator.
        pub retry: Port<RecordRetry>,
        /// Drops a row, for an operator.
        pub drop: Port<RecordDrop>,
    }
}

port_set! {
    /// The ports of the dispatcher to the gate.
    pub struct GatePorts {
        /// Requests permits for turns whose marker has not been read yet.
        pub permits: Port<RequestPermits>,
        /// Lists the running turns.
        pub turns: Port<ListTurns>,
        /// Requests the state of the gate.
        pub view: Port<GetDrain>,
    }
}

port_set! {
    /// The ports of the dispatcher to one link.
    pub struct LinkPorts {
        /// Sends an action.
        pub send: Port<SendAction>,
        /// Requests its descriptors.
        pub view: Port<GetLink>,
        /// Makes it send its state again.
        pub resend_state: Port<ResendLinkState>,
    }
}

/// A turn that can be started, and its ports.
pub struct TurnChild {
    /// For the `turns` supervisor.
    pub spec: ChildSpec,
    /// Stops it.
    pub stop: Port<StopTurn>,
    /// Steers an event into it.
    pub steer: Port<SteerTurn>,
}

/// Makes a turn from its order. Passed in where the tree is wired, so that the dispatcher depends only on the messages of turns.
pub type TurnFactory = Arc<dyn Fn(TurnOrder, &ProfilePorts) -> TurnChild + Send + Sync>;
