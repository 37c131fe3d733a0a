//! Hands changes of state to the ledger, which owes them to the disk from then on.

use std::time::Duration;

use caduceus_contract::messages::ledger::{ChangeOfState, LedgerError};
use caduceus_supervision::{AskError, Incarnation, Port};

/// Timeout of the ledger; a commit takes milliseconds, and a full disk can block for any time.
pub(crate) const LEDGER_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts to hand over one change while the ledger's actor fails or its mailbox is full, and the pause before a full one is tried again.
const TRIES: u32 = 100;
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// Hands `change` over, and waits until it is on disk. The request is sent before the future is first polled, and again if the ledger's
/// actor fails with it or does not take it; not after `sender` was replaced, whose successor reads the ledger.
///
/// # Errors
/// What the ledger answers. [`LedgerError::Unwritable`] after [`LEDGER_TIMEOUT`] too, when the ledger still owes it.
pub(crate) fn hand_over<M: ChangeOfState>(
    port: &Port<M>,
    change: M,
    sender: Option<&Incarnation>,
) -> impl Future<Output = Result<(), LedgerError>> + use<M> {
    let (port, sender) = (port.clone(), sender.cloned());
    let mut request = Box::pin(port.ask(change.clone(), LEDGER_TIMEOUT));
    async move {
        for _ in 0..TRIES {
            let error = match request.as_mut().await {
                Ok(written) => return written,
                Err(error) => error,
            };
            let replaced = sender.as_ref().is_some_and(Incarnation::is_fenced);
            match error {
                AskError::Timeout => return Err(LedgerError::Unwritable("it waits for the disk".to_owned())),
                AskError::Fenced => return Err(LedgerError::Closed),
                AskError::Closed | AskError::Full if replaced => return Err(LedgerError::Closed),
                AskError::Closed => {}
                AskError::Full => tokio::time::sleep(FULL_PAUSE).await,
            }
            request.set(port.ask(change.clone(), LEDGER_TIMEOUT));
        }
        Err(LedgerError::Unwritable("the ledger is unavailable".to_owned()))
    }
}
