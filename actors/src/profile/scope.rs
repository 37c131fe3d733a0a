//! The values of one profile: its own, and the settings it takes from the process.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::env_file::EnvFile;
use super::globals::{is_deployment, is_global, is_own};
use crate::settings::Environment;

/// The values of one profile. `Debug` shows names only; the values are wiped on drop.
#[derive(Default)]
pub(super) struct Scope {
    /// Its `.env` and, if it is the only profile of the process, the rest of the environment.
    values: BTreeMap<String, SecretString>,
    /// Settings of the deployment, for its own use and never for a child; in order of precedence.
    deployment: Vec<BTreeMap<String, SecretString>>,
    /// The credentials that a connector provisioned; they take precedence over everything configured.
    provisioned: BTreeMap<String, SecretString>,
}

/// The values that a profile inherits from the process besides its own `.env`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inherited<'a> {
    /// The environment of the process.
    pub(super) environment: &'a Environment,
    /// The relay settings in `config.yaml`.
    pub(super) relay: &'a BTreeMap<&'static str, SecretString>,
    /// Whether this process has other profiles: then the rest of the environment belongs to none of them.
    pub(super) shared: bool,
}

impl Scope {
    /// The scope of a profile. Only the one whose home is the gateway's receives `inherited`.
    #[must_use]
    pub(super) fn new(own: &EnvFile, inherited: Option<Inherited<'_>>) -> Self {
        let mut scope = Self::default();
        if let Some(inherited) = inherited {
            if !inherited.shared {
                scope.values.clone_from(inherited.environment.rest.values());
            }
            let configured = inherited.relay.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            scope.deployment = vec![inherited.environment.deployment.values().clone(), configured.collect()];
        }
        // The profile's own values take precedence.
        scope.values.extend(own.iter().map(|(name, value)| (name.to_owned(), value.clone())));
        scope
    }

    /// Stores the provisioned credentials, in place of the former ones.
    pub(super) fn provision(&mut self, given: BTreeMap<String, SecretString>) {
        self.provisioned = given;
    }

    /// The value of a `${NAME}`; a blank one counts as unset. Names of the process and of its deployment cannot be
    /// referred to.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> Option<&SecretString> {
        let ours = !is_global(name) && !is_deployment(name) && !is_own(name);
        self.values.get(name).filter(|value| ours && full(value))
    }

    /// A setting of the deployment, trimmed: as provisioned, else from `.env`, then the environment, then the configuration. Blank
    /// counts as unset.
    #[must_use]
    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        let mut places = [&self.provisioned, &self.values].into_iter().chain(&self.deployment);
        let found = places.find_map(|place| place.get(name).filter(|value| full(value)));
        found.map(|value| value.expose_secret().trim())
    }

    /// The same for a profile with a link of its own: from its `.env` alone.
    #[must_use]
    pub(super) fn own_setting(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.expose_secret().trim()).filter(|value| !value.is_empty())
    }

    /// Names and values, sorted by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Everything that must not appear in a log: all values, and of the deployment's settings the credentials.
    pub(super) fn secrets(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        let everything = [&self.values, &self.provisioned].into_iter().chain(&self.deployment).flatten();
        everything.map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| is_secret(name))
    }

    /// The names whose values differ in `now`: added, changed, removed.
    pub(super) fn changes<'a>(&'a self, now: &'a Self) -> [Vec<&'a str>; 3] {
        let lacks = |scope: &Self, name: &str| !scope.values.contains_key(name);
        let differs = |name: &String, value: &SecretString| {
            self.values.get(name).is_some_and(|before| before.expose_secret() != value.expose_secret())
        };
        [
            now.values.keys().filter(|name| lacks(self, name)).map(String::as_str).collect(),
            now.values.iter().filter(|(name, value)| differs(name, value)).map(|(name, _)| name.as_str()).collect(),
            self.values.keys().filter(|name| lacks(now, name)).map(String::as_str).collect(),
        ]
    }

    /// The names.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}

fn full(value: &SecretString) -> bool {
    !value.expose_secret().trim().is_empty()
}

/// Of the deployment's names only these are secrets; redacting a platform's name everywhere would make logs unreadable.
fn is_secret(name: &str) -> bool {
    let credential = || ["SECRET", "KEY", "TOKEN"].iter().any(|end| name.ends_with(end));
    !is_global(name) && (!is_deployment(name) || credential())
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.values.keys().map(|name| (name, format_args!("[redacted]")))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::env_file::parse;

    fn environment() -> Environment {
        let variables = [("PATH", "/bin"), ("OPENAI_API_KEY", "of the process"), ("GATEWAY_RELAY_ID", "gw-env")];
        Environment::sort(variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    fn shown<'a>(scope: &'a Scope, name: &str) -> Option<&'a str> {
        scope.get(name).map(ExposeSecret::expose_secret)
    }

    fn inherited<'a>(
        environment: &'a Environment,
        relay: &'a BTreeMap<&'static str, SecretString>,
        shared: bool,
    ) -> Inherited<'a> {
        Inherited { environment, relay, shared }
    }

    #[test]
    fn a_single_profile_has_the_environment_and_its_own_file_overrides_it() {
        let (environment, relay) = (environment(), BTreeMap::new());
        let alone = inherited(&environment, &relay, false);
        assert_eq!(shown(&Scope::new(&parse(""), Some(alone)), "OPENAI_API_KEY"), Some("of the process"));
        assert_eq!(shown(&Scope::new(&parse("OPENAI_API_KEY=mine"), Some(alone)), "OPENAI_API_KEY"), Some("mine"));
    }

    #[test]
    fn with_several_profiles_none_has_the_environment() {
        let (environment, relay) = (environment(), BTreeMap::new());
        let scope = Scope::new(&parse("A=1"), Some(inherited(&environment, &relay, true)));
        assert_eq!(shown(&scope, "OPENAI_API_KEY"), None);
        assert_eq!(scope.len(), 1);
    }

    #[test]
    fn a_named_profile_inherits_nothing() {
        let scope = Scope::new(&parse("A=1"), None);
        assert_eq!(scope.setting("GATEWAY_RELAY_ID"), None);
        assert_eq!(shown(&scope, "A"), Some("1"));
    }

    #[test]
    fn a_relay_setting_is_read_from_the_file_then_the_environment_then_the_configuration() {
        let environment = environment();
        let relay = BTreeMap::from([
            ("GATEWAY_RELAY_ID", SecretString::from("gw-config")),
            ("GATEWAY_RELAY_URL", SecretString::from(" wss://config ")),
        ]);
        let inherited = inherited(&environment, &relay, true);
        assert_eq!(
            Scope::new(&parse("GATEWAY_RELAY_ID=gw-file"), Some(inherited)).setting("GATEWAY_RELAY_ID"),
            Some("gw-file")
        );
        let blank = Scope::new(&parse("GATEWAY_RELAY_ID="), Some(inherited));
        assert_eq!(blank.setting("GATEWAY_RELAY_ID"), Some("gw-env"));
        assert_eq!(blank.setting("GATEWAY_RELAY_URL"), Some("wss://config"));
    }

    #[test]
    fn names_of_the_deployment_and_of_the_process_cannot_be_referenced() {
        let scope = Scope::new(&parse("GATEWAY_RELAY_SECRET=s\nPATH=/evil\nCADUCEUS_TURN_ID=x"), None);
        for name in ["GATEWAY_RELAY_SECRET", "PATH", "CADUCEUS_TURN_ID"] {
            assert!(scope.get(name).is_none(), "{name}");
        }
    }

    #[test]
    fn secrets_include_the_relays_secret_and_not_its_platform() {
        let scope = Scope::new(&parse("GATEWAY_RELAY_SECRET=s\nGATEWAY_RELAY_PLATFORM=telegram\nA=1"), None);
        assert_eq!(scope.secrets().map(|(name, _)| name).collect::<Vec<_>>(), ["A", "GATEWAY_RELAY_SECRET"]);
    }

    #[test]
    fn provisioned_credentials_take_precedence_are_redacted_and_reach_no_child() {
        let mut scope = Scope::new(&parse("GATEWAY_RELAY_ID=pinned"), None);
        let given = [("GATEWAY_RELAY_ID", "given"), ("GATEWAY_RELAY_SECRET", "s")];
        scope.provision(given.map(|(name, value)| (name.to_owned(), value.into())).into());
        assert_eq!(scope.setting("GATEWAY_RELAY_ID"), Some("given"));
        assert!(scope.secrets().any(|(name, _)| name == "GATEWAY_RELAY_SECRET"));
        assert_eq!(scope.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["GATEWAY_RELAY_ID"]);
        scope.provision(BTreeMap::new());
        assert_eq!(scope.setting("GATEWAY_RELAY_ID"), Some("pinned"));
    }

    #[test]
    fn a_blank_value_counts_as_unset() {
        for blank in ["K=", "K=''", "K=\" \"", "K=value\nK="] {
            assert!(Scope::new(&parse(blank), None).get("K").is_none(), "{blank}");
        }
        assert!(Scope::new(&parse("K=\nK=value"), None).get("K").is_some());
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", Scope::new(&parse("A=hunter2-hunter2"), None)), "{\"A\": [redacted]}");
    }
}
