//! Asking a gateway over HTTP.

use std::time::Duration;

use awc::error::{ConnectError, SendRequestError};
use awc::{ClientRequest, ClientResponse};
use futures_util::Stream;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::CommandError;

/// Longest wait for an answer that is not waited for on purpose.
const PATIENCE: Duration = Duration::from_secs(15);
/// A status with thousands of turns.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// The way to one gateway.
pub(in crate::cli) struct Client {
    http: awc::Client,
    base: String,
    token: Option<SecretString>,
}

impl Client {
    pub(super) fn new(base: String, token: Option<SecretString>) -> Self {
        // A redirect would take the token to another place.
        let http = awc::Client::builder().timeout(PATIENCE).disable_redirects().finish();
        Self { http, base, token }
    }

    /// Asks, and waits on purpose for up to `wait`.
    pub(in crate::cli) async fn get(&self, path: &str, wait: Duration) -> Result<Value, CommandError> {
        let request = self.http.get(self.url(path)).timeout(wait + PATIENCE);
        answer(self.shown(request).send().await).await
    }

    /// Orders.
    pub(in crate::cli) async fn post(&self, path: &str, body: &Value) -> Result<Value, CommandError> {
        let request = self.http.post(self.url(path));
        answer(self.shown(request).send_json(body).await).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The request with the token.
    fn shown(&self, request: ClientRequest) -> ClientRequest {
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }
}

async fn answer<S>(sent: Result<ClientResponse<S>, SendRequestError>) -> Result<Value, CommandError>
where
    S: Stream<Item = Result<bytes::Bytes, awc::error::PayloadError>> + Unpin,
{
    let mut response = sent.map_err(|error| unanswered(&error))?;
    let body = response.body().limit(MAX_BODY).await.map_err(|error| CommandError::NoAnswer(error.to_string()))?;
    let status = response.status();
    let body = serde_json::from_slice::<Value>(&body).ok();
    if status.is_success() {
        return body.ok_or_else(|| CommandError::NoAnswer("it is not JSON; is this a gateway?".to_owned()));
    }
    let text = |name: &str| body.as_ref().and_then(|body| body.get(name)).and_then(Value::as_str).map(plain);
    Err(CommandError::Refused {
        status: status.as_u16(),
        code: text("error").unwrap_or_else(|| "no_code".to_owned()),
        detail: text("detail").unwrap_or_else(|| "it did not say why".to_owned()),
    })
}

/// Text of a stranger, for a terminal.
fn plain(text: &str) -> String {
    text.chars().take(400).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Only what certainly reached nobody is nobody.
fn unanswered(error: &SendRequestError) -> CommandError {
    match error {
        SendRequestError::Connect(
            ConnectError::Io(_) | ConnectError::Resolver(_) | ConnectError::NoRecords | ConnectError::Unresolved,
        ) => CommandError::Nobody(error.to_string()),
        error => CommandError::NoAnswer(error.to_string()),
    }
}
