//! The pending sends: actions whose result has not arrived, and the answer when none arrives.
//!
//! Every admitted action is answered exactly once: by its result, by the loss of the link, by the timeout, or
//! because the actor has ended. The answer without a result depends on whether the frame was passed to the socket.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use caduceus_contract::wire::action_result::{ActionResult, NotSent};

/// Answer while there is no link.
pub const NOT_CONNECTED: &str = "relay not connected";

/// Answer when the queue of the socket is full; the text of the original.
pub(super) const QUEUE_FULL: &str = "relay queue full";

type PendingTable = Rc<RefCell<HashMap<String, oneshot::Sender<ActionResult>>>>;

/// The pending sends. Dropping it answers them all as if the link were lost.
#[derive(Debug, Default)]
pub(super) struct PendingSends(PendingTable);

/// The progress of one action's frame. The writer has one end, the pending send the other.
#[derive(Debug, Clone)]
pub(super) struct Ticket(Rc<Cell<WriteState>>);

/// Whether a frame is written, and what its action is answered without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum WriteState {
    Queued,
    /// Passed to the socket: it may reach the connector.
    Written,
    /// The send is no longer pending; the frame must not be written.
    Withdrawn,
}

impl PendingSends {
    /// Admits an action under a fresh request id. The future completes within `timeout`.
    pub(super) fn admit(
        &self,
        request_id: String,
        timeout: Duration,
    ) -> (Ticket, impl Future<Output = ActionResult> + use<>) {
        let (sender, receiver) = oneshot::channel();
        let ticket = Ticket(Rc::new(Cell::new(WriteState::Queued)));
        self.0.borrow_mut().insert(request_id.clone(), sender);
        let entry = PendingSend { table: Rc::downgrade(&self.0), request_id };
        let waiter = ticket.clone();
        let answer = async move {
            let _entry = entry;
            match tokio::time::timeout(timeout, receiver).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => waiter.without_result("the relay link was lost"),
                Err(_) => waiter.without_result("the connector did not answer in time"),
            }
        };
        (ticket, answer)
    }

    /// Answers one; a result without a pending send is dropped, and `false` is returned.
    pub(super) fn settle(&self, request_id: &str, result: ActionResult) -> bool {
        let sender = self.0.borrow_mut().remove(request_id);
        sender.is_some_and(|sender| sender.send(result).is_ok())
    }

    /// Answers all: the link is lost.
    pub(super) fn fail_all(&self) {
        // The senders are dropped after the borrow, because a woken send accesses the table.
        let lost = std::mem::take(&mut *self.0.borrow_mut());
        drop(lost);
    }

    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

impl WriteState {
    /// Checked right before the frame is passed to the socket: whether it is still to be written.
    pub(super) fn begin_write(&mut self) -> bool {
        let queued = *self == Self::Queued;
        if queued {
            *self = Self::Written;
        }
        queued
    }

    /// The answer when no result will arrive. A frame that is not written yet will not be written.
    pub(super) fn without_result(&mut self, why: &str) -> ActionResult {
        match std::mem::replace(self, Self::Withdrawn) {
            Self::Written => ActionResult::ambiguous(why),
            Self::Queued | Self::Withdrawn => ActionResult::not_sent(NotSent::NoLink, why),
        }
    }
}

impl Ticket {
    /// As [`WriteState::begin_write`].
    pub(super) fn begin_write(&self) -> bool {
        self.change(WriteState::begin_write)
    }

    /// As [`WriteState::without_result`].
    fn without_result(&self, why: &str) -> ActionResult {
        self.change(|state| state.without_result(why))
    }

    fn change<R>(&self, change: impl FnOnce(&mut WriteState) -> R) -> R {
        let mut state = self.0.get();
        let answer = change(&mut state);
        self.0.set(state);
        answer
    }
}

/// Removes a pending send from the table however it ends.
struct PendingSend {
    table: Weak<RefCell<HashMap<String, oneshot::Sender<ActionResult>>>>,
    request_id: String,
}

impl Drop for PendingSend {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            let sender = table.borrow_mut().remove(&self.request_id);
            drop(sender);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const LONG: Duration = Duration::from_hours(1);
    const SHORT: Duration = Duration::from_millis(5);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn a_result_answers_its_own_send() {
        runtime().block_on(async {
            let sends = PendingSends::default();
            let (_first, one) = sends.admit("1".into(), LONG);
            let (_second, two) = sends.admit("2".into(), LONG);
            assert!(sends.settle("2", ActionResult { success: true, ..ActionResult::default() }));
            assert!(two.await.success);
            assert!(one.now_or_never().is_none());
        });
    }

    #[test]
    fn a_loss_is_ambiguous_only_after_the_write() {
        runtime().block_on(async {
            let sends = PendingSends::default();
            let (written, one) = sends.admit("1".into(), LONG);
            let (queued, two) = sends.admit("2".into(), LONG);
            assert!(written.begin_write());
            sends.fail_all();
            assert!(one.await.ambiguous);
            let unwritten = two.await;
            assert!(!unwritten.success && !unwritten.ambiguous);
            assert!(!queued.begin_write(), "a frame that was answered as not sent is never sent");
        });
    }

    #[test]
    fn the_end_of_the_actor_answers_like_a_loss() {
        runtime().block_on(async {
            let sends = PendingSends::default();
            let (ticket, answer) = sends.admit("1".into(), LONG);
            ticket.begin_write();
            drop(sends);
            assert!(answer.await.ambiguous);
        });
    }

    #[test]
    fn written_and_unwritten_sends_time_out() {
        runtime().block_on(async {
            let sends = PendingSends::default();
            let (written, one) = sends.admit("1".into(), SHORT);
            let (_queued, two) = sends.admit("2".into(), SHORT);
            written.begin_write();
            let (one, two) = futures_util::join!(one, two);
            assert!(one.ambiguous && !two.ambiguous);
            assert_eq!(sends.len(), 0, "no send is left in the table");
        });
    }

    #[test]
    fn a_late_or_unknown_result_is_dropped() {
        runtime().block_on(async {
            let sends = PendingSends::default();
            assert!(!sends.settle("1", ActionResult::default()));
            drop(sends.admit("1".into(), LONG));
            assert_eq!(sends.len(), 0, "a dropped send leaves the table");
        });
    }
}
