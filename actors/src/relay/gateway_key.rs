//! A gateway as a connector identifies it.

use std::net::IpAddr;
use std::sync::Arc;

use caduceus_contract::wire::url::RelayUrl;

/// A gateway as a connector identifies it. Spellings of the same gateway are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayKey {
    connector: String,
    gateway_id: Arc<str>,
}

impl GatewayKey {
    /// The gateway `gateway_id` at the connector of the configured address `url`.
    #[must_use]
    pub fn new(url: &str, gateway_id: &str) -> Self {
        Self { connector: connector(url), gateway_id: gateway_id.trim().to_lowercase().into() }
    }

    /// The id of the gateway, in the spelling that is equal for all spellings.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.gateway_id
    }
}

/// The normal form of a connector's address: the address that is dialled, without what does not distinguish connectors.
fn connector(url: &str) -> String {
    let url = RelayUrl::new(url);
    let dial = url.dial();
    let (scheme, rest) = dial.split_once("://").unwrap_or(("", dial));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let default = if scheme == "wss" { "443" } else { "80" };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    let port = if port.is_empty() { default } else { port };
    let port = port.trim_start_matches('0');
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_lowercase();
    let address = host.parse::<IpAddr>().map(|address| address.to_canonical());
    let host = match address {
        Ok(address) if address.is_loopback() || address.is_unspecified() => "localhost".to_owned(),
        Ok(address) => address.to_string(),
        Err(_) => host,
    };
    let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    format!("{host}:{port}/{}", path.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_gateway_id_are_equal() {
        let same = |a: (&str, &str), b: (&str, &str)| GatewayKey::new(a.0, a.1) == GatewayKey::new(b.0, b.1);
        let plain = ("wss://c.example", "gw-1");
        for other in [
            ("https://c.example/relay", "gw-1"),
            ("wss://C.Example:443/relay/", " GW-1\t"),
            ("wss://c.example.//relay", "gw-1"),
            (" wss://c.example:0443 ", "gw-1"),
        ] {
            assert!(same(plain, other), "{other:?}");
        }
        for other in [
            ("wss://d.example", "gw-1"),
            ("wss://c.example:444", "gw-1"),
            ("ws://c.example", "gw-1"),
            ("wss://c.example/a", "gw-1"),
            ("wss://c.example", "gw-2"),
            ("wss://c.example", "gw 1"),
        ] {
            assert!(!same(plain, other), "{other:?}");
        }
        for near in ["http://localhost:9", "ws://[::1]:9/", "ws://127.0.0.1:9/relay", "ws://0.0.0.0:9"] {
            assert!(same((near, "g"), ("ws://127.0.0.1:9", "g")), "{near}");
        }
        assert!(same(("ws://[2001:DB8::1]:9", "g"), ("ws://[2001:db8:0::1]:9/relay", "g")));
    }
}
