//! The calls of agents that are servers. A key goes into one request, to the configured address, and nowhere else.
//!
//! They run on a thread of their own: a server that floods its answers delays neither a drain nor the reading of a file.

use std::cell::OnceCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use actix::{Arbiter, ArbiterHandle};
use awc::error::{ConnectError, SendRequestError};
use awc::http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, HttpDate, RETRY_AFTER,
};
use awc::http::{Uri, Version};
use awc::{Client, ClientResponse, Connector};
use bytes::Bytes;
use futures_util::StreamExt;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::agent::AgentSettings;
use super::messages::{Call, CallBroken, CallError, Head};
use super::redact::Lease;
use super::reference;
use super::scope::Scope;

/// Pieces that wait for the turn; then the server waits.
const MAX_PIECES: usize = 8;
/// Bytes of one answer. A word of the reply comes in an event of some 300 bytes, so this is far more than the longest reply.
const MAX_BODY: usize = 512 * 1024 * 1024;

/// How long a server may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallTimings {
    /// For a connection, and for TLS on it.
    pub connect: Duration,
    /// To say the next thing; the first one as well, over which a model may think for minutes.
    pub idle: Duration,
}

impl Default for CallTimings {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_mins(5) }
    }
}

/// Carries out calls. Cheap to clone; clones share one thread, which starts with the first call and ends with the last clone.
#[derive(Debug, Clone, Default)]
pub struct Caller(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    timings: CallTimings,
    thread: Mutex<Option<ArbiterHandle>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner) {
            thread.stop();
        }
    }
}

/// One call, ready to be made.
pub(super) struct Request {
    url: Zeroizing<String>,
    key: Option<SecretString>,
    body: Bytes,
}

/// The call of `agent` that says `body`.
pub(super) fn prepare(agent: &AgentSettings, scope: &Scope, body: Bytes) -> Result<Request, CallError> {
    let AgentSettings::OpenAi(openai) = agent else { return Err(CallError::NotAServer) };
    let unset = |key: &str, name: &str| CallError::Unusable(format!("{key} needs {name}, which is not set"));
    let base = reference::resolve(&openai.base_url, scope).map_err(|name| unset("agent.base_url", name))?;
    let url = Zeroizing::new(format!("{}/chat/completions", base.trim().trim_end_matches('/')));
    if !is_callable(&url) {
        return Err(CallError::Unusable("agent.base_url is no http or https address without a query".to_owned()));
    }
    let key = openai.api_key_env.as_deref().map(|name| {
        let value = scope.get(name).map(|value| value.expose_secret().trim()).filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| unset("agent.api_key_env", name))?;
        if HeaderValue::from_str(value).is_err() {
            return Err(CallError::Unusable(format!("agent.api_key_env names {name}, which cannot stand in a header")));
        }
        Ok(SecretString::from(value))
    });
    Ok(Request { url, key: key.transpose()?, body })
}

fn is_callable(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let plain =
        uri.authority().is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    matches!(uri.scheme_str(), Some("http" | "https")) && plain && uri.query().is_none()
}

impl Caller {
    /// A caller that gives servers this long.
    #[must_use]
    pub fn new(timings: CallTimings) -> Self {
        Self(Arc::new(Inner { timings, thread: Mutex::default() }))
    }

    /// Begins a call.
    pub(super) fn call(&self, request: Request, secrets: Lease) -> Result<Call, CallError> {
        let (tell, head) = oneshot::channel();
        let (pieces, body) = mpsc::channel(MAX_PIECES);
        let timings = self.0.timings;
        let thread = self.thread().map_err(|error| CallError::NotNow(error.to_string()))?;
        let begun = thread.spawn_fn(move || {
            crate::supervision::spawn(carry_out(request, timings, tell, pieces));
        });
        if begun {
            Ok(Call { head, body, secrets })
        } else {
            Err(CallError::NotNow("the process goes down".to_owned()))
        }
    }

    fn thread(&self) -> io::Result<ArbiterHandle> {
        let mut slot = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(thread) if thread.alive() => Ok(thread.clone()),
            _ => Ok(slot.insert(Arbiter::try_new()?.handle()).clone()),
        }
    }
}

/// Makes the call; ends at once when nobody listens any more.
async fn carry_out(
    request: Request,
    timings: CallTimings,
    tell: oneshot::Sender<Result<Head, CallBroken>>,
    pieces: mpsc::Sender<Result<Bytes, CallBroken>>,
) {
    let answer = tokio::select! {
        biased;
        () = pieces.closed() => return,
        answer = send(request, timings) => answer,
    };
    // A listener that has gone is noticed by the other channel.
    match answer {
        Ok(answer) => {
            let head = Head { status: answer.status().as_u16(), retry_after: retry_after(answer.headers()) };
            let _ = tell.send(Ok(head));
            pass_on(answer, timings.idle, &pieces).await;
        }
        Err(broken) => {
            let _ = tell.send(Err(broken));
        }
    }
}

async fn send(request: Request, timings: CallTimings) -> Result<ClientResponse, CallBroken> {
    let Request { url, key, body } = request;
    let client = client(timings.connect)?;
    let mut prepared = client
        .post(url.as_str())
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((ACCEPT, "text/event-stream, application/json"))
        .insert_header((ACCEPT_ENCODING, "identity"));
    if let Some(key) = key {
        let bearer = Zeroizing::new(format!("Bearer {}", key.expose_secret()));
        let mut value = HeaderValue::from_str(&bearer).map_err(|_| broken("the key cannot stand in a header"))?;
        value.set_sensitive(true);
        prepared = prepared.insert_header((AUTHORIZATION, value));
    }
    match timeout(timings.idle, prepared.send_body(body)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(unanswered(&error)),
        Err(_) => Err(CallBroken::Silent(timings.idle)),
    }
}

async fn pass_on(mut answer: ClientResponse, idle: Duration, pieces: &mpsc::Sender<Result<Bytes, CallBroken>>) {
    let mut left = MAX_BODY;
    loop {
        let piece = tokio::select! {
            biased;
            () = pieces.closed() => return,
            piece = timeout(idle, answer.next()) => piece,
        };
        let piece = match piece {
            Ok(None) => return,
            Ok(Some(Ok(bytes))) if bytes.len() > left => Err(CallBroken::TooLong(MAX_BODY)),
            Ok(Some(Ok(bytes))) => {
                left -= bytes.len();
                Ok(bytes)
            }
            Ok(Some(Err(error))) => Err(broken(&error)),
            Err(_) => Err(CallBroken::Silent(idle)),
        };
        let last = piece.is_err();
        if pieces.send(piece).await.is_err() || last {
            return;
        }
    }
}

/// The client of this thread. Reading the certificates takes long enough to do it once.
fn client(connect: Duration) -> Result<Client, CallBroken> {
    thread_local!(static CLIENT: OnceCell<Client> = const { OnceCell::new() });
    CLIENT.with(|cell| {
        if let Some(client) = cell.get() {
            return Ok(client.clone());
        }
        // awc panics over certificates that it cannot read; that is a call that failed, not a bug of ours.
        let client = catch_unwind(AssertUnwindSafe(|| {
            let connector = Connector::new()
                .timeout(connect)
                .handshake_timeout(connect)
                // The turns have a limit of their own.
                .limit(0)
                .max_http_version(Version::HTTP_11);
            // A redirect would carry the key to wherever the answer says.
            Client::builder().connector(connector).disable_timeout().disable_redirects().finish()
        }))
        .map_err(|_| CallBroken::Unreachable("the system's root certificates cannot be used".to_owned()))?;
        Ok(cell.get_or_init(|| client).clone())
    })
}

fn broken(why: &(impl ToString + ?Sized)) -> CallBroken {
    CallBroken::Broken(why.to_string())
}

/// A connection that the server closed without a word is `Disconnected` to awc.
fn unanswered(error: &SendRequestError) -> CallBroken {
    match error {
        SendRequestError::Connect(ConnectError::Disconnected) => broken("it was closed without an answer"),
        SendRequestError::Connect(_) | SendRequestError::Url(_) => CallBroken::Unreachable(error.to_string()),
        error => broken(error),
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = SystemTime::from(text.parse::<HttpDate>().ok()?);
    // One that has passed means now.
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::agent::OpenAiSettings;
    use crate::profile::env_file::parse;

    fn prepared(base_url: &str, key: Option<&str>) -> Result<Request, String> {
        let scope = Scope::new(&parse("KEY=sk-one\nBLANK= \nODD=a\u{1}b\nHOST=models.example"), None);
        let agent = AgentSettings::OpenAi(OpenAiSettings {
            base_url: base_url.to_owned(),
            model: "m".to_owned(),
            api_key_env: key.map(str::to_owned),
            system: None,
            history: 0,
            timeout: Duration::from_secs(1),
        });
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
    fn a_key_that_is_missing_blank_or_no_header_is_named_and_its_value_is_not() {
        let key = |name| prepared("http://a.example", Some(name)).map(|request| request.key);
        assert_eq!(key("KEY").unwrap().unwrap().expose_secret(), "sk-one");
        for name in ["MISSING", "BLANK"] {
            assert_eq!(key(name).unwrap_err(), format!("agent.api_key_env needs {name}, which is not set"));
        }
        assert_eq!(key("ODD").unwrap_err(), "agent.api_key_env names ODD, which cannot stand in a header");
    }

    #[test]
    fn a_server_says_in_seconds_or_by_date_when_it_wants_to_be_asked_again() {
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers)
        };
        assert_eq!(after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(after("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        assert!(after("Fri, 31 Dec 2399 23:59:59 GMT").unwrap() > Duration::from_hours(24));
        assert_eq!((after("soon"), after("-1")), (None, None));
    }
}
