//! Routes for connectors: signed deliveries and pokes of a sleeping gateway; and the order to sleep.
//!
//! A connector may use any host name for the gateway, and may come from any network: these paths trust no address,
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
