//! The commands of the actor to its running turn.

use std::future::pending;

use local_channel::mpsc;
use tokio::sync::oneshot;

use caduceus_contract::json::RawJson;
use caduceus_contract::messages::turn::{SteerError, StopCause};

/// A command to a running turn.
pub(super) enum TurnCommand {
    /// End it.
    Stop(StopCause),
    /// Pass this event to the agent.
    Steer(RawJson, oneshot::Sender<Result<(), SteerError>>),
}

/// The actor and its turn are on one thread, and nearly all turns end without a command: a channel between threads would allocate room
/// for 32 at each start.
pub(super) type TurnCommands = mpsc::Receiver<TurnCommand>;

/// Waits for a command to stop. A command to steer is answered with [`SteerError::NotReading`].
pub(super) async fn stopped(commands: &mut TurnCommands) -> StopCause {
    loop {
        match commands.recv().await {
            Some(TurnCommand::Stop(cause)) => return cause,
            // The caller may have timed out.
            Some(TurnCommand::Steer(_, answer)) => {
                let _ = answer.send(Err(SteerError::NotReading));
            }
            None => pending().await,
        }
    }
}
