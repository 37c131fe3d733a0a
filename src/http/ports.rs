//! The ports of HTTP into the gateway: one for each message it may send, and the watchdog's verdict.

use std::fmt;
use std::sync::Arc;

use caduceus_actors::status::changes::StatusChanges;
use caduceus_contract::messages::dispatch::{DropRow, RetryRow, StopTurnById};
use caduceus_contract::messages::drain::DrainControlPorts;
use caduceus_contract::messages::ledger_control::LedgerControlPorts;
use caduceus_contract::messages::status::{GetSnapshot, RefreshSnapshot, Subscribe};
use caduceus_supervision::{InjectFault, Operate, Port};

use super::messages::RestartProcess;
use super::relay::ports::HttpRelayPorts;

/// What HTTP can do, as a list.
#[derive(Debug, Clone)]
pub(crate) struct HttpPorts {
    /// The last status.
    pub(crate) snapshot: Port<GetSnapshot>,
    /// A status of now.
    pub(crate) refresh: Port<RefreshSnapshot>,
    /// The changes that a status of now includes.
    pub(crate) changes: StatusChanges,
    /// Every status from now on.
    pub(crate) subscribe: Port<Subscribe>,
    /// Drains.
    pub(crate) drain: DrainControlPorts,
    /// Restarts an actor, or clears its counted restarts.
    pub(crate) operate: Port<Operate>,
    /// Injects a fault into an actor.
    pub(crate) inject_fault: Port<InjectFault>,
    /// Stops one turn.
    pub(crate) stop_turn: Port<StopTurnById>,
    /// What operators can do with the ledger.
    pub(crate) ledger: HttpLedgerPorts,
    /// What it can do with the relay.
    pub(crate) relay: HttpRelayPorts,
    /// Ends the process so that it is started again.
    pub(crate) restart: Port<RestartProcess>,
}

/// What operators can do with the ledger.
#[derive(Debug, Clone)]
pub(crate) struct HttpLedgerPorts {
    /// The ledger itself.
    pub(crate) control: LedgerControlPorts,
    /// Has a row sent again, by the dispatcher of its chat.
    pub(crate) retry: Port<RetryRow>,
    /// Drops a row, as `retry`.
    pub(crate) drop: Port<DropRow>,
}

/// Asks the watchdog whether all supervised threads respond. Cheap: it runs for each probe.
#[derive(Clone)]
pub(crate) struct Healthy(pub(crate) Arc<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Healthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Healthy")
    }
}
