//! Messages of the gate with a permit, which holds the gate's lock, or with a port of a turn.

use actix::Message;

use super::TurnPermit;
use caduceus_contract::messages::drain::{Origin, Refusal, TurnTicket};
use caduceus_contract::messages::turn::StopTurn;
use caduceus_supervision::Port;

/// Requests a permit for a turn. The permit is the turn's place in the count; dropping it ends the turn.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<TurnPermit, Refusal>")]
pub struct RequestPermit {
    /// The turn.
    pub ticket: TurnTicket,
    /// Its cause.
    pub origin: Origin,
}

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
