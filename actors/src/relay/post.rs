//! One request to the HTTP side of a connector, or to who says who we are: small, bounded, and answered by JSON.

use std::time::Duration;

use awc::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::trust::{NoRoots, Trust};

/// Longest request, from the name to the end of the answer; the original's limit.
const LIMIT: Duration = Duration::from_secs(15);
/// Largest answer. Credentials are some hundred bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// Longest of the server's own sentences that is shown.
const MAX_SENTENCE: usize = 300;

/// How a server answered. It may hold secrets, so it has no `Debug`.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The JSON, or nothing if it was none.
    pub body: Value,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// No connection, no answer in time, or one that broke off.
    #[error("{0}")]
    Unreachable(String),
    /// The token cannot stand in a header.
    #[error("the token is malformed")]
    Token,
}

/// Sends `body` as JSON to `url`.
///
/// # Errors
/// [`PostError`] when no answer came; a refusal is an answer.
pub async fn json(trust: &Trust, url: &str, bearer: &SecretString, body: &Value) -> Result<Answer, PostError> {
    let text = Zeroizing::new(format!("Bearer {}", bearer.expose_secret()));
    let mut value = HeaderValue::from_str(&text).map_err(|_| PostError::Token)?;
    value.set_sensitive(true);
    let request = trust.client()?.post(url).insert_header((AUTHORIZATION, value));
    send(request.insert_header((CONTENT_TYPE, "application/json")), body.to_string().into()).await
}

/// Sends `form`, which is encoded already, to `url`.
///
/// # Errors
/// [`PostError`] when no answer came.
pub async fn form(trust: &Trust, url: &str, form: Bytes) -> Result<Answer, PostError> {
    let request = trust.client()?.post(url).insert_header((CONTENT_TYPE, "application/x-www-form-urlencoded"));
    send(request, form).await
}

async fn send(request: awc::ClientRequest, body: Bytes) -> Result<Answer, PostError> {
    let exchange = async {
        let unreachable = |why: String| PostError::Unreachable(why);
        let sent = request.insert_header((ACCEPT, "application/json")).send_body(body).await;
        let mut answer = sent.map_err(|error| unreachable(error.to_string()))?;
        let bytes = answer.body().limit(MAX_ANSWER).await.map_err(|error| unreachable(error.to_string()))?;
        Ok(Answer { status: answer.status().as_u16(), body: serde_json::from_slice(&bytes).unwrap_or_default() })
    };
    let silent = |_| PostError::Unreachable(format!("it did not answer within {} s", LIMIT.as_secs()));
    timeout(LIMIT, exchange).await.map_err(silent)?
}

impl Answer {
    /// Whether it is of the kind that means yes.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A text of the answer; one that is empty counts as absent.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The server's own sentence, if it said one: cut to a length, and without what a terminal would obey.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let text = self.text("error")?;
        let plain = |c: &char| !c.is_control();
        Some(text.chars().filter(plain).take(MAX_SENTENCE).collect()).filter(|text: &String| !text.trim().is_empty())
    }
}

impl From<NoRoots> for PostError {
    fn from(error: NoRoots) -> Self {
        Self::Unreachable(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_servers_sentence_is_shown_short_and_without_control_characters() {
        let said = |error: Value| Answer { status: 403, body: json!({"error": error}) }.sentence();
        assert_eq!(said(json!("tenant\u{1b}[2J mismatch\n")).as_deref(), Some("tenant[2J mismatch"));
        assert_eq!(said(json!("x".repeat(1_000))).unwrap().len(), MAX_SENTENCE);
        assert_eq!((said(json!(" ")), said(json!(7))), (None, None));
    }
}
