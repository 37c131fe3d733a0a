//! The identity of a gateway towards a connector: a token that proves its tenant.
//!
//! From client credentials if an identity provider is configured; else from the original's portal login; else from a token in the
//! settings. The portal's login is only read: its refresh token is valid for one use, which belongs to the original.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tracing::warn;

use super::post::{self, PostError};
use crate::files::workers::{Owner, TIMEOUT};
use crate::files::{FileWorker, Purpose, Symlinks, small};
use crate::http_client::HttpClient;

/// The original's file of logins, in a home.
pub const LOGIN_FILE: &str = "auth.json";
/// A login that expires within this time counts as expired; the original's margin.
const MARGIN_S: i64 = 120;
/// Far above any real file.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A source of the token.
#[derive(Debug, Clone)]
pub enum IdentitySource {
    /// An identity provider, by client credentials.
    Provider {
        /// Its token endpoint.
        token_url: String,
        /// The client's id.
        client_id: Option<String>,
        /// The client's secret.
        client_secret: Option<SecretString>,
        /// The requested scope.
        scope: Option<String>,
    },
    /// The portal's login in the first of these files that has one; else the token in the settings.
    Login {
        /// The files, in order of precedence.
        files: Vec<PathBuf>,
        /// `GATEWAY_RELAY_ACCESS_TOKEN`.
        configured_token: Option<SecretString>,
    },
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    /// There is no login and no token.
    #[error("there is no portal login")]
    NotLoggedIn,
    /// There is a login, but it has expired.
    #[error("the portal login has expired")]
    Expired,
    /// The provider is configured without client id or client secret.
    #[error("the identity provider is set, but its client id or client secret is not")]
    Incomplete,
    /// The provider's address is not usable.
    #[error("the address of the identity provider is not an http or https address")]
    Address,
    /// The provider did not answer.
    #[error("the identity provider cannot be reached: {0}")]
    Unreachable(PostError),
    /// The provider refused, or its answer has no token.
    #[error("the identity provider answered with status {0} and no token")]
    Refused(u16),
}

impl IdentitySource {
    /// The source in these settings, for a gateway of `home`.
    #[must_use]
    pub fn of<'a>(setting: &impl Fn(&'static str) -> Option<&'a str>, home: &Path) -> Self {
        if let Some(token_url) = setting("GATEWAY_RELAY_IDP_TOKEN_URL") {
            return Self::Provider {
                token_url: token_url.to_owned(),
                client_id: setting("GATEWAY_RELAY_IDP_CLIENT_ID").map(str::to_owned),
                client_secret: setting("GATEWAY_RELAY_IDP_CLIENT_SECRET").map(SecretString::from),
                scope: setting("GATEWAY_RELAY_IDP_SCOPE").map(str::to_owned),
            };
        }
        // A home of the form `…/profiles/<name>` uses the login of the home around it, as in the original.
        let above = home.parent().filter(|above| above.file_name().is_some_and(|name| name == "profiles"));
        let around = above.and_then(Path::parent).map(|around| around.join(LOGIN_FILE));
        Self::Login {
            files: std::iter::once(home.join(LOGIN_FILE)).chain(around).collect(),
            configured_token: setting("GATEWAY_RELAY_ACCESS_TOKEN").map(SecretString::from),
        }
    }

    /// Gets the token, as of `now_s` in seconds since 1970.
    ///
    /// # Errors
    /// [`NoIdentity`].
    pub async fn token(self, client: &HttpClient, now_s: i64) -> Result<SecretString, NoIdentity> {
        match self {
            Self::Provider { token_url, client_id, client_secret, scope } => {
                let (id, secret) = client_id.zip(client_secret).ok_or(NoIdentity::Incomplete)?;
                from_provider(client, &token_url, &id, &secret, scope.as_deref()).await
            }
            Self::Login { files, configured_token } => {
                let place = files.first().and_then(|file| file.parent()).unwrap_or(Path::new("/")).to_owned();
                let worker = FileWorker::of(&place, Purpose::Secrets, Owner::Profile);
                let found = worker.run(TIMEOUT, move || from_login(&files, now_s)).await;
                let found = found.unwrap_or_else(|error| {
                    warn!(%error, "the portal login cannot be read");
                    Err(NoIdentity::NotLoggedIn)
                });
                found.or_else(|reason| configured_token.ok_or(reason))
            }
        }
    }
}

async fn from_provider(
    client: &HttpClient,
    token_url: &str,
    client_id: &str,
    client_secret: &SecretString,
    scope: Option<&str>,
) -> Result<SecretString, NoIdentity> {
    if !["https://", "http://"].iter().any(|scheme| token_url.starts_with(scheme)) {
        return Err(NoIdentity::Address);
    }
    let fields = [
        ("grant_type", Some("client_credentials")),
        ("client_id", Some(client_id)),
        ("client_secret", Some(client_secret.expose_secret())),
        ("scope", scope),
    ];
    let answer = post::form(client, token_url, encoded(&fields)).await.map_err(NoIdentity::Unreachable)?;
    let token = answer.text("access_token").map(str::trim).filter(|token| !token.is_empty());
    match token {
        Some(token) if answer.is_success() => Ok(token.into()),
        _ => Err(NoIdentity::Refused(answer.status)),
    }
}

/// A form in URL encoding; fields without a value are left out.
fn encoded(fields: &[(&str, Option<&str>)]) -> Bytes {
    let mut form = String::new();
    for (name, value) in fields {
        let Some(value) = value else { continue };
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => form.push(char::from(byte)),
                other => {
                    form.push('%');
                    form.push_str(&hex::encode_upper([other]));
                }
            }
        }
    }
    form.into()
}

/// The token of the first login that exists. Blocks.
fn from_login(files: &[PathBuf], now_s: i64) -> Result<SecretString, NoIdentity> {
    let login = files.iter().find_map(|file| login(&read(file)?)).ok_or(NoIdentity::NotLoggedIn)?;
    let Login { token, expires_s } = login;
    match token {
        None => Err(NoIdentity::NotLoggedIn),
        Some(token) if expires_s.is_some_and(|then| then > now_s.saturating_add(MARGIN_S)) => Ok(token),
        Some(_) => Err(NoIdentity::Expired),
    }
}

fn read(file: &Path) -> Option<Value> {
    match small::read(file, MAX_BYTES, Symlinks::Follow) {
        Ok(contents) => serde_json::from_slice(&contents.bytes).ok(),
        Err(error) if error.is_missing() => None,
        Err(error) => {
            warn!(%error, "the portal login cannot be read");
            None
        }
    }
}

struct Login {
    token: Option<SecretString>,
    /// An unknown expiry counts as expired, as in the original.
    expires_s: Option<i64>,
}

/// The portal's login in a file of the current or the former form.
fn login(file: &Value) -> Option<Login> {
    let present = file.get("providers").and_then(|providers| providers.get("nous"));
    let former = || file.get("systems").and_then(|systems| systems.get("nous_portal"));
    let state = present.or_else(former).filter(|state| state.as_object().is_some_and(|state| !state.is_empty()))?;
    let text = |name: &str| state.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    Some(Login { token: text("access_token").map(Into::into), expires_s: text("expires_at").and_then(seconds) })
}

/// Seconds since 1970; a timestamp without a zone is in UTC.
fn seconds(stamp: &str) -> Option<i64> {
    let zoned = stamp.parse::<jiff::Timestamp>();
    zoned.or_else(|_| format!("{stamp}Z").parse()).ok().map(jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn taken(file: &Value, now_s: i64) -> Result<String, NoIdentity> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(LOGIN_FILE);
        fs::write(&path, file.to_string()).unwrap();
        from_login(&[home.path().join("missing"), path], now_s).map(|token| token.expose_secret().to_owned())
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is written where it is used")]
    fn nous(state: Value) -> Value {
        json!({"version": 1, "providers": {"nous": state, "other": {"access_token": "not this"}}})
    }

    #[test]
    fn a_login_is_used_until_two_minutes_before_its_end() {
        let file = nous(json!({"access_token": "a", "expires_at": "1970-01-01T01:00:00.5+00:00"}));
        assert_eq!(taken(&file, 3_600 - MARGIN_S - 1), Ok("a".into()));
        assert_eq!(taken(&file, 3_600 - MARGIN_S), Err(NoIdentity::Expired));
        let naive = nous(json!({"access_token": "a", "expires_at": "1970-01-01T01:00:00"}));
        assert_eq!(taken(&naive, 0), Ok("a".into()));
        let former = json!({"systems": {"nous_portal": {"access_token": "b", "expires_at": "1970-01-01T01:00:00Z"}}});
        assert_eq!(taken(&former, 0), Ok("b".into()));
    }

    #[test]
    fn a_login_without_an_expiry_has_expired_and_one_without_a_token_is_ignored() {
        assert_eq!(taken(&nous(json!({"access_token": "a"})), 0), Err(NoIdentity::Expired));
        assert_eq!(taken(&nous(json!({"expires_at": "2099-01-01T00:00:00Z"})), 0), Err(NoIdentity::NotLoggedIn));
        for file in [nous(json!({})), nous(json!(7)), json!({}), json!("x"), json!({"providers": []})] {
            assert_eq!(taken(&file, 0), Err(NoIdentity::NotLoggedIn), "{file}");
        }
    }

    #[test]
    fn a_provider_takes_precedence_over_a_login_and_a_profiles_home_uses_the_login_of_the_home_around_it() {
        let set = |name: &'static str| (name == "GATEWAY_RELAY_IDP_TOKEN_URL").then_some("https://idp.example/token");
        assert!(matches!(IdentitySource::of(&set, Path::new("/h")), IdentitySource::Provider { client_id: None, .. }));
        let IdentitySource::Login { files, .. } = IdentitySource::of(&|_| None, Path::new("/h/profiles/work")) else {
            panic!("there is no provider")
        };
        assert_eq!(files, [Path::new("/h/profiles/work/auth.json"), Path::new("/h/auth.json")]);
    }

    #[test]
    fn a_form_holds_any_value() {
        let form = encoded(&[("a", Some("x y&=ä~")), ("b", None), ("c", Some(""))]);
        assert_eq!(form, "a=x%20y%26%3D%C3%A4~&c=");
    }
}
