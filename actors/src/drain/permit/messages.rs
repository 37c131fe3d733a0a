//! Messages of the gate with a permit, which holds the gate's lock, or with a port of a turn.

use actix::Message;

use super::{PermitRequest, TurnPermit};
use caduceus_contract::messages::drain::{Refusal, TurnTicket};
use caduceus_contract::messages::turn::StopTurn;
use caduceus_supervision::Port;

/// Requests permits for turns, with an answer for each, in the same order. Answered once the markers of all their profiles have been
/// read, so the turns of a profile whose disk may hang are requested apart from those of others.
#[derive(Debug, Clone, Message)]
#[rtype(result = "PermitAnswers")]
pub struct RequestPermits(pub Vec<PermitRequest>);

/// The answers to [`RequestPermits`].
pub type PermitAnswers = Vec<Result<TurnPermit, Refusal>>;

/// The turns in flight with the port to stop each: for a restarted dispatcher, and for a shutdown.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<RunningTurn>")]
pub struct ListTurns;

/// One turn in flight.
#[derive(Debug, Clone)]
pub struct RunningTurn {
    /// The turn.
    pub ticket: TurnTicket,
    /// The port to stop it, once it has started.
    pub stop: Option<Port<StopTurn>>,
}
