//! The process environment, read once.

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::http_client::PROXY_VARIABLES;
use crate::profile::globals::{is_deployment, is_global, is_own};
use crate::profile::sealed::Sealed;

/// The environment at start, sorted by the parts that may read it. Names or values that are not UTF-8 are left out.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Variables without secrets: children receive them.
    pub globals: BTreeMap<String, String>,
    /// Variables of the deployment: for the default profile, never for a child.
    pub deployment: Sealed,
    /// All other variables: part of the default profile's scope in single-profile mode, otherwise unused.
    pub rest: Sealed,
    /// For the HTTP authenticator only.
    pub(super) drain_secret: Option<SecretString>,
    /// Whether named profiles are served, as the deployment sets it.
    pub(super) multiplex: Option<String>,
    /// The path of a file, which is read with the settings.
    pub(super) relay_ca_file: Option<String>,
    /// The proxies of HTTP calls, by name in either case. They may hold a password.
    proxies: BTreeMap<String, SecretString>,
    managed: bool,
    honcho_host: Option<String>,
    honcho_base_url: Option<String>,
    /// Addresses and names of a login; no secrets.
    honcho_oauth: BTreeMap<String, String>,
    /// Variables for this process itself: from the service manager, or from the gateway to a command that an agent runs.
    pub own: BTreeMap<String, String>,
}

/// The secret for draining.
pub(super) const DRAIN_SECRET: &str = "HERMES_DASHBOARD_DRAIN_SECRET";
/// Whether named profiles are served.
pub(super) const MULTIPLEX: &str = "GATEWAY_MULTIPLEX_PROFILES";
/// The path of an additional certificate authority in PEM.
pub(super) const CA_FILE: &str = "GATEWAY_RELAY_CA_FILE";
/// Set if a package manager or a host installs and enrolls.
const MANAGED: &str = "HERMES_MANAGED";
/// No secret, but sorted among them, because the original's list of globals lacks it.
const HONCHO_HOST: &str = "HERMES_HONCHO_HOST";
/// The address of the memory; sorted likewise.
const HONCHO_BASE_URL: &str = "HONCHO_BASE_URL";
/// The prefix of the variables of a login.
const HONCHO_OAUTH: &str = "HONCHO_OAUTH_";

impl Environment {
    /// Reads the process environment.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
    pub fn capture() -> Self {
        Self::sort(
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// Sorts the given variables.
    #[must_use]
    pub fn sort(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut sorted = Self::default();
        for (name, value) in variables {
            if PROXY_VARIABLES.iter().any(|known| name.eq_ignore_ascii_case(known)) {
                sorted.proxies.insert(name.clone(), value.clone().into());
            }
            if is_global(&name) {
                sorted.globals.insert(name, value);
            } else if name == DRAIN_SECRET {
                sorted.drain_secret = full(&value).map(SecretString::from);
            } else if is_deployment(&name) {
                if let Some(value) = full(&value).filter(|_| name.starts_with(HONCHO_OAUTH)) {
                    sorted.honcho_oauth.insert(name.clone(), value.to_owned());
                }
                if name == CA_FILE {
                    sorted.relay_ca_file = full(&value).map(str::to_owned);
                }
                sorted.deployment.put(name, value.into());
            } else if is_own(&name) {
                sorted.own.insert(name, value);
            } else {
                match name.as_str() {
                    MULTIPLEX => sorted.multiplex = full(&value).map(str::to_owned),
                    MANAGED => sorted.managed = full(&value).is_some(),
                    HONCHO_HOST => sorted.honcho_host = Some(value.clone()),
                    HONCHO_BASE_URL => sorted.honcho_base_url = full(&value).map(str::to_owned),
                    _ => {}
                }
                sorted.rest.put(name, value.into());
            }
        }
        sorted
    }

    /// A name of a login, such as `HONCHO_OAUTH_TOKEN_URL`.
    #[must_use]
    pub fn honcho_oauth(&self, name: &str) -> Option<&str> {
        self.honcho_oauth.get(name).map(String::as_str)
    }

    /// Takes the secret for draining out of the environment.
    pub fn take_drain_secret(&mut self) -> Option<SecretString> {
        self.drain_secret.take()
    }

    /// A variable that names proxies, such as `HTTPS_PROXY` or `https_proxy`.
    #[must_use]
    pub(super) fn proxy(&self, name: &str) -> Option<SecretString> {
        self.proxies.get(name).cloned()
    }

    /// `HERMES_MANAGED`: a package manager or a host owns this installation.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        self.managed
    }

    /// `HERMES_HONCHO_HOST`: the host of the default profile's grant.
    #[must_use]
    pub fn honcho_host(&self) -> Option<&str> {
        self.honcho_host.as_deref()
    }

    /// `HONCHO_BASE_URL`, the address of a self-hosted service; likewise no secret.
    #[must_use]
    pub fn honcho_base_url(&self) -> Option<&str> {
        self.honcho_base_url.as_deref()
    }
}

/// The value, trimmed; a blank value counts as unset.
fn full(value: &str) -> Option<&str> {
    Some(value.trim()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn sorted() -> Environment {
        let variables =
            [("PATH", "/bin"), ("OPENAI_API_KEY", "k"), ("GATEWAY_RELAY_SECRET", " s "), ("WATCHDOG_PID", "1")];
        Environment::sort(variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    #[test]
    fn each_variable_is_sorted_by_who_may_read_it() {
        let environment = sorted();
        assert_eq!(environment.globals.keys().collect::<Vec<_>>(), ["PATH"]);
        assert_eq!(environment.deployment.names().collect::<Vec<_>>(), ["GATEWAY_RELAY_SECRET"]);
        assert_eq!(environment.rest.names().collect::<Vec<_>>(), ["OPENAI_API_KEY"]);
        assert_eq!(environment.own.keys().collect::<Vec<_>>(), ["WATCHDOG_PID"]);
    }

    #[test]
    fn variables_of_the_settings_are_trimmed_and_the_drain_secret_is_stored_once() {
        let variables = [(DRAIN_SECRET, " s "), (MULTIPLEX, " yes ")];
        let environment = Environment::sort(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(environment.drain_secret.as_ref().map(ExposeSecret::expose_secret), Some("s"));
        assert_eq!(environment.multiplex.as_deref(), Some("yes"));
        assert_eq!(environment.deployment.names().count(), 0);
        let blank = Environment::sort([(DRAIN_SECRET.to_owned(), "  ".to_owned())]);
        assert!(blank.drain_secret.is_none());
    }

    #[test]
    fn the_host_of_the_grant_is_found_among_the_secrets() {
        let environment = Environment::sort([("HERMES_HONCHO_HOST".to_owned(), "hermes_two".to_owned())]);
        assert_eq!(environment.honcho_host(), Some("hermes_two"));
        assert_eq!(sorted().honcho_host(), None);
    }

    #[test]
    fn debug_shows_no_value() {
        let shown = format!("{:?}", Environment::sort([("A_KEY".to_owned(), "hunter2".to_owned())]));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
