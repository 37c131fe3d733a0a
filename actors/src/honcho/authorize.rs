//! The login: the address for the browser, its parameters, and the meaning of the callback. No I/O; randomness is passed in.
//!
//! Without the `oauth2` crate: it needs `sha2` 0.10, `rand` 0.8 and `chrono` in addition to the present versions, all of them second
//! versions of existing dependencies, for one hash and one address. Its answers are not usable either, see `exchange`.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use url::{Host, Url};

use super::file::HonchoFile;
use crate::settings::Environment;

/// The login address, of the cloud service and of one on this machine.
const DASHBOARDS: [&str; 2] = ["https://app.honcho.dev", "http://localhost:3000"];
/// The token endpoint, likewise.
const TOKEN_URLS: [&str; 2] = ["https://api.honcho.dev/oauth/token", "http://localhost:8000/oauth/token"];
/// The client id, registered at the authorization server.
const CLIENT_ID: &str = "hermes-agent";
/// The requested scope.
const SCOPE: &str = "write";
/// Identifies this client on the consent page.
const SOURCE: &str = "hermes-cli";

/// The endpoints and the client of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The address for the user's browser.
    pub authorize: Url,
    /// The token endpoint.
    pub token: Url,
    /// The client id.
    pub client_id: String,
    /// The requested scope.
    pub scope: String,
}

/// An address of the login is not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an http address")]
pub struct EndpointError(pub &'static str);

impl Endpoints {
    /// The endpoints for `host`: from the environment, else from the file's `environment` and `baseUrl`.
    ///
    /// # Errors
    /// [`EndpointError`], with the name of the address.
    pub fn resolve(environment: &Environment, file: &HonchoFile, host: &str) -> Result<Self, EndpointError> {
        let base_url = ["baseUrl", "base_url"].into_iter().find_map(|name| file.root_setting(name));
        let base_url = base_url.or_else(|| environment.honcho_base_url());
        let base = base_url.map(|text| http(text).ok_or(EndpointError("baseUrl"))).transpose()?;
        let local = file.setting(host, "environment").is_some_and(|word| word.eq_ignore_ascii_case("local"))
            || base.as_ref().is_some_and(is_loopback);
        let cloud_or_local = usize::from(local);
        let below = |base: &str, last: &str| format!("{}/{last}", base.trim_end_matches('/'));

        let dashboard = environment.honcho_oauth("HONCHO_OAUTH_DASHBOARD").unwrap_or(DASHBOARDS[cloud_or_local]);
        let named = environment.honcho_oauth("HONCHO_OAUTH_AUTHORIZE_URL").map(str::to_owned);
        let authorize = named.unwrap_or_else(|| below(dashboard, "authorize"));
        let default_token = match &base {
            Some(base) if !local => below(base.as_str(), "oauth/token"),
            _ => TOKEN_URLS[cloud_or_local].to_owned(),
        };
        let token = environment.honcho_oauth("HONCHO_OAUTH_TOKEN_URL").map_or(default_token, str::to_owned);
        Ok(Self {
            authorize: http(&authorize).ok_or(EndpointError("the address to log in at"))?,
            token: http(&token).ok_or(EndpointError("the address of the tokens"))?,
            client_id: environment.honcho_oauth("HONCHO_OAUTH_CLIENT_ID").unwrap_or(CLIENT_ID).to_owned(),
            scope: environment.honcho_oauth("HONCHO_OAUTH_SCOPE").unwrap_or(SCOPE).to_owned(),
        })
    }
}

/// One login in progress. The verifier leaves this process only for the token endpoint.
#[derive(Debug)]
pub struct LoginAttempt {
    state: String,
    verifier: SecretString,
    redirect: String,
}

/// The callback on the loopback address.
#[derive(Debug)]
pub enum LoginCallback {
    /// The user approved; the code is valid once.
    Approved(SecretString),
    /// The user, or the server, refused.
    Denied(String),
    /// It does not belong to this login.
    Foreign,
    /// It belongs to this login and has neither code nor error.
    Empty,
}

impl LoginAttempt {
    /// A login with the callback address `redirect`. `random` must not be used for anything else.
    #[must_use]
    pub fn new(redirect: String, random: &[u8; 64]) -> Self {
        let (state, verifier) = random.split_at(32);
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Self { state: text(state), verifier: text(verifier).into(), redirect }
    }

    /// The address for the user's browser. `shown_path` is only displayed.
    #[must_use]
    pub fn address(&self, endpoints: &Endpoints, shown_path: &str) -> Url {
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.expose_secret().as_bytes()));
        let mut address = endpoints.authorize.clone();
        address
            .query_pairs_mut()
            .append_pair("client_id", &endpoints.client_id)
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("scope", &endpoints.scope)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("response_type", "code")
            .append_pair("state", &self.state)
            .append_pair("source", SOURCE)
            .append_pair("config_path", shown_path);
        address
    }

    /// The meaning of a callback's query. Its state is checked first: a foreign callback is ignored.
    #[must_use]
    pub fn callback(&self, query: &str) -> LoginCallback {
        let find = |name: &str| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
        };
        if find("state").as_deref() != Some(&*self.state) {
            return LoginCallback::Foreign;
        }
        match (find("error"), find("code")) {
            (Some(error), _) => LoginCallback::Denied(word(&error)),
            (None, Some(code)) => LoginCallback::Approved(code.into()),
            (None, None) => LoginCallback::Empty,
        }
    }

    /// Proves at the token endpoint that the process that began the login ends it.
    #[must_use]
    pub fn verifier(&self) -> &SecretString {
        &self.verifier
    }

    /// The callback address.
    #[must_use]
    pub fn redirect(&self) -> &str {
        &self.redirect
    }
}

/// A path as shown to a service: below the user's home with `~`, else its last part, because the rest is private.
#[must_use]
pub fn shown_path(path: &Path, home: Option<&Path>) -> String {
    match home.and_then(|home| path.strip_prefix(home).ok()) {
        Some(below) => format!("~/{}", below.display()),
        None => path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
    }
}

/// The server's error, if it is a code of the protocol: an address may contain anything.
fn word(text: &str) -> String {
    let is_word = text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_word { text.to_owned() } else { "an error".to_owned() }
}

fn http(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn resolve(variables: &[(&str, &str)], file: &str) -> Endpoints {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Endpoints::resolve(&Environment::sort(variables), &HonchoFile::parse(file).unwrap(), "hermes").unwrap()
    }

    fn addresses(endpoints: &Endpoints) -> (&str, &str) {
        (endpoints.authorize.as_str(), endpoints.token.as_str())
    }

    #[test]
    fn the_file_selects_the_cloud_this_machine_or_a_self_hosted_service() {
        let cloud = resolve(&[], "{}");
        assert_eq!(addresses(&cloud), ("https://app.honcho.dev/authorize", "https://api.honcho.dev/oauth/token"));
        assert_eq!((cloud.client_id.as_str(), cloud.scope.as_str()), ("hermes-agent", "write"));
        let local = ("http://localhost:3000/authorize", "http://localhost:8000/oauth/token");
        for file in [
            r#"{"environment": "local"}"#,
            r#"{"environment": "production", "hosts": {"hermes": {"environment": "Local"}}}"#,
            r#"{"baseUrl": "http://127.0.0.1:8000"}"#,
        ] {
            assert_eq!(addresses(&resolve(&[], file)), local, "{file}");
        }
        let own = resolve(&[], r#"{"base_url": "https://honcho.example/"}"#);
        assert_eq!(addresses(&own), ("https://app.honcho.dev/authorize", "https://honcho.example/oauth/token"));
        let named = resolve(&[("HONCHO_BASE_URL", "https://h.example")], "{}");
        assert_eq!(named.token.as_str(), "https://h.example/oauth/token");
    }

    #[test]
    fn the_environment_overrides_the_file_and_a_blank_value_is_unset() {
        let all = resolve(
            &[
                ("HONCHO_OAUTH_AUTHORIZE_URL", "http://a.example/go?x=1"),
                ("HONCHO_OAUTH_TOKEN_URL", "http://t.example/"),
                ("HONCHO_OAUTH_CLIENT_ID", "me"),
                ("HONCHO_OAUTH_SCOPE", "read"),
            ],
            r#"{"environment": "local"}"#,
        );
        assert_eq!(addresses(&all), ("http://a.example/go?x=1", "http://t.example/"));
        assert_eq!((all.client_id.as_str(), all.scope.as_str()), ("me", "read"));
        let dashboard = [("HONCHO_OAUTH_DASHBOARD", "http://d.example/"), ("HONCHO_OAUTH_AUTHORIZE_URL", " ")];
        assert_eq!(resolve(&dashboard, "{}").authorize.as_str(), "http://d.example/authorize");
        let wrong = [("HONCHO_OAUTH_TOKEN_URL".to_owned(), "file:///etc/passwd".to_owned())];
        assert!(Endpoints::resolve(&Environment::sort(wrong), &HonchoFile::empty(), "hermes").is_err());
    }

    #[test]
    fn the_address_carries_the_challenge_and_never_the_verifier() {
        let attempt = LoginAttempt::new("http://127.0.0.1:8765/callback".to_owned(), &[7; 64]);
        let address = attempt.address(&resolve(&[], "{}"), "~/.honcho/config.json");
        let pairs: BTreeMap<String, String> = address.query_pairs().into_owned().collect();
        let expected = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(attempt.verifier.expose_secret()));
        assert_eq!((pairs["code_challenge"].as_str(), pairs["code_challenge_method"].as_str()), (&*expected, "S256"));
        assert_eq!(pairs["redirect_uri"], "http://127.0.0.1:8765/callback");
        assert_eq!((pairs["response_type"].as_str(), pairs["source"].as_str()), ("code", "hermes-cli"));
        let other = LoginAttempt::new(String::new(), &std::array::from_fn(|place| u8::try_from(place).unwrap()));
        assert!(other.verifier.expose_secret().len() >= 43, "as long as the protocol asks for");
        let shown = format!("{} {other:?}", other.address(&resolve(&[], "{}"), "x"));
        assert!(!shown.contains(other.verifier.expose_secret()), "{shown}");
    }

    #[test]
    fn a_callback_with_another_state_is_ignored() {
        let attempt = LoginAttempt::new(String::new(), &[7; 64]);
        let state = attempt.state.clone();
        for query in ["", "code=x", "state=&code=x", "state=other&error=access_denied", "code=x&STATE=1"] {
            assert!(matches!(attempt.callback(query), LoginCallback::Foreign), "{query}");
        }
        let callback = |rest: &str| attempt.callback(&format!("{rest}&state={state}"));
        assert!(matches!(callback("code=a%2Bb"), LoginCallback::Approved(code) if code.expose_secret() == "a+b"));
        assert!(
            matches!(callback("error=access_denied&code=x"), LoginCallback::Denied(word) if word == "access_denied")
        );
        assert!(matches!(callback("code="), LoginCallback::Empty));
        assert!(matches!(callback("error=%1B[2Jboo"), LoginCallback::Denied(word) if word == "an error"));
    }

    #[test]
    fn the_path_of_a_home_is_not_shown_to_the_service() {
        let home = Some(Path::new("/home/ann"));
        assert_eq!(shown_path(Path::new("/home/ann/.honcho/config.json"), home), "~/.honcho/config.json");
        assert_eq!(shown_path(Path::new("/srv/secret-name/honcho.json"), home), "honcho.json");
        assert_eq!(shown_path(Path::new("/srv/x/honcho.json"), None), "honcho.json");
    }
}
