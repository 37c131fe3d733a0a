//! What HTTP is handed of the relay.

use std::fmt;
use std::sync::Arc;

use caduceus_contract::link::LinkId;
use caduceus_contract::messages::dispatch::StopSession;
use caduceus_contract::messages::profile::VerifyDelivery;
use caduceus_contract::messages::relay::Deliver;
use caduceus_contract::messages::relay::{GoDormant, Wake};
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::Port;

/// What HTTP can do with the relay, as a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct HttpRelayPorts {
    /// The links.
    pub(crate) links: Vec<LinkControls>,
    /// Who may deliver.
    pub(crate) deliveries: Deliveries,
    /// Stops the turn of a session.
    pub(crate) stop_session: Option<Port<StopSession>>,
}

/// Asks who may deliver at the moment, the default profile first: profiles come and go.
#[derive(Clone)]
pub(crate) struct Deliveries(pub(crate) Arc<dyn Fn() -> Vec<DeliveryRoute> + Send + Sync>);

/// The ways into one link.
#[derive(Debug, Clone)]
pub(crate) struct LinkControls {
    /// Which.
    pub(crate) id: LinkId,
    /// Sends it to sleep until it is poked.
    pub(crate) go_dormant: Port<GoDormant>,
    /// Pokes it.
    pub(crate) wake: Port<Wake>,
}

/// The way of a signed delivery into one profile.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryRoute {
    /// The profile that owns what its key verifies; `None` for the default one.
    pub(crate) owner: Option<ProfileName>,
    /// Knows the key.
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
