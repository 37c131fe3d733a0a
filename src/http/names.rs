//! The host names that the gateway accepts, in `Host`, in an absolute target and in `Origin`.
//!
//! Any website in the operator's browser can send requests from loopback; so the name is checked on every route.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use actix_web::http::header::{self, HeaderMap, HeaderName};

use super::error::ApiError;

/// The names that clients may use.
#[derive(Debug, Clone)]
pub(super) struct HostNames {
    /// `host:port`.
    ours: Vec<String>,
    /// `host` or `host:port`, as configured.
    extra: Vec<String>,
}

impl HostNames {
    /// `bound` is the listening address; `extra` are the names that the settings add.
    pub(super) fn new(bound: SocketAddr, extra: Vec<String>) -> Self {
        let port = bound.port();
        let loopbacks: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
        let addresses = loopbacks.into_iter().chain([bound]).map(|address| address.to_string());
        let ours = addresses.chain([format!("localhost:{port}")]).collect();
        Self { ours, extra }
    }

    /// Why a request with these headers is refused, if it is. `target` is the authority of an absolute request target,
    /// which counts more than `Host`; `local` the local address of the connection.
    pub(super) fn refuse(
        &self,
        headers: &HeaderMap,
        target: Option<&str>,
        local: Option<SocketAddr>,
    ) -> Option<ApiError> {
        let host = single_header(headers, &header::HOST);
        if !host.is_some_and(|host| self.accepts(host, 80, local))
            || target.is_some_and(|t| !self.accepts(t, 80, local))
        {
            return Some(ApiError::ForbiddenHost);
        }
        self.refuse_origin(headers, local)
    }

    /// As [`HostNames::refuse`], for paths that are answered under any `Host`, or none.
    pub(super) fn refuse_origin(&self, headers: &HeaderMap, local: Option<SocketAddr>) -> Option<ApiError> {
        if !headers.contains_key(header::ORIGIN) {
            return None;
        }
        let site = single_header(headers, &header::ORIGIN).and_then(|origin| origin.split_once("://"));
        let known = match site {
            Some(("http", site)) => self.accepts(site, 80, local),
            Some(("https", site)) => self.accepts(site, 443, local),
            _ => false,
        };
        if known { None } else { Some(ApiError::ForbiddenOrigin) }
    }

    /// Whether `authority` is an accepted name; without a port it means `default_port`.
    fn accepts(&self, authority: &str, default_port: u16, local: Option<SocketAddr>) -> bool {
        // The common case first: this runs for every request.
        if self.ours.iter().any(|name| name.eq_ignore_ascii_case(authority)) {
            return true;
        }
        let Some((host, port)) = split(authority, default_port) else { return false };
        let with_port = format!("{host}:{port}");
        let reached = local.map(|local| SocketAddr::new(local.ip().to_canonical(), local.port()));
        self.ours.iter().any(|name| name.eq_ignore_ascii_case(&with_port))
            || self
                .extra
                .iter()
                .any(|name| [host, authority, &with_port].iter().any(|form| name.eq_ignore_ascii_case(form)))
            || reached.is_some_and(|reached| with_port.parse() == Ok(reached))
    }
}

/// The value of a header that must be present exactly once.
pub(super) fn single_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

/// Host and port of an authority.
fn split(authority: &str, default_port: u16) -> Option<(&str, u16)> {
    match authority.rsplit_once(':') {
        // An IPv6 address without a port ends in its bracket.
        Some((host, port)) if !authority.ends_with(']') => {
            let number: u16 = port.parse().ok()?;
            // A sign or a zero in front, which a number may have and no browser sends.
            (number.to_string() == port).then_some((host, number))
        }
        _ => Some((authority, default_port)),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn refused(names: &HostNames, pairs: &[(&'static str, &str)]) -> Option<&'static str> {
        match names.refuse(&headers(pairs), None, Some(([10, 0, 0, 7], 8652).into())) {
            None => None,
            Some(ApiError::ForbiddenHost) => Some("host"),
            Some(_) => Some("origin"),
        }
    }

    #[test]
    fn only_accepted_host_names_are_answered() {
        let names = HostNames::new(([0, 0, 0, 0], 8652).into(), vec!["Gate.example".into(), "other.example:99".into()]);
        let ours = ["localhost:8652", "LOCALHOST:8652", "127.0.0.1:8652", "[::1]:8652", "10.0.0.7:8652"];
        for host in ours.into_iter().chain(["gate.example", "gate.example:1", "other.example:99"]) {
            assert_eq!(refused(&names, &[("host", host)]), None, "{host}");
        }
        let foreign = ["evil.example", "evil.example:8652", "localhost", "localhost:80", "localhost:8652.evil.example"];
        let odd = ["127.0.0.1:8652@evil.example", "10.0.0.8:8652", "other.example", "", ":8652", "localhost:99999"];
        for host in foreign.into_iter().chain(odd) {
            assert_eq!(refused(&names, &[("host", host)]), Some("host"), "{host}");
        }
        assert_eq!(refused(&names, &[]), Some("host"));
        assert_eq!(refused(&names, &[("host", "localhost:8652"), ("host", "localhost:8652")]), Some("host"));
    }

    #[test]
    fn an_absolute_target_takes_precedence_over_the_host() {
        let names = HostNames::new(([127, 0, 0, 1], 8652).into(), Vec::new());
        let host = headers(&[("host", "localhost:8652")]);
        assert!(names.refuse(&host, Some("evil.example"), None).is_some());
        assert!(names.refuse(&host, Some("localhost:8652"), None).is_none());
    }

    #[test]
    fn an_origin_must_be_an_accepted_name_too() {
        let names = HostNames::new(([127, 0, 0, 1], 8652).into(), vec!["gate.example".into()]);
        let with = |origin| refused(&names, &[("host", "localhost:8652"), ("origin", origin)]);
        assert_eq!(with("http://localhost:8652"), None);
        assert_eq!(with("http://127.0.0.1:8652"), None);
        assert_eq!(with("https://gate.example"), None);
        for origin in ["null", "", "http://localhost:3000", "http://evil.example", "file://localhost:8652"] {
            assert_eq!(with(origin), Some("origin"), "{origin}");
        }
    }

    #[test]
    fn port_80_may_be_omitted() {
        let names = HostNames::new(([127, 0, 0, 1], 80).into(), Vec::new());
        assert_eq!(refused(&names, &[("host", "localhost"), ("origin", "http://localhost")]), None);
        assert_eq!(refused(&names, &[("host", "[::1]")]), None);
    }
}
