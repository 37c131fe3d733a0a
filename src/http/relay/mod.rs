//! What connectors come to us for: signed deliveries, a poke when we sleep; and the order to sleep.
//!
//! A connector knows us by a name that need not be ours, and on a network where we know nobody: these paths trust no address,
//! only a signature, and so are open to every `Host`.

mod delivery;
mod idle;
mod pokes;
mod seen;
mod verify;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use caduceus_actors::dispatch::messages::StopSession;
use caduceus_actors::profile::messages::VerifyDelivery;
use caduceus_actors::profile::name::ProfileName;
use caduceus_actors::relay::inbound::messages::Deliver;
use caduceus_actors::relay::messages::{GoDormant, LinkId, Wake};
use caduceus_actors::settings::InboundSettings;
use caduceus_supervision::Port;

use super::registry::RouteRegistry;
use pokes::Pokes;
use seen::Seen;
use verify::VerificationQueue;

/// Where a sleeping gateway is poked.
const WAKE: &str = "/wake";

/// What HTTP can do with the relay, as a list.
#[derive(Debug, Clone, Default)]
pub(crate) struct RelayPorts {
    /// The links.
    pub(crate) links: Vec<Link>,
    /// Who may deliver.
    pub(crate) deliveries: Deliveries,
    /// Stops the turn of a session.
    pub(crate) stop_session: Option<Port<StopSession>>,
}

/// Asks who may deliver at the moment, the default profile first: profiles come and go.
#[derive(Clone)]
pub(crate) struct Deliveries(pub(crate) Arc<dyn Fn() -> Vec<Delivery> + Send + Sync>);

/// The ways into one link.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Which.
    pub(crate) id: LinkId,
    /// Sends it to sleep until it is poked.
    pub(crate) go_dormant: Port<GoDormant>,
    /// Pokes it.
    pub(crate) wake: Port<Wake>,
}

/// The way of a signed delivery into one profile.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
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

/// The connectors' way in, shared by all workers and by one server after another.
#[derive(Debug, Clone)]
pub(super) struct Door {
    path: String,
    interrupt_path: String,
    /// The address that serves these paths and nothing else, where there is one.
    listener: Option<SocketAddr>,
    seen: Arc<Mutex<Seen>>,
    pokes: Arc<Mutex<Pokes>>,
    lane: VerificationQueue,
}

impl Door {
    /// `listener` is the address that was bound for these paths alone.
    pub(super) fn new(settings: InboundSettings, listener: Option<SocketAddr>) -> Self {
        Self {
            interrupt_path: format!("{}/interrupt", settings.path),
            path: settings.path,
            listener,
            seen: Arc::default(),
            pokes: Arc::default(),
            lane: VerificationQueue::default(),
        }
    }

    /// Whether a request for `path` is a connector's, which may call us by any name.
    pub(super) fn is_for_connectors(&self, path: &str) -> bool {
        path == WAKE || self.is_delivery(path)
    }

    /// Whether `path` is not served at the address at our end of the connection.
    pub(super) fn is_elsewhere(&self, path: &str, local: Option<SocketAddr>) -> bool {
        let Some(listener) = self.listener else { return false };
        let at_listener = local.is_some_and(|local| {
            let same_ip = listener.ip().is_unspecified() || listener.ip().to_canonical() == local.ip().to_canonical();
            listener.port() == local.port() && same_ip
        });
        if at_listener { !self.is_for_connectors(path) } else { self.is_delivery(path) }
    }

    fn is_delivery(&self, path: &str) -> bool {
        path == self.path || path == self.interrupt_path
    }
}

pub(super) fn routes(registry: &mut RouteRegistry<'_>, door: &Door) {
    idle::routes(registry);
    delivery::routes(registry, door);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_its_own_serves_deliveries_and_nothing_else() {
        let settings = InboundSettings { path: "/in".into(), bind: None };
        let address = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        let (main, own) = (address("127.0.0.1:1"), address("10.0.0.7:2"));
        for listener in [own, address("0.0.0.0:2")] {
            let door = Door::new(settings.clone(), listener);
            for (path, here, there) in [
                ("/in", false, true),
                ("/in/interrupt", false, true),
                ("/wake", true, true),
                ("/api/status", true, false),
            ] {
                assert_eq!((!door.is_elsewhere(path, main), !door.is_elsewhere(path, own)), (here, there), "{path}");
            }
        }
        let shared = Door::new(settings, None);
        assert!(!shared.is_elsewhere("/in", main) && !shared.is_elsewhere("/api/status", main));
    }
}
