//! What connectors come to us for: signed deliveries, a poke when we sleep; and the order to sleep.
//!
//! A connector knows us by a name that need not be ours, and on a network where we know nobody: these paths trust no address,
//! only a signature, and so are open to every `Host`.

mod delivery;
mod idle;
pub(super) mod inbound;
mod pokes;
pub(super) mod ports;
mod seen;
mod verify;

use self::inbound::RelayInbound;
use super::registry::RouteRegistry;

pub(super) fn routes(registry: &mut RouteRegistry<'_>, inbound: &RelayInbound) {
    idle::routes(registry);
    delivery::routes(registry, inbound);
}
