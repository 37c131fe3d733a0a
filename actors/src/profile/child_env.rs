//! The environment of a turn's child, built from an empty one.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::globals::{is_deployment, is_global, is_own, is_valid_variable};
use super::scope::Scope;
use crate::settings::Environment;
use caduceus_contract::profile_name::ProfileName;

/// The name of the grant's access token in a child.
pub const HONCHO_API_KEY: &str = "HONCHO_API_KEY";

/// The name of the turn's id in a child and in everything it starts.
pub const TURN_ID: &str = "CADUCEUS_TURN_ID";

/// The turn and profile in the child's environment.
#[derive(Debug, Clone, Copy)]
pub struct ChildContext<'a> {
    /// The profile.
    pub profile: &'a ProfileName,
    /// Its home.
    pub home: &'a Path,
    /// The turn.
    pub turn: &'a str,
    /// The session, as on the wire.
    pub session: &'a str,
    /// The number of this attempt at the event, from 1.
    pub attempt: u32,
    /// The grant's access token, if there is a grant.
    pub token: Option<&'a SecretString>,
}

/// Names and values for a child, sorted by name. `passed` are further names of the process that it receives.
///
/// Names of the deployment and of this process are left out, and so is what a process cannot have.
#[must_use]
pub(super) fn child_env(
    environment: &Environment,
    passed: &[String],
    scope: &Scope,
    context: &ChildContext<'_>,
) -> BTreeMap<String, SecretString> {
    let mut child = BTreeMap::new();
    child.extend(scope.iter().filter(|(name, _)| is_the_profiles(name)).map(owned));
    // After the profile's own values, which cannot override them.
    child.extend(self::passed(environment, passed).map(owned));
    child.extend(environment.globals.iter().map(|(name, value)| (name.clone(), SecretString::from(value.as_str()))));
    if let Some(token) = context.token {
        child.insert(HONCHO_API_KEY.to_owned(), token.clone());
    }
    let home = context.home.to_string_lossy();
    let attempt = context.attempt.to_string();
    let turn_values = [
        ("HERMES_HOME", &*home),
        ("HERMES_PROFILE", context.profile.as_str()),
        (TURN_ID, context.turn),
        ("CADUCEUS_SESSION_KEY", context.session),
        ("CADUCEUS_ATTEMPT", &attempt),
    ];
    child.extend(turn_values.map(|(name, value)| (name.to_owned(), SecretString::from(value))));
    child.retain(|name, value| is_valid_variable(name, value.expose_secret()));
    child
}

fn is_the_profiles(name: &str) -> bool {
    !is_global(name) && !is_deployment(name) && !is_own(name)
}

/// The process's values of further names for a child. Names of the deployment and of the process itself are left out.
pub(super) fn passed<'a>(
    environment: &'a Environment,
    names: &'a [String],
) -> impl Iterator<Item = (&'a str, &'a SecretString)> {
    let allowed = names.iter().map(String::as_str).filter(|name| !is_deployment(name) && !is_own(name));
    allowed.filter_map(|name| Some((name, environment.rest.get(name)?)))
}

fn owned((name, value): (&str, &SecretString)) -> (String, SecretString) {
    (name.to_owned(), value.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::env_file::parse;

    fn process() -> Environment {
        let variables = [
            ("PATH", "/usr/bin"),
            ("HERMES_HOME", "/of/the/process"),
            ("OPENAI_API_KEY", "of the process"),
            ("HTTPS_PROXY", "proxy"),
            ("GATEWAY_RELAY_SECRET", "relay secret"),
            ("NOTIFY_SOCKET", "/run/notify"),
        ];
        Environment::sort(variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    fn child(env_file: &str, passed: &[&str], token: Option<&str>) -> BTreeMap<String, String> {
        let token = token.map(SecretString::from);
        let name = ProfileName::parse("work").unwrap();
        let context = ChildContext {
            profile: &name,
            home: Path::new("/home/profiles/work"),
            turn: "turn-1",
            session: "agent:work:discord:dm:1",
            attempt: 2,
            token: token.as_ref(),
        };
        let passed: Vec<String> = passed.iter().map(|name| (*name).to_owned()).collect();
        let built = child_env(&process(), &passed, &Scope::new(&parse(env_file), None), &context);
        built.into_iter().map(|(name, value)| (name, value.expose_secret().to_owned())).collect()
    }

    #[test]
    fn a_child_has_only_globals_its_profiles_secrets_and_the_turn() {
        let turn_values = [
            ("A_KEY", "1"),
            ("CADUCEUS_ATTEMPT", "2"),
            ("CADUCEUS_SESSION_KEY", "agent:work:discord:dm:1"),
            ("CADUCEUS_TURN_ID", "turn-1"),
            ("HERMES_HOME", "/home/profiles/work"),
            ("HERMES_PROFILE", "work"),
            ("PATH", "/usr/bin"),
        ];
        let turn_values = BTreeMap::from(turn_values.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(child("A_KEY=1", &[], None), turn_values);
    }

    #[test]
    fn globals_cannot_be_overridden_by_the_profile() {
        let built = child(
            "PATH=/evil\nHERMES_HOME=/evil\nHERMES_PROFILE=default\nLANG=evil\nHTTPS_PROXY=evil",
            &["HTTPS_PROXY"],
            None,
        );
        assert_eq!(built["PATH"], "/usr/bin");
        assert_eq!(built["HERMES_HOME"], "/home/profiles/work");
        assert_eq!(built["HERMES_PROFILE"], "work");
        assert_eq!(built["HTTPS_PROXY"], "proxy");
        assert!(!built.contains_key("LANG"), "a global that the process lacks is not the profile's to set");
    }

    #[test]
    fn no_child_gets_a_name_of_the_deployment_or_of_the_process_itself() {
        let file =
            "GATEWAY_RELAY_SECRET=own\nHONCHO_OAUTH_CLIENT_ID=x\nCADUCEUS_TURN_ID=x\nRUST_LOG=trace\nNOTIFY_SOCKET=x";
        let built = child(file, &["GATEWAY_RELAY_SECRET", "NOTIFY_SOCKET", "HERMES_DASHBOARD_DRAIN_SECRET"], None);
        for name in ["GATEWAY_RELAY_SECRET", "HONCHO_OAUTH_CLIENT_ID", "RUST_LOG", "NOTIFY_SOCKET"] {
            assert!(!built.contains_key(name), "{name}");
        }
        assert_eq!(built["CADUCEUS_TURN_ID"], "turn-1");
    }

    #[test]
    fn the_grants_token_overrides_the_file_and_is_absent_without_a_grant() {
        assert_eq!(child("HONCHO_API_KEY=old", &[], Some("fresh"))[HONCHO_API_KEY], "fresh");
        assert_eq!(child("HONCHO_API_KEY=old", &[], None)[HONCHO_API_KEY], "old");
        assert!(!child("", &[], None).contains_key(HONCHO_API_KEY));
    }

    #[test]
    fn invalid_variables_are_left_out() {
        let file = "A B=1\nC=nul\0here\nGOOD=1\nPATH=x";
        assert!(child(file, &[], None).contains_key("GOOD"));
        assert!(!child(file, &[], None).contains_key("A B") && !child(file, &[], None).contains_key("C"));
    }

    proptest! {
        #[test]
        fn no_file_yields_an_invalid_environment(text in "(?s).{0,200}") {
            for (name, value) in child(&text, &[], None) {
                prop_assert!(is_valid_variable(&name, &value));
            }
        }
    }
}
