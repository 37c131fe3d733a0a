//! Who is at the other end of a request: this machine itself, or someone for whom a proxy speaks.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;

pub(super) use super::proxies::HttpCaller;
use super::proxies::TrustedProxies;

impl HttpCaller {
    /// Who sent this request.
    pub(super) fn of(request: &HttpRequest) -> Self {
        let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        match request.app_data::<TrustedProxies>() {
            Some(proxies) => proxies.caller(peer, request.headers()),
            None => TrustedProxies::default().caller(peer, request.headers()),
        }
    }
}
