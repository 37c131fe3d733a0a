//! Hands to the ledger what has happened, which the ledger owes to the disk from then on.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::timeout;

use caduceus_contract::messages::ledger::{ChangeOfState, LedgerError};
use caduceus_supervision::{AskError, Incarnation, Port, spawn};

/// Timeout of the ledger; a commit takes milliseconds, and a full disk can block for any time.
pub(crate) const LEDGER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request stays with the ledger's actor: a request whose sender is gone is skipped there, so it is kept for longer than any
/// disk is full.
pub(crate) const HELD: Duration = Duration::from_hours(24 * 365);
/// Attempts to hand over one change while the ledger's actor fails or its mailbox is full, and the pause before a full one is tried again.
const TRIES: u32 = 100;
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// Hands `change` over, and waits until it is on disk, at most [`LEDGER_TIMEOUT`]. The request is sent before the future is first polled,
/// and again if the ledger's actor fails with it or does not take it; not after `sender` was replaced, whose successor reads the ledger.
///
/// # Errors
/// What the ledger answers. [`LedgerError::Unwritable`] after the timeout too, when the ledger still owes it.
pub(crate) fn hand_over<M: ChangeOfState>(
    port: &Port<M>,
    change: M,
    sender: Option<&Incarnation>,
) -> impl Future<Output = Result<M::Answer, LedgerError>> + use<M> {
    let mut written = Box::pin(hand_over_and_wait(port, change, sender));
    async move {
        if let Ok(answer) = timeout(LEDGER_TIMEOUT, written.as_mut()).await {
            return answer;
        }
        spawn_held(written);
        Err(LedgerError::Unwritable("it waits for the disk".to_owned()))
    }
}

/// As [`hand_over`], and waits for as long as the disk takes.
pub(crate) fn hand_over_and_wait<M: ChangeOfState>(
    port: &Port<M>,
    change: M,
    sender: Option<&Incarnation>,
) -> impl Future<Output = Result<M::Answer, LedgerError>> + use<M> {
    let (port, sender) = (port.clone(), sender.cloned());
    let mut request = Box::pin(port.ask(change.clone(), HELD));
    async move {
        for _ in 0..TRIES {
            let error = match request.as_mut().await {
                Ok(written) => return written,
                Err(error) => error,
            };
            let replaced = sender.as_ref().is_some_and(Incarnation::is_fenced);
            match error {
                AskError::Timeout | AskError::Fenced => return Err(LedgerError::Closed),
                AskError::Closed | AskError::Full if replaced => return Err(LedgerError::Closed),
                AskError::Closed => {}
                AskError::Full => tokio::time::sleep(FULL_PAUSE).await,
            }
            request.set(port.ask(change.clone(), HELD));
        }
        Err(LedgerError::Unwritable("the ledger is unavailable".to_owned()))
    }
}

/// Keeps a request alive whose answer is no longer awaited.
fn spawn_held<T: 'static>(request: Pin<Box<impl Future<Output = T> + 'static>>) {
    spawn(async move { drop(request.await) });
}
