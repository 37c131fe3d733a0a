//! Messages of the gate that carry a permit, which holds the gate's lock, or the way to a turn.

use actix::Message;

use super::TurnPermit;
use caduceus_contract::messages::drain::{Origin, Refusal, TurnTicket};
use caduceus_contract::messages::turn::StopTurn;
use caduceus_supervision::Port;

/// Asks whether a turn may start. The permit is the turn's place in the count; dropping it ends the turn.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<TurnPermit, Refusal>")]
pub struct RequestPermit {
    /// Which turn, for whom.
    pub ticket: TurnTicket,
    /// Who wants it.
    pub origin: Origin,
}

/// The turns in flight with the way to stop each: for a dispatcher that comes back, and for a shutdown.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<RunningTurn>")]
pub struct ListTurns;

/// One turn in flight.
#[derive(Debug, Clone)]
pub struct RunningTurn {
    /// Which turn, for whom.
    pub ticket: TurnTicket,
    /// The way to stop it, once it has started.
    pub stop: Option<Port<StopTurn>>,
}
