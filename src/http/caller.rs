//! The client of a request: this machine itself, or a client behind a trusted proxy.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;

pub(super) use super::proxies::HttpCaller;
use super::proxies::TrustedProxies;

impl HttpCaller {
    /// The client that sent this request.
    pub(super) fn of(request: &HttpRequest) -> Self {
        let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        match request.app_data::<TrustedProxies>() {
            Some(proxies) => proxies.caller(peer, request.headers()),
            None => TrustedProxies::default().caller(peer, request.headers()),
        }
    }
}
