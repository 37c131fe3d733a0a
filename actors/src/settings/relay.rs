//! The relay in `config.yaml`, and how HTTP calls are made.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::environment::{CA_FILE, Environment};
use super::home::env_file_of;
use crate::files::{Symlinks, small};
use crate::http_client::{HttpClient, Proxies, TlsRoots};

/// A bundle of all public authorities is about 250 KiB.
const MAX_AUTHORITY: u64 = 4 * 1024 * 1024;

/// The trusted authorities and the proxies of all HTTP calls. A broken setting is a warning and is not used.
pub(super) fn client(
    home: &Path,
    environment: &Environment,
    configured: Option<&str>,
    warnings: &mut Vec<String>,
) -> HttpClient {
    let own = env_file_of(home);
    // As in the original, the home's `.env` overrides the environment of the process.
    let proxies = Proxies::read(|name| own.get(name).cloned().or_else(|| environment.proxy(name)), warnings);
    let ca_file = own.get(CA_FILE).map(|file| file.expose_secret().trim().to_owned());
    HttpClient::new(
        roots(home, [ca_file, environment.relay_ca_file.clone(), configured.map(str::to_owned)], warnings),
        proxies,
    )
}

/// The same for a command that reads no settings: from the environment of the process only.
pub fn client_of_command(environment: &Environment, warnings: &mut Vec<String>) -> HttpClient {
    let proxies = Proxies::read(|name| environment.proxy(name), warnings);
    HttpClient::new(roots(Path::new(""), [None, environment.relay_ca_file.clone(), None], warnings), proxies)
}

fn roots(home: &Path, places: [Option<String>; 3], warnings: &mut Vec<String>) -> TlsRoots {
    let Some(file) = places.into_iter().flatten().find(|file| !file.is_empty()) else { return TlsRoots::default() };
    let path = home.join(file);
    let shown = path.display();
    let read = small::read(&path, MAX_AUTHORITY, Symlinks::Follow).map_err(|error| error.why.to_string());
    let roots = read.and_then(|pem| TlsRoots::with_authority(&pem.bytes).map_err(|error| error.to_string()));
    roots.unwrap_or_else(|reason| {
        warnings.push(format!("the relay's authority {shown} is not used: {reason}"));
        TlsRoots::default()
    })
}

/// The relay's keys under `gateway:`, by their names in the environment.
pub(super) fn original(original: &Map<String, Value>) -> BTreeMap<&'static str, SecretString> {
    const KEYS: [(&str, &[&str]); 12] = [
        ("GATEWAY_RELAY_URL", &["relay_url"]),
        ("GATEWAY_RELAY_ID", &["relay_id"]),
        ("GATEWAY_RELAY_SECRET", &["relay_secret"]),
        ("GATEWAY_RELAY_DELIVERY_KEY", &["relay_delivery_key"]),
        ("GATEWAY_RELAY_ENDPOINT", &["relay_endpoint"]),
        ("GATEWAY_RELAY_ROUTE_KEYS", &["relay_route_keys"]),
        ("GATEWAY_RELAY_INSTANCE_ID", &["relay_instance_id"]),
        ("GATEWAY_RELAY_WAKE_URL", &["relay_wake_url"]),
        ("GATEWAY_RELAY_IDP_TOKEN_URL", &["idp", "token_url"]),
        ("GATEWAY_RELAY_IDP_CLIENT_ID", &["idp", "client_id"]),
        ("GATEWAY_RELAY_IDP_CLIENT_SECRET", &["idp", "client_secret"]),
        ("GATEWAY_RELAY_IDP_SCOPE", &["idp", "scope"]),
    ];
    let text = |value: &Value| match value {
        Value::Array(items) => {
            let texts: Vec<String> =
                items.iter().filter_map(|item| caduceus_contract::json::identifier(Some(item))).collect();
            Some(texts.join(","))
        }
        value => caduceus_contract::json::identifier(Some(value)).map(|text| text.trim().to_owned()),
    };
    let gateway = original.get("gateway");
    let find = |path: &[&str]| {
        let found = path.iter().try_fold(gateway?, |value, key| value.get(key))?;
        text(found).filter(|text| !text.is_empty())
    };
    KEYS.into_iter().filter_map(|(name, path)| Some((name, find(path)?.into()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::settings::{InboundSettings, Settings};

    fn load(ours: &str) -> Result<Settings, String> {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("caduceus.yaml"), ours).unwrap();
        let variables = [("GATEWAY_RELAY_CA_FILE".to_owned(), "nowhere.pem".to_owned())];
        Settings::load(home.path(), Environment::sort(variables)).map_err(|error| error.to_string())
    }

    #[test]
    fn an_invalid_path_is_a_mistake() {
        assert_eq!(load("").unwrap().values.relay.inbound, InboundSettings::default());
        let set = &load("relay: {inbound: {path: /in/here/, bind: '127.0.0.1:1'}}").unwrap().values.relay.inbound;
        assert_eq!((set.path.as_str(), set.bind.unwrap().port()), ("/in/here", 1));
        for path in ["in", "/a//b", "/a{b}", "/a b", "/", "/ä"] {
            let mistake = load(&format!("relay: {{inbound: {{path: '{path}'}}}}")).unwrap_err();
            assert!(mistake.contains("relay.inbound.path"), "{path}: {mistake}");
        }
    }

    #[test]
    fn an_unreadable_authority_is_a_warning_and_does_not_stop_the_start() {
        let settings = load("").unwrap();
        assert!(settings.warnings.iter().any(|warning| warning.contains("nowhere.pem")), "{:?}", settings.warnings);
    }

    #[test]
    fn every_key_of_the_original_is_found_under_its_name() {
        let config = json!({"gateway": {
            "relay_url": " wss://c ", "relay_route_keys": ["a", 7], "relay_id": 12,
            "idp": {"token_url": "https://idp", "client_id": "c", "client_secret": "s", "scope": ""},
        }});
        let read = original(config.as_object().unwrap());
        let shown: Vec<_> = read.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
        assert_eq!(
            shown,
            [
                ("GATEWAY_RELAY_ID", "12"),
                ("GATEWAY_RELAY_IDP_CLIENT_ID", "c"),
                ("GATEWAY_RELAY_IDP_CLIENT_SECRET", "s"),
                ("GATEWAY_RELAY_IDP_TOKEN_URL", "https://idp"),
                ("GATEWAY_RELAY_ROUTE_KEYS", "a,7"),
                ("GATEWAY_RELAY_URL", "wss://c"),
            ]
        );
    }
}
