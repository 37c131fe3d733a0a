//! One request to the HTTP side of a connector, or to an identity provider: small, bounded, answered by JSON.

use std::time::Duration;

use bytes::Bytes;
use caduceus_contract::wire::provisioning::ErrorBody;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;

use crate::http_client::{HttpCall, HttpClient, HttpError, HttpLimits};

/// Timeout of a request, from the name lookup to the end of the answer; the original's limit.
const LIMIT: Duration = Duration::from_secs(15);
/// Largest answer. Credentials have some hundred bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// Longest text of the server that is shown.
const MAX_SENTENCE: usize = 300;

/// The answer of a server. It may contain secrets, so it has no `Debug`.
pub struct PostResponse {
    /// The status code.
    pub status: u16,
    /// The JSON; null if there was none.
    pub body: Value,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// No connection, no answer in time, or a truncated one.
    #[error(transparent)]
    Unreachable(#[from] HttpError),
}

/// Sends `body` as JSON to `url`.
///
/// # Errors
/// [`PostError`] if no answer was received; a refusal is an answer.
///
/// # Panics
/// When `body` has no JSON form; the requests of `wire::provisioning` have one.
pub async fn json(
    client: &HttpClient,
    url: &str,
    bearer: &SecretString,
    body: &impl Serialize,
) -> Result<PostResponse, PostError> {
    let body = serde_json::to_string(body).expect("a request is texts, lists and flags");
    send(client, HttpCall::post(url, "application/json", body, limits()).bearer(bearer)?).await
}

/// Sends `form`, already encoded, to `url`.
///
/// # Errors
/// [`PostError`] if no answer was received.
pub async fn form(client: &HttpClient, url: &str, form: Bytes) -> Result<PostResponse, PostError> {
    send(client, HttpCall::post(url, "application/x-www-form-urlencoded", form, limits())).await
}

fn limits() -> HttpLimits {
    HttpLimits::within(LIMIT, MAX_ANSWER)
}

async fn send(client: &HttpClient, call: HttpCall) -> Result<PostResponse, PostError> {
    let collected = match client.send(call.accept("application/json")).await {
        // A redirect is an answer, and a refusal.
        Err(HttpError::Redirect { status, .. }) => return Ok(PostResponse { status, body: Value::Null }),
        sent => sent?.collect().await,
    };
    match (collected.json(), collected.status) {
        (Some(body), status) => Ok(PostResponse { status, body }),
        // A status is an answer, whatever its body; a success without a body is not.
        (None, status) if !collected.is_success() => Ok(PostResponse { status, body: Value::Null }),
        (None, status) => {
            collected.whole().map(|_| PostResponse { status, body: Value::Null }).map_err(PostError::from)
        }
    }
}

impl PostResponse {
    /// Whether the status is a success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A text of the answer; an empty one counts as absent.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The server's own text, if there is one: shortened, and without control characters for a terminal.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let text = ErrorBody::error_of(&self.body)?;
        let plain = |c: &char| !c.is_control();
        Some(text.chars().filter(plain).take(MAX_SENTENCE).collect()).filter(|text: &String| !text.trim().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_servers_text_is_shown_short_and_without_control_characters() {
        let sentence = |error: Value| PostResponse { status: 403, body: json!({"error": error}) }.sentence();
        assert_eq!(sentence(json!("tenant\u{1b}[2J mismatch\n")).as_deref(), Some("tenant[2J mismatch"));
        assert_eq!(sentence(json!("x".repeat(1_000))).unwrap().len(), MAX_SENTENCE);
        assert_eq!((sentence(json!(" ")), sentence(json!(7))), (None, None));
    }
}
