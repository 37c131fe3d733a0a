//! The ports of HTTP into the relay.

use std::fmt;
use std::sync::Arc;

use caduceus_contract::link::LinkId;
use caduceus_contract::messages::dispatch::StopSession;
use caduceus_contract::messages::profile::VerifyDelivery;
use caduceus_contract::messages::relay::{Deliver, DormancyPorts};
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::Port;

/// What HTTP can do with the relay, as a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct HttpRelayPorts {
    /// The links.
    pub(crate) links: Vec<LinkControls>,
    /// The profiles with a delivery key.
    pub(crate) deliveries: Deliveries,
    /// Stops the turn of a session.
    pub(crate) stop_session: Option<Port<StopSession>>,
}

/// Lists the profiles with a delivery key at the moment, the default profile first: profiles can be added and removed.
#[derive(Clone)]
pub(crate) struct Deliveries(pub(crate) Arc<dyn Fn() -> Vec<DeliveryRoute> + Send + Sync>);

/// The ports of one link.
#[derive(Debug, Clone)]
pub(crate) struct LinkControls {
    /// The link.
    pub(crate) id: LinkId,
    /// Closes it until it is woken, and wakes it.
    pub(crate) dormancy: DormancyPorts,
}

/// The ports of one profile for signed deliveries.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryRoute {
    /// The profile that owns what its key verifies; `None` for the default one.
    pub(crate) owner: Option<ProfileName>,
    /// Verifies with the key.
    pub(crate) verify: Port<VerifyDelivery>,
    /// Takes the event.
    pub(crate) deliver: Port<Deliver>,
}

impl Default for Deliveries {
    fn default() -> Self {
        Self(Arc::new(Vec::new))
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deliveries")
    }
}
