//! The proxies in the environment: which call uses which, and which is direct.
//!
//! As in curl and Python: `HTTPS_PROXY` for https and wss, `HTTP_PROXY` for http and ws, `ALL_PROXY` for both; the lower
//! case takes precedence, and an empty value means none. As in Go: a loopback address never uses a proxy.

use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use zeroize::Zeroizing;

use crate::network::Network;

/// The variables, in upper case. Each is read in lower case too.
pub const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"];

/// Which calls go through a proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    secure: Option<Proxy>,
    plain: Option<Proxy>,
    exempt: Vec<Exempt>,
}

/// One proxy.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    /// The variable with its address.
    variable: &'static str,
    /// Its host as in an address: IPv6 in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// It is reached over TLS.
    pub(super) tls: bool,
    /// The credentials for it; marked as sensitive.
    pub(super) login: Option<HeaderValue>,
}

/// Hosts that are reached without a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exempt {
    All,
    /// The host itself and every name below it, on one port or on each.
    Name(String, Option<u16>),
    Net(Network, Option<u16>),
}

/// Why a value is not a proxy. The text contains none of it: it may have a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum ProxyError {
    #[error("not an address such as http://proxy.example:3128")]
    Address,
    #[error("only http and https proxies can be used, no SOCKS")]
    Scheme,
}

impl Proxies {
    /// Reads the variables with `value`, which is called for each name in upper and in lower case. An unusable one is a warning,
    /// and is not used.
    pub fn read(value: impl Fn(&str) -> Option<SecretString>, warnings: &mut Vec<String>) -> Self {
        // An empty one in lower case switches the other off.
        let text = |name: &'static str| {
            let found = value(&name.to_lowercase()).or_else(|| value(name))?;
            (!found.expose_secret().trim().is_empty()).then_some((name, found))
        };
        let mut proxy = |names: [&'static str; 2]| {
            let (name, value) = names.into_iter().find_map(text)?;
            let read = Proxy::read(name, value.expose_secret().trim());
            read.map_err(|why| warnings.push(format!("{name} is not used, calls go without a proxy: {why}"))).ok()
        };
        let secure = proxy([VARIABLES[0], VARIABLES[2]]);
        let plain = proxy([VARIABLES[1], VARIABLES[2]]);
        warnings.dedup();
        let mut exempt = Vec::new();
        if let Some((name, list)) = text(VARIABLES[3]) {
            for entry in list.expose_secret().split([',', ' ', '\t']).filter(|entry| !entry.is_empty()) {
                match Exempt::read(entry) {
                    Some(entry) => exempt.push(entry),
                    None => warnings.push(format!("{name}: {:?} is neither a host nor a network", plain_text(entry))),
                }
            }
        }
        Self { secure, plain, exempt }
    }

    /// One sentence per proxy in force; none without a proxy. Shows no credentials.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let shown = |what: &str, proxy: &Option<Proxy>| {
            let proxy = proxy.as_ref()?;
            Some(format!("{what} goes through {proxy} ({})", proxy.variable))
        };
        let mut lines: Vec<String> =
            [shown("https and wss", &self.secure), shown("http and ws", &self.plain)].into_iter().flatten().collect();
        if !lines.is_empty() {
            lines.push(match self.exempt.len() {
                0 => "NO_PROXY has no exceptions; loopback addresses never use a proxy".to_owned(),
                count => format!("NO_PROXY has {count} exceptions; loopback addresses never use a proxy"),
            });
        }
        lines
    }

    /// The proxy for a call to `host`, which may be in brackets, at `port`; `None` means direct.
    pub(super) fn of(&self, secure: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if secure { &self.secure } else { &self.plain };
        let proxy = proxy.as_ref()?;
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let loopback = match address {
            Some(address) => address.is_loopback(),
            None => host == "localhost" || host.ends_with(".localhost"),
        };
        let exempt = || self.exempt.iter().any(|exempt| exempt.holds(&host, address, port));
        (!loopback && !exempt()).then_some(proxy)
    }
}

impl Proxy {
    fn read(variable: &'static str, value: &str) -> Result<Self, ProxyError> {
        let with_scheme = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let with_scheme = Zeroizing::new(with_scheme);
        let url = Url::parse(&with_scheme).map_err(|_| ProxyError::Address)?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(ProxyError::Scheme),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(ProxyError::Address)?;
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(ProxyError::Address)?;
        let login = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let mut pair = Zeroizing::new(percent_decoded(url.username()));
            pair.push(b':');
            pair.extend_from_slice(&Zeroizing::new(percent_decoded(url.password().unwrap_or_default())));
            let text = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(&*pair)));
            let mut value = HeaderValue::from_str(&text).expect("base64 can stand in a header");
            value.set_sensitive(true);
            value
        });
        Ok(Self { variable, host: host.to_owned(), port, tls, login })
    }
}

/// A user or a password in an address.
fn percent_decoded(text: &str) -> Vec<u8> {
    // A form has the same encoding, in which a plus is a blank.
    let escaped = Zeroizing::new(text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D"));
    url::form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map(|(text, _)| text.into_owned().into_bytes())
        .unwrap_or_default()
}

fn plain_text(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

impl Exempt {
    fn read(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::All);
        }
        if let Ok(network) = entry.parse() {
            return Some(Self::Net(network, None));
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (entry, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(network) = host.parse() {
            return Some(Self::Net(network, port));
        }
        let host = host.trim_start_matches("*.").trim_start_matches('.').trim_end_matches('.').to_lowercase();
        let good = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        (!host.is_empty() && host.chars().all(good)).then_some(Self::Name(host, port))
    }

    fn holds(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        let right_port = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match self {
            Self::All => true,
            Self::Net(network, wanted) => {
                right_port(wanted) && address.is_some_and(|address| network.contains(address))
            }
            Self::Name(name, wanted) => {
                let below =
                    host.strip_suffix(name.as_str()).is_some_and(|front| front.is_empty() || front.ends_with('.'));
                right_port(wanted) && below && address.is_none()
            }
        }
    }
}

/// Without the credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let login = if self.login.is_some() { " with a login" } else { "" };
        write!(f, "{scheme}://{}:{}{login}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> (Proxies, Vec<String>) {
        let mut warnings = Vec::new();
        let value = |name: &str| {
            variables.iter().find(|(given, _)| *given == name).map(|(_, value)| SecretString::from(*value))
        };
        (Proxies::read(value, &mut warnings), warnings)
    }

    fn route(proxies: &Proxies, url: &str) -> Option<String> {
        let uri: http::Uri = url.parse().unwrap();
        let secure = matches!(uri.scheme_str(), Some("https" | "wss"));
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        proxies.of(secure, uri.host().unwrap(), port).map(|proxy| format!("{}:{}", proxy.host, proxy.port))
    }

    #[test]
    fn each_scheme_has_its_variable_lower_case_takes_precedence_and_empty_means_none() {
        let (proxies, warnings) = read(&[
            ("HTTPS_PROXY", "http://upper:1"),
            ("https_proxy", "http://lower:2"),
            ("HTTP_PROXY", "plain.example"),
            ("ALL_PROXY", "http://all:3"),
        ]);
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(route(&proxies, "https://a.example/").as_deref(), Some("lower:2"));
        assert_eq!(route(&proxies, "wss://a.example/").as_deref(), Some("lower:2"));
        assert_eq!(route(&proxies, "ws://a.example/").as_deref(), Some("plain.example:80"));
        let (all, _) = read(&[("all_proxy", "https://all.example")]);
        assert_eq!(route(&all, "http://a.example").as_deref(), Some("all.example:443"));
        let (off, warnings) = read(&[("HTTPS_PROXY", "http://upper:1"), ("https_proxy", "")]);
        assert_eq!((route(&off, "https://a.example"), warnings.len()), (None, 0));
    }

    #[test]
    fn exceptions_are_hosts_suffixes_ports_networks_and_a_star() {
        let is_direct = |list: &str, url: &str| {
            let (proxies, warnings) = read(&[("ALL_PROXY", "http://p:1"), ("NO_PROXY", list)]);
            assert_eq!(warnings, Vec::<String>::new(), "{list}");
            route(&proxies, url).is_none()
        };
        for (list, url) in [
            ("*", "https://a.example"),
            ("a.example", "https://a.example"),
            ("A.Example", "https://a.EXAMPLE."),
            ("a.example", "https://b.a.example"),
            (".a.example", "https://b.a.example"),
            (".a.example", "https://a.example"),
            ("*.a.example", "https://b.a.example"),
            ("x, a.example:8443 ", "https://a.example:8443"),
            ("a.example:443", "https://a.example"),
            ("10.0.0.0/8", "http://10.1.2.3"),
            ("10.1.2.3", "http://10.1.2.3:99"),
            ("10.1.2.3:99", "http://10.1.2.3:99"),
            ("fd00::/8", "http://[fd00::1]"),
            ("fd00::1", "http://[fd00::1]:80"),
            ("[fd00::1]:80", "http://[fd00::1]"),
            ("10.0.0.0/8", "http://[::ffff:10.1.2.3]"),
            // Never uses a proxy.
            ("", "http://127.0.0.1:1"),
            ("", "http://localhost"),
            ("", "http://a.localhost"),
            ("", "http://[::1]"),
        ] {
            assert!(is_direct(list, url), "{list} {url}");
        }
        for (list, url) in [
            ("", "https://a.example"),
            ("a.example", "https://ba.example"),
            ("a.example", "https://a.example.evil"),
            ("a.example:8443", "https://a.example"),
            ("10.0.0.0/8", "http://11.1.2.3"),
            ("3", "http://10.1.2.3"),
            ("0.0.1", "http://10.0.0.1"),
        ] {
            assert!(!is_direct(list, url), "{list} {url}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_used_is_named_and_never_shown() {
        for value in
            ["socks5://user:hunter2@p:1", "http://", "http://user:hunter2@p:99999", "http://p:0", "ftp://hunter2"]
        {
            let (proxies, warnings) = read(&[("ALL_PROXY", value)]);
            assert_eq!(route(&proxies, "https://a.example"), None, "{value}");
            assert_eq!(warnings.len(), 1, "{value}: {warnings:?}");
            assert!(
                warnings[0].starts_with("ALL_PROXY is not used") && !warnings[0].contains("hunter2"),
                "{warnings:?}"
            );
        }
        let (_, warnings) = read(&[("NO_PROXY", "10.0.0.0/99,a:b,ok.example,http://x")]);
        assert_eq!(warnings.len(), 3, "{warnings:?}");
    }

    #[test]
    fn a_login_is_sent_decoded_and_shown_nowhere() {
        let (proxies, warnings) = read(&[("HTTPS_PROXY", "http://us%40er:p%3Ass+1%26=@p.example:3128")]);
        assert!(warnings.is_empty());
        let proxy = proxies.of(true, "a.example", 443).unwrap();
        let sent = proxy.login.as_ref().unwrap().to_str().unwrap().strip_prefix("Basic ").unwrap().to_owned();
        assert_eq!(BASE64_STANDARD.decode(sent).unwrap(), b"us@er:p:ss+1&=");
        let shown = format!("{proxies:?} {:?} {proxy} {:?}", proxies.describe(), proxy.login);
        assert!(shown.contains("p.example:3128 with a login"), "{shown}");
        for secret in ["us@er", "us%40er", "ss+1", &BASE64_STANDARD.encode("us@er:p:ss+1&=")] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
