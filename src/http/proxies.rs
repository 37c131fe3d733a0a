//! The trusted proxies, and the client behind a request. Pure.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{HeaderMap, HeaderName};
use caduceus_actors::network::Network;

/// The header in which proxies name the client, each adding its own peer at the end.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The trusted proxies.
#[derive(Debug, Clone, Default)]
pub(super) struct TrustedProxies(Vec<Network>);

/// The client of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HttpCaller {
    /// Its address; the proxy's where the header is not trusted.
    pub(super) address: IpAddr,
    /// It is on this machine.
    pub(super) loopback: bool,
}

impl TrustedProxies {
    pub(super) fn new(trusted: Vec<Network>) -> Self {
        Self(trusted)
    }

    /// `peer` is the other end of the connection. A request with forwarding headers comes from another client: only a trusted
    /// proxy can name it, and if its header cannot be parsed, the client is not on this machine.
    pub(super) fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> HttpCaller {
        let peer = peer.to_canonical();
        if !headers.keys().any(forwards) {
            return HttpCaller { address: peer, loopback: peer.is_loopback() };
        }
        match self.named(peer, headers) {
            Some(address) => HttpCaller { address, loopback: peer.is_loopback() && address.is_loopback() },
            None => HttpCaller { address: peer, loopback: false },
        }
    }

    /// The nearest address that is not a trusted proxy's; the farthest when all are.
    fn named(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.trusts(peer) {
            return None;
        }
        let lines = headers.get_all(FORWARDED_FOR).map(|line| line.to_str().ok());
        let lines: Option<Vec<&str>> = lines.collect();
        let mut farthest = None;
        for word in lines?.join(",").rsplit(',') {
            let address = address(word.trim())?;
            farthest = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        farthest
    }

    /// Whether `address` is a trusted proxy's.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// Whether a header shows that the request was forwarded.
fn forwards(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "forwarded" || name == "via" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

/// An address as proxies write it, perhaps with a port.
fn address(word: &str) -> Option<IpAddr> {
    let bare = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
    let with_port = || word.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    const LOOPBACK: &str = "127.0.0.1";

    fn caller(trusted: &[&str], peer: &str, headers: &[(&'static str, &str)]) -> (String, bool) {
        let proxies = TrustedProxies::new(trusted.iter().map(|network| network.parse().unwrap()).collect());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let HttpCaller { address, loopback } = proxies.caller(peer.parse().unwrap(), &map);
        (address.to_string(), loopback)
    }

    #[test]
    fn without_forwarding_headers_the_client_is_the_peer_of_the_connection() {
        for (peer, loopback) in [(LOOPBACK, true), ("::1", true), ("::ffff:127.0.0.1", true), ("10.0.0.7", false)] {
            assert_eq!(caller(&["127.0.0.1"], peer, &[("host", "x")]).1, loopback, "{peer}");
        }
    }

    #[test]
    fn a_client_behind_an_untrusted_proxy_is_not_on_loopback() {
        for name in ["forwarded", "via", "x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"] {
            assert_eq!(caller(&[], LOOPBACK, &[(name, LOOPBACK)]), (LOOPBACK.into(), false), "{name}");
            assert!(!caller(&["10.0.0.1"], LOOPBACK, &[(name, LOOPBACK)]).1, "{name}");
        }
    }

    #[test]
    fn only_the_address_added_by_a_trusted_proxy_counts() {
        let forwarded = |text| caller(&["127.0.0.1", "10.0.0.0/8"], LOOPBACK, &[("x-forwarded-for", text)]);
        assert_eq!(forwarded("203.0.113.9"), ("203.0.113.9".into(), false));
        assert_eq!(
            forwarded("127.0.0.1, 203.0.113.9"),
            ("203.0.113.9".into(), false),
            "the client sent the first address"
        );
        assert_eq!(forwarded("203.0.113.9, 10.1.1.1"), ("203.0.113.9".into(), false), "behind two trusted proxies");
        assert_eq!(forwarded("[2001:db8::1]:4711"), ("2001:db8::1".into(), false));
        assert_eq!(forwarded("127.0.0.1"), (LOOPBACK.into(), true));
        assert_eq!(forwarded("127.0.0.1:4711"), (LOOPBACK.into(), true));
        let twice = [("x-forwarded-for", LOOPBACK), ("x-forwarded-for", "203.0.113.9")];
        assert_eq!(caller(&["127.0.0.1"], LOOPBACK, &twice), ("203.0.113.9".into(), false));
    }

    #[test]
    fn an_unreadable_header_is_not_loopback() {
        for text in ["", "unknown", "localhost", "127.0.0.1,", "127.0.0.1;", "_hidden"] {
            assert!(!caller(&["127.0.0.1"], LOOPBACK, &[("x-forwarded-for", text)]).1, "{text:?}");
        }
        assert!(!caller(&["127.0.0.1"], LOOPBACK, &[("forwarded", "for=127.0.0.1")]).1);
    }

    #[test]
    fn a_proxy_on_another_machine_cannot_name_a_client_on_loopback() {
        assert_eq!(caller(&["10.0.0.1"], "10.0.0.1", &[("x-forwarded-for", LOOPBACK)]), (LOOPBACK.into(), false));
    }
}
