//! Calls to agents that are servers. A key is sent in one request, to the configured address only.
//!
//! They run on a separate thread: a server that floods its answers delays neither a drain nor the reading of a file.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Arbiter, ArbiterHandle};
use bytes::Bytes;
use http::{HeaderValue, Uri};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use super::agent::AgentSettings;
use super::agent::messages::{Call, CallBroken, CallError, ResponseHead};
use super::redact::Lease;
use super::reference;
use super::scope::Scope;
use crate::http_client::{CallResponse, HttpCall, HttpClient, HttpError, HttpLimits};
use crate::locked::locked;

/// Pieces in the turn's queue; when it is full, the server waits.
const MAX_PIECES: usize = 8;
/// Bytes of one answer. A word of the reply arrives in an event of some 300 bytes, so this is far above the longest reply.
const MAX_BODY: usize = 512 * 1024 * 1024;

/// Timeouts of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallTimings {
    /// For a connection and its TLS handshake.
    pub connect: Duration,
    /// Between two pieces, and before the first one: a model may compute for minutes.
    pub idle: Duration,
}

impl Default for CallTimings {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_mins(5) }
    }
}

/// Carries out calls. Cheap to clone; clones share one thread, which starts with the first call and ends with the last clone.
#[derive(Debug, Clone, Default)]
pub struct Caller(Arc<CallerShared>);

#[derive(Debug, Default)]
struct CallerShared {
    client: HttpClient,
    timings: CallTimings,
    thread: Mutex<Option<ArbiterHandle>>,
}

impl Drop for CallerShared {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner) {
            thread.stop();
        }
    }
}

/// One prepared call.
pub(super) struct PreparedCall {
    url: Zeroizing<String>,
    key: Option<SecretString>,
    body: Bytes,
}

/// The call to `agent` with this `body`.
pub(super) fn prepare(agent: &AgentSettings, scope: &Scope, body: Bytes) -> Result<PreparedCall, CallError> {
    let openai = agent.server().ok_or(CallError::NotAServer)?;
    let unset = |key: &str, name: &str| CallError::Unusable(format!("{key} needs {name}, which is not set"));
    let base = reference::resolve(&openai.base_url, scope).map_err(|name| unset("agent.base_url", name))?;
    let url = Zeroizing::new(format!("{}/chat/completions", base.trim().trim_end_matches('/')));
    if !is_callable(&url) {
        return Err(CallError::Unusable("agent.base_url is not an http or https address without a query".to_owned()));
    }
    let key = openai.api_key_env.as_deref().map(|name| {
        let value = scope.get(name).map(|value| value.expose_secret().trim()).filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| unset("agent.api_key_env", name))?;
        if HeaderValue::from_str(value).is_err() {
            return Err(CallError::Unusable(format!("agent.api_key_env names {name}, which is not valid in a header")));
        }
        Ok(SecretString::from(value))
    });
    Ok(PreparedCall { url, key: key.transpose()?, body })
}

fn is_callable(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let plain =
        uri.authority().is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    matches!(uri.scheme_str(), Some("http" | "https")) && plain && uri.query().is_none()
}

impl Caller {
    /// A caller with these timeouts.
    #[must_use]
    pub fn new(client: HttpClient, timings: CallTimings) -> Self {
        Self(Arc::new(CallerShared { client, timings, thread: Mutex::default() }))
    }

    /// Begins a call.
    pub(super) fn call(&self, request: PreparedCall, secrets: Lease) -> Result<Call, CallError> {
        let (head_sender, head) = oneshot::channel();
        let (pieces, body) = mpsc::channel(MAX_PIECES);
        let (client, timings) = (self.0.client.clone(), self.0.timings);
        let thread = self.thread().map_err(|error| CallError::NotNow(error.to_string()))?;
        let begun = thread.spawn_fn(move || {
            caduceus_supervision::spawn(carry_out(client, request, timings, head_sender, pieces));
        });
        if begun {
            Ok(Call { head, body, secrets })
        } else {
            Err(CallError::NotNow("the process is shutting down".to_owned()))
        }
    }

    fn thread(&self) -> io::Result<ArbiterHandle> {
        let mut slot = locked(&self.0.thread);
        match &*slot {
            Some(thread) if thread.alive() => Ok(thread.clone()),
            _ => Ok(slot.insert(Arbiter::try_new()?.handle()).clone()),
        }
    }
}

/// Makes the call; ends at once when its receiver is dropped.
async fn carry_out(
    client: HttpClient,
    request: PreparedCall,
    timings: CallTimings,
    head_sender: oneshot::Sender<Result<ResponseHead, CallBroken>>,
    pieces: mpsc::Sender<Result<Bytes, CallBroken>>,
) {
    let answer = tokio::select! {
        biased;
        () = pieces.closed() => return,
        answer = send(&client, request, timings) => answer,
    };
    // A dropped receiver is noticed on the other channel.
    match answer {
        Ok(answer) => {
            let _ = head_sender.send(Ok(ResponseHead { status: answer.status(), retry_after: answer.retry_after() }));
            pass_on(answer, &pieces).await;
        }
        Err(broken) => {
            let _ = head_sender.send(Err(broken));
        }
    }
}

async fn send(client: &HttpClient, request: PreparedCall, timings: CallTimings) -> Result<CallResponse, CallBroken> {
    let PreparedCall { url, key, body } = request;
    let CallTimings { connect, idle } = timings;
    let limits = HttpLimits { connect, head: idle, idle, total: None, body: MAX_BODY };
    let mut call = HttpCall::post(&url, "application/json", body, limits)
        .accept("text/event-stream, application/json")
        .kept_alive();
    if let Some(key) = key {
        call = call.bearer(&key).map_err(|error| broken(&error))?;
    }
    client.send(call).await.map_err(|error| broken(&error))
}

async fn pass_on(mut answer: CallResponse, pieces: &mpsc::Sender<Result<Bytes, CallBroken>>) {
    loop {
        let piece = tokio::select! {
            biased;
            () = pieces.closed() => return,
            piece = answer.piece() => piece,
        };
        let Some(piece) = piece else { return };
        let last = piece.is_err();
        if pieces.send(piece.map_err(|error| broken(&error))).await.is_err() || last {
            return;
        }
    }
}

fn broken(error: &HttpError) -> CallBroken {
    match error {
        HttpError::Silent(limit) | HttpError::Stalled(limit) => CallBroken::Silent(*limit),
        HttpError::TooLarge(limit) => CallBroken::TooLong(*limit),
        HttpError::Redirect { status, .. } => CallBroken::Redirect { status: *status, why: error.to_string() },
        HttpError::Compressed(_) | HttpError::Malformed(_) | HttpError::Unusable(_) => {
            CallBroken::Unfit(error.to_string())
        }
        HttpError::Unreachable(_) | HttpError::Tls(_) | HttpError::Proxy(_) => {
            CallBroken::Unreachable(error.to_string())
        }
        HttpError::NoAnswer(_) | HttpError::Cut(_) | HttpError::TooSlow(_) => CallBroken::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::agent::{AgentResource, OpenAiSettings};
    use crate::profile::env_file::parse;

    fn prepared(base_url: &str, key: Option<&str>) -> Result<PreparedCall, String> {
        let scope = Scope::new(&parse("KEY=sk-one\nBLANK= \nODD=a\u{1}b\nHOST=models.example"), None);
        let server = AgentResource::Server(OpenAiSettings {
            base_url: base_url.to_owned(),
            model: "m".to_owned(),
            api_key_env: key.map(str::to_owned),
            system: None,
            history: 0,
            timeout: Duration::from_secs(1),
        });
        let agent = AgentSettings { backend: "openai", resource: server };
        prepare(&agent, &scope, Bytes::new()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_address_is_completed_and_references_in_it_are_resolved() {
        let url = |base: &str| prepared(base, None).map(|request| request.url.to_string());
        assert_eq!(url("http://a.example/v1").unwrap(), "http://a.example/v1/chat/completions");
        assert_eq!(
            url("https://${HOST}:8443/p/x/v1/ ").unwrap(),
            "https://models.example:8443/p/x/v1/chat/completions"
        );
        assert_eq!(url("https://${NOWHERE}/v1").unwrap_err(), "agent.base_url needs NOWHERE, which is not set");
        for bad in
            ["a.example/v1", "ftp://a.example", "http:///v1", "http://user:word@a.example", "http://a.example/?v=1"]
        {
            assert!(url(bad).unwrap_err().starts_with("agent.base_url is no"), "{bad}");
        }
    }

    #[test]
    fn a_missing_blank_or_invalid_key_is_named_without_its_value() {
        let key = |name| prepared("http://a.example", Some(name)).map(|request| request.key);
        assert_eq!(key("KEY").unwrap().unwrap().expose_secret(), "sk-one");
        for name in ["MISSING", "BLANK"] {
            assert_eq!(key(name).unwrap_err(), format!("agent.api_key_env needs {name}, which is not set"));
        }
        assert_eq!(key("ODD").unwrap_err(), "agent.api_key_env names ODD, which is not valid in a header");
    }
}
