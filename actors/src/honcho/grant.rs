//! One grant, as in a host's block of `honcho.json`.

use std::hash::{Hash, Hasher};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::secret_json::SecretJson;
use caduceus_contract::json::non_empty_text;
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
    /// In unix milliseconds: a file of the original may hold a fraction of a second, and any number.
    pub expires_at_ms: i128,
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
        let text = |name| non_empty_text(oauth, name);
        let or = |name, default: &str| text(name).unwrap_or(default).to_owned();
        let access_token = block.get("apiKey")?.as_str().filter(|key| is_access_token(key))?;
        Some(Self {
            access_token: access_token.into(),
            refresh_token: text("refreshToken")?.into(),
            expires_at_ms: oauth.get("expiresAt").and_then(seconds).map_or(0, in_millis),
            client_id: text("clientId")?.to_owned(),
            token_endpoint: text("tokenEndpoint")?.to_owned(),
            scope: or("scope", "write"),
            token_type: or("tokenType", "Bearer"),
        })
    }

    /// The `oauth` block of the file; the access token is beside it as `apiKey`.
    #[must_use]
    pub fn oauth_block(&self) -> SecretJson {
        SecretJson::new(json!({
            "refreshToken": self.refresh_token.expose_secret(),
            // Whole seconds are written, as the original does.
            "expiresAt": saturated(self.expires_at_ms / 1_000),
            "clientId": self.client_id,
            "tokenEndpoint": self.token_endpoint,
            "scope": self.scope,
            "tokenType": self.token_type,
        }))
    }

    /// Whether both expire in the same second; a file may have whole seconds only.
    #[must_use]
    pub(super) fn expires_with(&self, other: &Self) -> bool {
        self.expires_at_ms.div_euclid(1_000) == other.expires_at_ms.div_euclid(1_000)
    }

    /// Whether the access token expires within [`EXPIRY_SKEW_S`] of `now_ms` (unix milliseconds).
    #[must_use]
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.left_ms(now_ms) <= i64::from(EXPIRY_SKEW_S) * 1_000
    }

    /// Milliseconds that the access token has to live at `now_ms`; negative when it has expired.
    #[must_use]
    pub fn left_ms(&self, now_ms: i64) -> i64 {
        saturated(self.expires_at_ms.saturating_sub(now_ms.into()))
    }

    /// All of its texts, secrets among them.
    fn texts(&self) -> [&str; 6] {
        let Self { access_token, refresh_token, expires_at_ms: _, client_id, token_endpoint, scope, token_type } = self;
        let (access, refresh) = (access_token.expose_secret(), refresh_token.expose_secret());
        [access, refresh, client_id, token_endpoint, scope, token_type]
    }
}

impl PartialEq for Grant {
    fn eq(&self, other: &Self) -> bool {
        (self.expires_at_ms, self.texts()) == (other.expires_at_ms, other.texts())
    }
}

impl Eq for Grant {}

impl Hash for Grant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.expires_at_ms, self.texts()).hash(state);
    }
}

fn saturated(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

/// Rounds towards zero, as whole seconds are written.
#[expect(clippy::cast_possible_truncation, reason = "a cast saturates, and the rest is a fraction of a second")]
fn in_millis(seconds: f64) -> i128 {
    let fraction = ((seconds.fract() * 1_000.0) as i128).clamp(-999, 999);
    (seconds.trunc() as i128).saturating_mul(1_000).saturating_add(fraction)
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

/// A number, or a number as text in the forms that the original accepts. Anything else counts as expired long ago,
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
        let expired = |block: &Value, now_s: i64| Grant::from_block(block).unwrap().is_expired(now_s * 1_000);
        assert!(!expired(&block, 879) && expired(&block, 880));
        block["oauth"]["expiresAt"] = json!("1000.7");
        assert!(!expired(&block, 880) && expired(&block, 881));
        block["oauth"]["expiresAt"] = json!(" 1_000.7\n");
        assert!(!expired(&block, 880) && expired(&block, 881));
        for odd in [json!("inf"), json!("soon"), json!("1__0"), json!("_1"), json!([]), Value::Null] {
            block["oauth"]["expiresAt"] = odd;
            assert_eq!(Grant::from_block(&block).unwrap().oauth_block()["expiresAt"], 0);
        }
    }

    #[test]
    fn an_incomplete_block_is_no_grant() {
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
