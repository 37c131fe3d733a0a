//! What connectors come to us for: signed deliveries, a poke when we sleep; and the order to sleep.
//!
//! A connector knows us by a name that need not be ours, and on a network where we know nobody: these paths trust no address,
//! only a signature, and so are open to every `Host`.

mod delivery;
mod idle;
mod inbound;
mod pokes;
mod ports;
mod seen;
mod verify;

pub(super) use self::inbound::RelayInbound;
pub(crate) use self::ports::{Deliveries, DeliveryRoute, HttpRelayPorts, LinkControls};
use super::registry::RouteRegistry;

pub(super) fn routes(registry: &mut RouteRegistry<'_>, inbound: &RelayInbound) {
    idle::routes(registry);
    delivery::routes(registry, inbound);
}
