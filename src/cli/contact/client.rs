//! Requests to a gateway over HTTP.

use std::time::Duration;

use caduceus_actors::http_client::{self, HttpCall, HttpClient, HttpError, HttpLimits};
use caduceus_contract::wire::provisioning::ErrorBody;
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::CommandError;
use crate::terminal::one_line;

/// Longest wait for an answer that the gateway does not delay on request.
const TIMEOUT: Duration = Duration::from_secs(15);
/// A status with thousands of turns, or a page of an export with the longest message.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// An HTTP client for one gateway.
pub(in crate::cli) struct GatewayClient {
    http: HttpClient,
    base: String,
    token: Option<SecretString>,
}

impl GatewayClient {
    pub(super) fn new(http: HttpClient, base: String, token: Option<SecretString>) -> Self {
        Self { http, base, token }
    }

    /// Sends a GET request; the gateway may delay the answer for up to `wait`.
    pub(in crate::cli) async fn get<T: DeserializeOwned>(&self, path: &str, wait: Duration) -> Result<T, CommandError> {
        self.answer(HttpCall::get(&self.url(path), limits(wait))).await
    }

    /// Sends a POST request.
    pub(in crate::cli) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CommandError> {
        let limits = limits(Duration::ZERO);
        self.answer(HttpCall::post(&self.url(path), "application/json", json!(body).to_string(), limits)).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Adds the token to the request and reads the answer.
    async fn answer<T: DeserializeOwned>(&self, call: HttpCall) -> Result<T, CommandError> {
        let call = match &self.token {
            Some(token) => call.bearer(token).map_err(|error| unanswered(&error))?,
            None => call,
        };
        let collected = self.http.send(call).await.map_err(|error| unanswered(&error))?.collect().await;
        let (status, good) = (collected.status, collected.is_success());
        let body = collected.whole().map_err(|error| unanswered(&error))?;
        if good {
            let no_answer = |why: &str| CommandError::NoAnswer(format!("{why}; is this a gateway?"));
            let body: Value = http_client::json(&body).map_err(|_| no_answer("it is not JSON"))?;
            return T::deserialize(body)
                .map_err(|error| no_answer(&format!("its JSON has an unexpected form ({error})")));
        }
        // A proxy may answer in another form.
        let ErrorBody { error, detail } = http_client::json(&body).unwrap_or_default();
        let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { one_line(text) };
        Err(CommandError::Refused { status, code: or(&error, "no_code"), detail: or(&detail, "no reason given") })
    }
}

fn limits(wait: Duration) -> HttpLimits {
    let total = wait + TIMEOUT;
    HttpLimits { connect: TIMEOUT, ..HttpLimits::within(total, MAX_BODY) }
}

/// Only a request that cannot have reached a gateway is `NoGateway`.
fn unanswered(error: &HttpError) -> CommandError {
    match error {
        HttpError::Unreachable(_) => CommandError::NoGateway(error.to_string()),
        error => CommandError::NoAnswer(error.to_string()),
    }
}
