//! One grant, as in a host's block of `honcho.json`.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::secret_json::SecretJson;
use caduceus_contract::json::full_text;
use caduceus_contract::profile_name::ProfileName;

/// The beginning of an access token; any other key is a plain one and stays unchanged.
pub const ACCESS_PREFIX: &str = "hch-at-";

/// A token counts as expired this many seconds early, so that a request gets through.
pub const EXPIRY_SKEW_S: u32 = 120;

/// Host of the default profile.
const HOST: &str = "hermes";

/// A grant that can be refreshed. `Debug` shows no token; both are wiped on drop.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Used like an API key.
    pub access_token: SecretString,
    /// Valid for one exchange.
    pub refresh_token: SecretString,
    /// In unix seconds; a file of the original may have a fraction.
    pub expires_at_s: f64,
    /// The client it was granted to.
    pub client_id: String,
    /// The endpoint of its refresh.
    pub token_endpoint: String,
    /// Its scope.
    pub scope: String,
    /// The type of the token.
    pub token_type: String,
}

impl Grant {
    /// The grant in a host's block; `None` if anything is missing or the key is a plain one.
    #[must_use]
    pub fn from_block(block: &Value) -> Option<Self> {
        let oauth = block.get("oauth")?.as_object()?;
        let text = |name| full_text(oauth, name);
        let or = |name, default: &str| text(name).unwrap_or(default).to_owned();
        let access_token = block.get("apiKey")?.as_str().filter(|key| is_access_token(key))?;
        Some(Self {
            access_token: access_token.into(),
            refresh_token: text("refreshToken")?.into(),
            expires_at_s: oauth.get("expiresAt").and_then(seconds).unwrap_or(0.0),
            client_id: text("clientId")?.to_owned(),
            token_endpoint: text("tokenEndpoint")?.to_owned(),
            scope: or("scope", "write"),
            token_type: or("tokenType", "Bearer"),
        })
    }

    /// The `oauth` block of the file; the access token is beside it as `apiKey`.
    #[must_use]
    pub fn oauth_block(&self) -> SecretJson {
        #[expect(clippy::cast_possible_truncation, reason = "whole seconds are written, as the original does")]
        let expires_at = self.expires_at_s as i64;
        SecretJson::new(json!({
            "refreshToken": self.refresh_token.expose_secret(),
            "expiresAt": expires_at,
            "clientId": self.client_id,
            "tokenEndpoint": self.token_endpoint,
            "scope": self.scope,
            "tokenType": self.token_type,
        }))
    }

    /// Whether both expire in the same second; a file may have whole seconds only.
    #[must_use]
    pub(super) fn expires_with(&self, other: &Self) -> bool {
        (self.expires_at_s.floor() - other.expires_at_s.floor()).abs() < 0.5
    }

    /// Whether the access token expires within [`EXPIRY_SKEW_S`] of `now_s` (unix seconds).
    #[must_use]
    pub fn is_expired(&self, now_s: f64) -> bool {
        now_s >= self.expires_at_s - f64::from(EXPIRY_SKEW_S)
    }
}

/// Whether `key` is an access token of a grant, and not a plain key.
#[must_use]
pub fn is_access_token(key: &str) -> bool {
    key.starts_with(ACCESS_PREFIX)
}

/// The name of a profile's block in the file's `hosts`.
///
/// `explicit` is `HERMES_HONCHO_HOST` and `default_host` the file's `defaultHost`, which is not for named
/// profiles: they would all share one grant.
#[must_use]
pub fn host_name(explicit: Option<&str>, profile: &ProfileName, default_host: Option<&str>) -> String {
    let full = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(host) = full(explicit) {
        return host;
    }
    if !profile.is_default() && profile.as_str() != "custom" {
        return format!("{HOST}_{}", profile.as_str().trim_end_matches('_'));
    }
    full(default_host).unwrap_or_else(|| HOST.to_owned())
}

/// The older name of a profile's block, read when the current one is empty.
#[must_use]
pub fn older_host_name(host: &str) -> Option<String> {
    host.strip_prefix(HOST)?.strip_prefix('_').map(|profile| format!("{HOST}.{profile}"))
}

/// A number, or a number as text in the forms that the original reads. Anything else counts as expired long ago,
/// and so does an infinite one, which could not be written back.
fn seconds(value: &Value) -> Option<f64> {
    let seconds = match value {
        Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        Value::String(text) => without_separators(text.trim()).parse().ok(),
        other => other.as_f64(),
    };
    seconds.filter(|seconds| seconds.is_finite())
}

/// The text without the underscores between two digits.
fn without_separators(text: &str) -> String {
    let bytes = text.as_bytes();
    let is_digit = |place: Option<usize>| place.and_then(|place| bytes.get(place)).is_some_and(u8::is_ascii_digit);
    let separates =
        |place: usize| bytes[place] == b'_' && is_digit(place.checked_sub(1)) && is_digit(place.checked_add(1));
    text.char_indices().filter(|(place, _)| !separates(*place)).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Value {
        json!({"apiKey": "hch-at-aaa", "oauth": {
            "refreshToken": "hch-rt-bbb", "expiresAt": 1000, "clientId": "c", "tokenEndpoint": "t"}})
    }

    #[test]
    fn a_grant_expires_two_minutes_early_and_keeps_the_fraction() {
        let mut block = block();
        let expired = |block: &Value, now| Grant::from_block(block).unwrap().is_expired(now);
        assert!(!expired(&block, 879.0) && expired(&block, 880.0));
        block["oauth"]["expiresAt"] = json!("1000.7");
        assert!(!expired(&block, 880.0) && expired(&block, 881.0));
        block["oauth"]["expiresAt"] = json!(" 1_000.7\n");
        assert!(!expired(&block, 880.0) && expired(&block, 881.0));
        for odd in [json!("inf"), json!("soon"), json!("1__0"), json!("_1"), json!([]), Value::Null] {
            block["oauth"]["expiresAt"] = odd;
            assert_eq!(Grant::from_block(&block).unwrap().oauth_block()["expiresAt"], 0);
        }
    }

    #[test]
    fn what_is_incomplete_is_no_grant() {
        for (name, value) in [("refreshToken", json!("")), ("clientId", json!(7)), ("tokenEndpoint", Value::Null)] {
            let mut block = block();
            block["oauth"][name] = value;
            assert!(Grant::from_block(&block).is_none(), "{name}");
        }
        let mut block = block();
        block["oauth"]["scope"] = Value::Null;
        assert_eq!(Grant::from_block(&block).unwrap().scope, "write");
        block["apiKey"] = json!("plain");
        assert!(Grant::from_block(&block).is_none());
    }

    #[test]
    fn debug_shows_no_token() {
        let grant = Grant::from_block(&block()).unwrap();
        let shown = format!("{grant:?} {:?}", grant.oauth_block());
        assert!(!shown.contains("aaa") && !shown.contains("bbb"), "{shown}");
    }

    #[test]
    fn a_named_profile_never_takes_the_files_default_host() {
        let name = |text| ProfileName::parse(text).unwrap();
        let default = ProfileName::default_profile();
        assert_eq!(host_name(Some(" x "), &default, Some("y")), "x");
        assert_eq!(host_name(Some(" "), &default, Some("y")), "y");
        assert_eq!(host_name(None, &default, None), "hermes");
        assert_eq!(host_name(None, &name("custom"), None), "hermes");
        assert_eq!(host_name(None, &name("work_"), Some("y")), "hermes_work");
        assert_eq!(older_host_name("hermes_work").as_deref(), Some("hermes.work"));
        assert_eq!(older_host_name("hermes"), None);
    }
}
