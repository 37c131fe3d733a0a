//! The messages of the dispatcher.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Message;
use serde::Serialize;

use crate::api::ledger::RowId;
use crate::api::ledger_changes::{DropRowResponse, RetryRowResponse, RowRefusal};
use crate::json::RawJson;
use crate::link::LinkId;
use crate::messages::ledger::{LedgerError, Receipt};
use crate::messages::ledger_control::{DropNotice, FinishedRows};
use crate::messages::turn::StopCause;
use crate::profile_name::ProfileName;
use crate::turn_id::TurnId;
use crate::wire::descriptor::Descriptor;
use crate::wire::event::InboundEvent;

/// Offers events of a link, in order of arrival. Each has an answer of its own, in the same order: `Ok` once the event may be
/// acknowledged, because it is on disk and its turn will run, is a duplicate, was refused and its chat notified, or was a command
/// (`/stop`, `/status`) that has been executed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Vec<Result<(), NotRecorded>>")]
pub struct OfferEvents(pub Vec<OfferedEvent>);

/// An event of a link.
#[derive(Debug, Clone)]
pub struct OfferedEvent {
    /// The link over which it arrived.
    pub link: LinkId,
    /// What it arrived as.
    pub arrived_as: ArrivedAs,
    /// Where and when it arrived.
    pub receipt: Receipt,
    /// The addressed bot, if the link serves several.
    pub bot_id: Option<String>,
    /// The profile that owns the link; `None` for the link of the process.
    pub owner: Option<ProfileName>,
    /// The connector's id of the frame.
    pub buffer_id: Option<String>,
    /// SHA-256 of the frame.
    pub digest: [u8; 32],
    /// The event, parsed.
    pub event: Arc<InboundEvent>,
    /// The event, as received.
    pub raw_event: RawJson,
    /// The descriptor of the chat's platform; `None` if the link that answers is not up: the event waits for it.
    pub descriptor: Option<Arc<Descriptor>>,
}

/// What an event arrived as: whether its sender gets an answer of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrivedAs {
    /// A frame of the link's socket. What is not acknowledged holds up everything behind it.
    Frame,
    /// A signed delivery over HTTP, whose sender can try again.
    Delivery,
}

/// Why an event may not be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    /// The ledger is not writable; the link stops reading and tries again.
    #[error("ledger not writable")]
    LedgerUnavailable,
    /// Too many events of the link wait. Only for a delivery: the chat of a frame's event gets a notice instead.
    #[error("too many events of the link wait")]
    TooManyWait,
}

/// Stops the running turn of a session, named by the text of its key. Without effect on an unknown one.
#[derive(Debug, Clone, Message)]
#[rtype(result = "bool")]
pub struct StopSession {
    /// The session key, as on the wire.
    pub session_key: String,
    /// The cause.
    pub cause: StopCause,
}

/// Stops one turn.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), UnknownTurn>")]
pub struct StopTurnById {
    /// The turn.
    pub turn: TurnId,
}

/// No such turn is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no turn {0} is running")]
pub struct UnknownTurn(pub TurnId);

/// Runs an event again that has ended, in the order of its session, or sends a reply again that was given up or refused. Each dispatcher gets
/// it, and the one that has the chat carries it out.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<RetryRowResponse, RowError>")]
pub struct RetryRow {
    /// The row.
    pub id: RowId,
    /// Also an event that is done, and a reply that was delivered.
    pub finished: FinishedRows,
}

/// Drops an event or a reply that waits, was interrupted or is dead. As [`RetryRow`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<DropRowResponse, RowError>")]
pub struct DropRow {
    /// The row.
    pub id: RowId,
    /// Whether its chat may get a notice that its message is not answered.
    pub notice: DropNotice,
}

/// Why a dispatcher has not carried out [`RetryRow`] or [`DropRow`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The row belongs to another dispatcher, which answers.
    #[error("the row belongs to another dispatcher")]
    OtherDispatcher,
    /// Worth retrying: the queues are being rebuilt, replies of the same link are being sent, or the event is handed to a running turn.
    #[error("not at the moment; try again")]
    NotNow,
    /// Retrying cannot help.
    #[error(transparent)]
    Refused(RowRefusal),
    /// The ledger refuses.
    #[error(transparent)]
    Ledger(LedgerError),
}

impl RowError {
    /// Whether an answer is that of the dispatcher that has the row.
    #[must_use]
    pub fn settles<T>(answer: &Result<T, Self>) -> bool {
        !matches!(answer, Err(Self::OtherDispatcher | Self::NotNow))
    }
}

/// A reply in the ledger may not have been sent, although the link may be up again.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ReplyPending {
    /// The link of the reply.
    pub link: LinkId,
}

/// The process shuts down: sends the notice to the home channel, if there is one. Answered once it is sent or has failed.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct AnnounceStop;

/// Requests the counts of a dispatcher.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "DispatchView")]
pub struct GetDispatch;

/// Answer to [`GetDispatch`], of one dispatcher or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DispatchView {
    /// Sessions with work queued or running.
    pub sessions: usize,
    /// Turns running.
    pub running: usize,
    /// Events that wait for their turn.
    pub queued: usize,
    /// Events held until a drain ends.
    pub held: usize,
    /// Events that wait for their link, by link, including links that are no longer configured.
    pub awaiting_link: BTreeMap<String, usize>,
    /// Turns ended since the process started, by outcome.
    pub done: u64,
    /// See `done`.
    pub failed: u64,
    /// See `done`.
    pub stopped: u64,
    /// Events refused since the process started.
    pub refused: u64,
    /// Events that were in the ledger already, since the process started.
    pub duplicates: u64,
    /// What was not done because of a limit, since the process started: `replies` given up, `notices` not sent because too many chats got
    /// one within a minute, `events` refused or not taken because too many of their link waited.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Durations of the last turns in milliseconds, newest last, for the graph: (end in Unix ms, duration).
    pub recent_turns: Vec<(i64, u64)>,
}

impl DispatchView {
    /// The view of all dispatchers. They share the counts since the start of the process, of which the latest apply.
    #[must_use]
    pub fn of_all<'a>(views: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for view in views {
            let Self { sessions, running, queued, held, awaiting_link, .. } = view;
            all.sessions += sessions;
            all.running += running;
            all.queued += queued;
            all.held += held;
            for (link, events) in awaiting_link {
                *all.awaiting_link.entry(link.clone()).or_default() += events;
            }
            let Self { done, failed, stopped, refused, duplicates, .. } = *view;
            // What ended last is in the latest one only.
            if all.done + all.failed + all.stopped <= done + failed + stopped {
                all.recent_turns.clone_from(&view.recent_turns);
            }
            all.done = all.done.max(done);
            all.failed = all.failed.max(failed);
            all.stopped = all.stopped.max(stopped);
            all.refused = all.refused.max(refused);
            all.duplicates = all.duplicates.max(duplicates);
            for (what, number) in &view.dropped {
                let most = all.dropped.entry(what).or_default();
                *most = (*most).max(*number);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_of_all_dispatchers_has_their_sums_and_the_latest_of_the_counts_that_they_share() {
        let view = |waiting: usize, ended: u64| DispatchView {
            sessions: waiting + 1,
            running: 1,
            queued: waiting,
            held: 2 * waiting,
            awaiting_link: [("relay".to_owned(), waiting)].into(),
            done: ended,
            failed: ended,
            stopped: ended,
            refused: ended,
            duplicates: ended,
            dropped: [("replies", ended)].into(),
            recent_turns: vec![(0, ended)],
        };
        let expected = DispatchView { sessions: 5, running: 2, ..view(3, 9) };
        assert_eq!(DispatchView::of_all(&[view(1, 9), view(2, 7)]), expected);
        assert_eq!(DispatchView::of_all(&[view(2, 7), view(1, 9)]), expected);
        assert_eq!(DispatchView::of_all(&[view(2, 7)]), view(2, 7));
    }
}
