//! The paths that connectors call, and the state that is kept of their calls.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use caduceus_actors::settings::InboundSettings;
use caduceus_contract::wire::delivery::INTERRUPT_SUFFIX;

use super::seen::SeenSignatures;
use super::verify::VerificationQueue;
use super::wake_limit::WakeLimit;

/// The path that wakes a dormant gateway.
pub(super) const WAKE: &str = "/wake";

/// The paths and state for connectors, shared by all workers and by successive servers.
#[derive(Debug, Clone)]
pub(in crate::http) struct RelayInbound {
    pub(super) path: String,
    pub(super) interrupt_path: String,
    /// The address that serves only these paths, if there is one.
    listener: Option<SocketAddr>,
    pub(super) seen: Arc<Mutex<SeenSignatures>>,
    pub(super) wake_limit: Arc<Mutex<WakeLimit>>,
    pub(super) verification: VerificationQueue,
}

impl RelayInbound {
    /// `listener` is the address that was bound for these paths alone.
    pub(in crate::http) fn new(settings: InboundSettings, listener: Option<SocketAddr>) -> Self {
        Self {
            interrupt_path: format!("{}{INTERRUPT_SUFFIX}", settings.path),
            path: settings.path,
            listener,
            seen: Arc::default(),
            wake_limit: Arc::default(),
            verification: VerificationQueue::default(),
        }
    }

    /// Whether a request for `path` is a connector's, which may use any host name.
    pub(in crate::http) fn is_for_connectors(&self, path: &str) -> bool {
        path == WAKE || self.is_delivery(path)
    }

    /// Whether `path` is not served at the local address of the connection.
    pub(in crate::http) fn is_elsewhere(&self, path: &str, local: Option<SocketAddr>) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separate_listener_serves_deliveries_and_nothing_else() {
        let settings = InboundSettings { path: "/in".into(), bind: None };
        let address = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        let (main, own) = (address("127.0.0.1:1"), address("10.0.0.7:2"));
        for listener in [own, address("0.0.0.0:2")] {
            let inbound = RelayInbound::new(settings.clone(), listener);
            for (path, here, there) in [
                ("/in", false, true),
                ("/in/interrupt", false, true),
                ("/wake", true, true),
                ("/api/status", true, false),
            ] {
                assert_eq!(
                    (!inbound.is_elsewhere(path, main), !inbound.is_elsewhere(path, own)),
                    (here, there),
                    "{path}"
                );
            }
        }
        let shared = RelayInbound::new(settings, None);
        assert!(!shared.is_elsewhere("/in", main) && !shared.is_elsewhere("/api/status", main));
    }
}
