//! The process environment, read once.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use crate::profile::globals::{is_deployment, is_global, is_own};

/// What the process was started with, sorted by who may see it. Names or values that are not UTF-8 are left out.
#[derive(Debug, Default)]
pub struct Environment {
    /// Names that are nobody's secret: children see them.
    pub globals: BTreeMap<String, String>,
    /// Names of the deployment: for the default profile and the token seam, never for a child.
    pub deployment: BTreeMap<String, SecretString>,
    /// Everything else: part of the default profile's scope in single-profile mode, and unseen otherwise.
    pub rest: BTreeMap<String, SecretString>,
    /// What is said to this process itself: by the service manager, or by the gateway to a command that an agent runs.
    pub own: BTreeMap<String, String>,
}

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
            if is_global(&name) {
                sorted.globals.insert(name, value);
            } else if is_deployment(&name) {
                sorted.deployment.insert(name, value.into());
            } else if is_own(&name) {
                sorted.own.insert(name, value);
            } else {
                sorted.rest.insert(name, value.into());
            }
        }
        sorted
    }

    /// A deployment setting, trimmed; blank counts as unset.
    #[must_use]
    pub fn deployment(&self, name: &str) -> Option<&str> {
        self.deployment.get(name).map(|value| value.expose_secret().trim()).filter(|value| !value.is_empty())
    }

    /// `HERMES_HONCHO_HOST`, which is no secret but stands among those, for the original's list of globals lacks it.
    #[must_use]
    pub fn honcho_host(&self) -> Option<&str> {
        self.rest.get("HERMES_HONCHO_HOST").map(ExposeSecret::expose_secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted() -> Environment {
        let variables =
            [("PATH", "/bin"), ("OPENAI_API_KEY", "k"), ("GATEWAY_RELAY_SECRET", " s "), ("WATCHDOG_PID", "1")];
        Environment::sort(variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    #[test]
    fn each_variable_lands_where_it_may_be_seen() {
        let environment = sorted();
        assert_eq!(environment.globals.keys().collect::<Vec<_>>(), ["PATH"]);
        assert_eq!(environment.deployment.keys().collect::<Vec<_>>(), ["GATEWAY_RELAY_SECRET"]);
        assert_eq!(environment.rest.keys().collect::<Vec<_>>(), ["OPENAI_API_KEY"]);
        assert_eq!(environment.own.keys().collect::<Vec<_>>(), ["WATCHDOG_PID"]);
    }

    #[test]
    fn deployment_settings_are_trimmed() {
        assert_eq!(sorted().deployment("GATEWAY_RELAY_SECRET"), Some("s"));
    }

    #[test]
    fn the_host_of_the_grant_is_found_where_it_is_sorted_to() {
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
