//! Routes for connectors: signed deliveries and requests to wake a dormant gateway; and the route that makes it dormant.
//!
//! A connector may use any host name for the gateway, and may be in any network: these paths check a signature and not the address,
//! and accept every `Host`.

mod delivery;
mod idle;
pub(super) mod inbound;
pub(super) mod ports;
mod seen;
mod verify;
mod wake_limit;

use self::inbound::RelayInbound;
use super::registry::RouteRegistry;

pub(super) fn routes(registry: &mut RouteRegistry<'_>, inbound: &RelayInbound) {
    idle::routes(registry);
    delivery::routes(registry, inbound);
}
