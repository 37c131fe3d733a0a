//! The addresses of a connector, all derived from the configured one.
//!
//! The mapping is the original's, including invalid addresses: those are mapped and then refused.

use std::net::IpAddr;

use super::provisioning::{ENROLL_PATH, POLICY_PATH, PROVISION_PATH};

/// Path of the WebSocket.
pub const RELAY_PATH: &str = "/relay";

/// Addresses of one connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUrl {
    /// The address of the WebSocket.
    dial: String,
    /// The base of the paths of its HTTP side.
    base: String,
}

/// Why an address cannot be dialled. It has to be reconfigured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDialable {
    /// It does not begin with one of the four schemes.
    #[error("the relay address has to begin with wss://, ws://, https:// or http://, in lower case")]
    Scheme,
    /// It has no host.
    #[error("the relay address names no host")]
    Host,
    /// It has a query or a fragment, which a path would follow.
    #[error("the relay address may not have a query or a fragment")]
    Query,
    /// It has a user or a password, which would be sent, shown and logged.
    #[error("the relay address may not hold a user or a password")]
    UserInfo,
    /// It has characters that an address cannot have.
    #[error("the relay address holds white space or a control character")]
    Character,
}

impl RelayUrl {
    /// Maps the configured address; see [`RelayUrl::dialable`].
    #[must_use]
    pub fn new(configured: &str) -> Self {
        let configured = configured.trim();
        let dial = rescheme(configured, "https://", "wss://", "http://", "ws://");
        let base = rescheme(configured.trim_end_matches('/'), "wss://", "https://", "ws://", "http://");
        let dial = dial.trim_end_matches('/');
        let dial = if dial.ends_with(RELAY_PATH) { dial.to_owned() } else { format!("{dial}{RELAY_PATH}") };
        let base = base.strip_suffix(RELAY_PATH).unwrap_or(&base).to_owned();
        Self { dial, base }
    }

    /// The address of the WebSocket.
    #[must_use]
    pub fn dial(&self) -> &str {
        &self.dial
    }

    /// The base of `/relay/enroll`.
    #[must_use]
    pub fn enroll_base(&self) -> &str {
        &self.base
    }

    /// The address for an enrollment token.
    #[must_use]
    pub fn enroll(&self) -> String {
        format!("{}{ENROLL_PATH}", self.base.trim_end_matches('/'))
    }

    /// The address for credentials.
    #[must_use]
    pub fn provision(&self) -> String {
        format!("{}{PROVISION_PATH}", self.base)
    }

    /// The address for the relevance policy.
    #[must_use]
    pub fn policy(&self) -> String {
        format!("{}{POLICY_PATH}", self.base)
    }

    /// Whether [`RelayUrl::dial`] can be dialled.
    ///
    /// # Errors
    /// The first reason found against it.
    pub fn dialable(&self) -> Result<(), NotDialable> {
        if self.dial.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(NotDialable::Character);
        }
        let rest = self.dial.strip_prefix("wss://").or_else(|| self.dial.strip_prefix("ws://"));
        let rest = rest.ok_or(NotDialable::Scheme)?;
        if rest.contains(['?', '#']) {
            return Err(NotDialable::Query);
        }
        let authority = rest.split('/').next().unwrap_or_default();
        if authority.contains('@') {
            return Err(NotDialable::UserInfo);
        }
        if authority.is_empty() || authority.starts_with(':') { Err(NotDialable::Host) } else { Ok(()) }
    }
}

impl RelayUrl {
    /// Whether tokens and messages would cross a network in clear text.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        let Some(rest) = self.dial.strip_prefix("ws://") else { return false };
        let authority = rest.split('/').next().unwrap_or_default();
        let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
        };
        let is_loopback = host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
        !is_loopback && !host.eq_ignore_ascii_case("localhost")
    }
}

/// Swaps the scheme for its counterpart. Only lower case is recognised, as in the original.
fn rescheme(url: &str, safe: &str, safe_to: &str, plain: &str, plain_to: &str) -> String {
    let swap = |from: &str, to: &str| url.strip_prefix(from).map(|rest| format!("{to}{rest}"));
    swap(safe, safe_to).or_else(|| swap(plain, plain_to)).unwrap_or_else(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_dialled_has_its_reason() {
        for (url, reason) in [
            ("wss://c.example", None),
            ("http://[::1]:9/x", None),
            ("c.example", Some(NotDialable::Scheme)),
            ("HTTPS://c.example", Some(NotDialable::Scheme)),
            ("", Some(NotDialable::Scheme)),
            ("wss://c.example/relay?x=1", Some(NotDialable::Query)),
            ("wss://c.example/#x", Some(NotDialable::Query)),
            ("https://u:p@c.example", Some(NotDialable::UserInfo)),
            ("https:///x", Some(NotDialable::Host)),
            ("https://:80", Some(NotDialable::Host)),
            ("https://c.exa mple", Some(NotDialable::Character)),
        ] {
            assert_eq!(RelayUrl::new(url).dialable().err(), reason, "{url}");
        }
    }

    #[test]
    fn an_unencrypted_address_of_another_machine_is_exposed() {
        for (url, exposed) in [
            ("ws://c.example", true),
            ("http://10.0.0.7:80/relay", true),
            ("ws://[2001:db8::1]:80", true),
            ("ws://127.0.0.1.evil:80", true),
            ("wss://c.example", false),
            ("ws://127.0.0.1:9", false),
            ("http://LocalHost:9", false),
            ("ws://[::1]/x", false),
        ] {
            assert_eq!(RelayUrl::new(url).is_exposed(), exposed, "{url}");
        }
    }

    #[test]
    fn the_http_paths_have_the_same_base() {
        let url = RelayUrl::new("wss://c.example/a/relay/");
        assert_eq!(url.enroll(), "https://c.example/a/relay/enroll");
        assert_eq!(url.policy(), "https://c.example/a/relay/policy");
    }
}
