//! Whom the dispatcher may talk to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::counts::DispatchCounts;
use super::messages::ReplyLeft;
use crate::drain::messages::GetDrain;
use crate::drain::permit::messages::{ListTurns, RequestPermit};
use crate::ledger::messages::{
    AppendHistory, LastInterrupted, ListInbound, ListOutbound, ListUnread, ListWaiting, MarkInbound, MarkOutbound,
    NoteRestart, ReadInbound, RecordInbound, RecordOutbound, TellUnread,
};
use crate::profile::messages::ProfileWays;
use crate::relay::messages::{GetLink, LinkId, SendAction, TellAgain};
use crate::status::messages::StatusTouched;
use crate::turn::messages::{SteerTurn, StopTurn};
use crate::turn::order::TurnOrder;
use caduceus_supervision::{ChildSpec, Port, StartChild};

/// How long the ledger may take; a commit takes milliseconds, a full disk for ever.
pub(super) const LEDGER_TIMEOUT: Duration = Duration::from_secs(10);
/// Ledgers that may die with the same order in hand.
pub(super) const MARK_RETRIES: u32 = 10;
/// Most times that one event is run, or one reply handed to a link.
pub(super) const MAX_ATTEMPTS: u32 = 3;
/// How long the gate may take to admit a turn before it is asked again: one that hangs with the question in hand has a
/// successor within seconds, and what it still admits when it wakes does not count.
pub(super) const PERMIT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the gate may take to answer, a restart of it included.
pub(super) const GATE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one action may take: the link itself answers within 30 s.
pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(45);

/// Whom the dispatcher may talk to.
#[derive(Clone)]
pub struct DispatchPorts {
    /// Writes an event down.
    pub record_inbound: Port<RecordInbound>,
    /// Moves an event on.
    pub mark_inbound: Port<MarkInbound>,
    /// Finds events again.
    pub list_inbound: Port<ListInbound>,
    /// Finds those that wait.
    pub list_waiting: Port<ListWaiting>,
    /// Fetches one when its turn has come.
    pub read_inbound: Port<ReadInbound>,
    /// Finds who is to be told of what a drain refused.
    pub list_unread: Port<ListUnread>,
    /// Writes down that they are told.
    pub tell_unread: Port<TellUnread>,
    /// Finds what `/retry` means.
    pub last_interrupted: Port<LastInterrupted>,
    /// Counts the starts that found turns cut off.
    pub note_restart: Port<NoteRestart>,
    /// Writes a notice down.
    pub record_outbound: Port<RecordOutbound>,
    /// Moves a reply on.
    pub mark_outbound: Port<MarkOutbound>,
    /// Finds replies again.
    pub list_outbound: Port<ListOutbound>,
    /// Adds to a conversation.
    pub append_history: Port<AppendHistory>,
    /// Asks the gate.
    pub permits: Port<RequestPermit>,
    /// Asks the gate which turns run.
    pub turns: Port<ListTurns>,
    /// Asks the gate how it is.
    pub gate: Port<GetDrain>,
    /// Starts a turn.
    pub start: Port<StartChild>,
    /// The links, by name.
    pub links: BTreeMap<LinkId, LinkPorts>,
    /// The dispatcher itself, for what could not be sent.
    pub left: Port<ReplyLeft>,
    /// Something shown changed.
    pub status: Port<StatusTouched>,
    /// What is counted; it outlives the actor.
    pub counts: DispatchCounts,
}

/// One link.
#[derive(Clone)]
pub struct LinkPorts {
    /// Sends an action.
    pub send: Port<SendAction>,
    /// Asks what it can do.
    pub view: Port<GetLink>,
    /// Has it tell again how it is.
    pub tell_again: Port<TellAgain>,
}

/// A turn that can be started, and the ways into it.
pub struct TurnChild {
    /// For the `Turns` supervisor.
    pub spec: ChildSpec,
    /// Stops it.
    pub stop: Port<StopTurn>,
    /// Hands it an event.
    pub steer: Port<SteerTurn>,
}

/// Makes a turn out of an order; given by whoever wires the tree, so that the dispatcher knows turns by their messages only.
pub type TurnMaker = Arc<dyn Fn(TurnOrder, &ProfileWays) -> TurnChild + Send + Sync>;
