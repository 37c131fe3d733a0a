//! Which names belong to the process and which to a profile. In doubt, a name is a profile's secret.

use crate::nearest::distance;

/// Names of the process, by the original's list: settings, not credentials.
const GLOBAL: [&str; 21] = [
    "HERMES_HOME",
    "HERMES_PROFILE",
    "HERMES_GATEWAY_LOCK_DIR",
    "HERMES_MAX_ITERATIONS",
    "HERMES_MAX_TOKENS",
    "HERMES_API_TIMEOUT",
    "HERMES_REDACT_SECRETS",
    "HERMES_NOUS_TIMEOUT_SECONDS",
    "_HERMES_GATEWAY",
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "PWD",
    "SHELL",
    "TMPDIR",
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "SSL_CERT_FILE",
];

/// Prefixes of such names.
const GLOBAL_PREFIXES: [&str; 3] = ["HERMES_KANBAN_", "HERMES_TELEGRAM_", "TERMINAL_"];

/// Credentials of the deployment itself.
const DEPLOYMENT: &str = "HERMES_DASHBOARD_DRAIN_SECRET";

/// Prefixes of such names.
const DEPLOYMENT_PREFIXES: [&str; 2] = ["GATEWAY_RELAY_", "HONCHO_OAUTH_"];

/// Names that the gateway reads from a `.env`, candidates for the nearest name to an unknown one.
const READ: [&str; 26] = [
    "GATEWAY_MULTIPLEX_PROFILES",
    "GATEWAY_RELAY_ACCESS_TOKEN",
    "GATEWAY_RELAY_BOT_ID",
    "GATEWAY_RELAY_BOT_IDS",
    "GATEWAY_RELAY_CA_FILE",
    "GATEWAY_RELAY_DELIVERY_KEY",
    "GATEWAY_RELAY_ENDPOINT",
    "GATEWAY_RELAY_ENROLL_TOKEN",
    "GATEWAY_RELAY_ID",
    "GATEWAY_RELAY_IDP_CLIENT_ID",
    "GATEWAY_RELAY_IDP_CLIENT_SECRET",
    "GATEWAY_RELAY_IDP_SCOPE",
    "GATEWAY_RELAY_IDP_TOKEN_URL",
    "GATEWAY_RELAY_INSTANCE_ID",
    "GATEWAY_RELAY_PLATFORM",
    "GATEWAY_RELAY_PLATFORMS",
    "GATEWAY_RELAY_ROUTE_KEYS",
    "GATEWAY_RELAY_SECRET",
    "GATEWAY_RELAY_URL",
    "GATEWAY_RELAY_WAKE_URL",
    "HERMES_DASHBOARD_DRAIN_SECRET",
    "HERMES_HONCHO_HOST",
    "HERMES_HOME",
    "HERMES_PROFILE",
    "HONCHO_API_KEY",
    "HONCHO_BASE_URL",
];

/// Edit distance up to which a name counts as mistyped; a transposition is two.
const MISTYPED: usize = 2;

/// The known name nearest to the unknown `name`: one of those that the gateway reads, or of `needed`.
#[must_use]
pub fn nearest_known<'a>(name: &str, needed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let needed: Vec<&str> = needed.into_iter().collect();
    if READ.contains(&name) || needed.contains(&name) {
        return None;
    }
    // Short names are near to everything, unless only the case of their letters differs.
    let near = |known: &&str| {
        let apart = distance(&name.to_uppercase(), &known.to_uppercase());
        apart == 0 || (apart <= MISTYPED && known.len() >= 8)
    };
    let known = READ.into_iter().chain(needed).filter(near);
    known.min_by_key(|known| distance(&name.to_uppercase(), &known.to_uppercase()))
}

/// Whether `name` is a relay name that nothing reads.
#[must_use]
pub fn is_unused(name: &str) -> bool {
    name.starts_with("GATEWAY_RELAY_") && !READ.contains(&name)
}

/// Whether `name` is read from the process environment even when a `.env` sets it.
#[must_use]
pub fn is_global(name: &str) -> bool {
    GLOBAL.contains(&name) || begins_with_one(name, &GLOBAL_PREFIXES)
}

/// Whether `name` is the deployment's: read once from the process environment for the default profile or
/// the HTTP authenticator, and given to no child and no named profile.
#[must_use]
pub fn is_deployment(name: &str) -> bool {
    name == DEPLOYMENT || begins_with_one(name, &DEPLOYMENT_PREFIXES)
}

/// Whether `name` controls this process itself. Such a name is passed to no child.
#[must_use]
pub fn is_own(name: &str) -> bool {
    matches!(name, "RUST_LOG" | "NOTIFY_SOCKET" | "WATCHDOG_USEC" | "WATCHDOG_PID") || name.starts_with("CADUCEUS_")
}

/// Whether a process can have this variable: no NUL, `=` or white space in the name, no NUL in the value.
#[must_use]
pub fn is_valid_variable(name: &str, value: &str) -> bool {
    let bad = |c: char| c == '\0' || c == '=' || c.is_whitespace();
    !name.is_empty() && !name.contains(bad) && !value.contains('\0')
}

fn begins_with_one(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_yields_the_nearest_known_name_and_an_unrelated_one_none() {
        for (typed, meant) in [
            ("GATEWAY_RELAY_SECERT", Some("GATEWAY_RELAY_SECRET")),
            ("GATEWAY_RELY_URL", Some("GATEWAY_RELAY_URL")),
            ("gateway_relay_url", Some("GATEWAY_RELAY_URL")),
            ("OPENAI_API_KEI", Some("OPENAI_API_KEY")),
            ("k", Some("K")),
            ("GATEWAY_RELAY_ID", None),
            ("GATEWAY_RELAY_IDX", Some("GATEWAY_RELAY_ID")),
            ("L", None),
            ("STRIPE_SECRET", None),
            ("OPENAI_API_KEY", None),
        ] {
            assert_eq!(nearest_known(typed, ["OPENAI_API_KEY", "K"]), meant, "{typed}");
        }
        assert!(is_unused("GATEWAY_RELAY_TOKEN") && !is_unused("GATEWAY_RELAY_URL") && !is_unused("TOKEN"));
    }

    #[test]
    fn credentials_of_the_deployment_are_not_global() {
        for name in ["GATEWAY_RELAY_SECRET", "HERMES_DASHBOARD_DRAIN_SECRET", "HONCHO_OAUTH_CLIENT_ID"] {
            assert!(is_deployment(name) && !is_global(name), "{name}");
        }
        assert!(!is_deployment("HERMES_DASHBOARD_DRAIN_SECRET_2") && !is_deployment("OPENAI_API_KEY"));
        assert!(is_own("CADUCEUS_TURN_ID") && is_own("NOTIFY_SOCKET") && !is_own("PATH"));
    }

    #[test]
    fn a_child_receives_no_invalid_variable() {
        assert!(is_valid_variable("A", "") && is_valid_variable("K-1", "a=b c\n"));
        for (name, value) in [("", "x"), ("A B", "x"), ("A=", "x"), ("A\0", "x"), ("A", "x\0"), ("A\u{a0}", "x")] {
            assert!(!is_valid_variable(name, value), "{name:?}");
        }
    }
}
