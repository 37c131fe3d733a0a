//! Every HTTP call of this program, and the connections of each WebSocket.
//!
//! Bodies are read in each form that servers use: with a length, chunked, ended by closing the connection, after interim answers,
//! compressed although not accepted. No redirect is followed, because a token would go with it. An error shows whether the request
//! can have reached the server, and contains neither the address nor the server's text. Proxies and the private authority apply
//! to all calls.
//!
//! Owns no actor, and no state except idle connections, a few per thread, which are lost with it.

mod answer;
mod connect;
mod decompress;
mod error;
mod proxy;
mod refusals;
mod roots;
#[cfg(test)]
mod tests;
mod websocket;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep, timeout_at};
use zeroize::Zeroizing;

pub use answer::{CallResponse, Collected, json};
pub use error::{HttpError, HttpLimits};
pub use proxy::{Proxies, VARIABLES as PROXY_VARIABLES};
pub use refusals::UpgradeRefused;
pub use roots::{AuthorityError, TlsRoots};
pub use websocket::SocketClient;

use crate::error_chain::error_chain;
use connect::{ConnectError, TransportConnector};

/// Headers of an answer. Servers behind several gateways send a hundred.
const MAX_HEADERS: usize = 512;
/// Bytes of the head of an answer.
const MAX_HEAD: usize = 256 * 1024;
/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Clients per thread; more than there are sets of settings in one process.
const MAX_CLIENTS: usize = 8;

/// Makes calls. Cheap to clone; clones share what was read.
#[derive(Debug, Clone, Default)]
pub struct HttpClient {
    roots: TlsRoots,
    proxies: Arc<Proxies>,
}

/// Clients with the same certificates and proxies share it.
impl PartialEq for HttpClient {
    fn eq(&self, other: &Self) -> bool {
        self.roots == other.roots && self.proxies == other.proxies
    }
}

impl Eq for HttpClient {}

/// A call to make. No `Debug`: it contains secrets.
pub struct HttpCall {
    method: Method,
    url: Zeroizing<String>,
    headers: HeaderMap,
    body: Bytes,
    limits: HttpLimits,
    kept_alive: bool,
}

impl HttpCall {
    /// A GET.
    #[must_use]
    pub fn get(url: &str, limits: HttpLimits) -> Self {
        Self {
            method: Method::GET,
            url: Zeroizing::new(url.to_owned()),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            limits,
            kept_alive: false,
        }
    }

    /// A POST of `body`, with this `content_type`.
    #[must_use]
    pub fn post(url: &str, content_type: &'static str, body: impl Into<Bytes>, limits: HttpLimits) -> Self {
        let call = Self { method: Method::POST, body: body.into(), ..Self::get(url, limits) };
        call.fixed(CONTENT_TYPE, content_type)
    }

    /// The accepted types of the answer.
    #[must_use]
    pub fn accept(self, kinds: &'static str) -> Self {
        self.fixed(ACCEPT, kinds)
    }

    /// Adds a header that is not secret.
    ///
    /// # Errors
    /// [`HttpError::Unusable`] if the value is not possible in a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Result<Self, HttpError> {
        let value = HeaderValue::from_str(value).map_err(|_| HttpError::Unusable("a header is malformed"))?;
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    /// Adds `token` as a bearer token.
    ///
    /// # Errors
    /// [`HttpError::Unusable`] if it is not possible in a header.
    pub fn bearer(mut self, token: &SecretString) -> Result<Self, HttpError> {
        let text = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| HttpError::Unusable("the token is malformed"))?;
        value.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, value);
        Ok(self)
    }

    /// Allows the call to use an idle connection, and leaves one behind. For a call that is made often and repeated after an
    /// error: the server may have closed the connection meanwhile, and then it is unknown whether it read the request.
    #[must_use]
    pub fn kept_alive(mut self) -> Self {
        self.kept_alive = true;
        self
    }

    fn fixed(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }
}

impl HttpClient {
    /// Calls with these roots and proxies.
    #[must_use]
    pub fn new(roots: TlsRoots, proxies: Proxies) -> Self {
        Self { roots, proxies: Arc::new(proxies) }
    }

    /// One sentence per proxy in force.
    #[must_use]
    pub fn describe_proxies(&self) -> Vec<String> {
        self.proxies.describe()
    }

    /// Makes the call; returns the head of the answer, whose body is read by [`CallResponse::piece`] or [`CallResponse::collect`].
    ///
    /// Requires a tokio runtime. The call ends when the future or the answer is dropped.
    ///
    /// # Errors
    /// [`HttpError`]; a redirect is one, every other status is an answer.
    pub async fn send(&self, call: HttpCall) -> Result<CallResponse, HttpError> {
        let HttpCall { method, url, mut headers, body, limits, kept_alive } = call;
        let start = Instant::now();
        let uri = address(&url)?;
        let connector = self.connector(limits.connect);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("caduceus/", env!("CARGO_PKG_VERSION"))));
        if let Some(login) = connector.forward_login(&uri) {
            headers.insert(PROXY_AUTHORIZATION, login);
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let due = limits.total.map(|total| start + total);
        let captured = capture_connection(&mut request);
        let answer = tokio::select! {
            biased;
            answer = self.pool(&connector, kept_alive).request(request) => answer.map_err(|error| unanswered(&error))?,
            limit = head_overdue(captured, limits, due) => return Err(HttpError::Silent(limit)),
        };
        CallResponse::new(answer, limits, due)
    }

    fn connector(&self, limit: Duration) -> TransportConnector {
        TransportConnector { roots: self.roots.clone(), proxies: Arc::clone(&self.proxies), limit }
    }

    fn roots(&self) -> &TlsRoots {
        &self.roots
    }

    /// Whether both share what was read.
    fn is(&self, other: &Self) -> bool {
        self.roots.is(&other.roots) && Arc::ptr_eq(&self.proxies, &other.proxies)
    }

    /// The connections for the call: those of this thread, because a thread that hangs must not delay another.
    fn pool(&self, connector: &TransportConnector, kept_alive: bool) -> Pool<TransportConnector, Full<Bytes>> {
        type Kept = (HttpClient, Duration, Pool<TransportConnector, Full<Bytes>>);
        thread_local!(static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) });
        if !kept_alive {
            return pool(connector.clone(), 0);
        }
        KEPT.with_borrow_mut(|kept| {
            let found = kept.iter().find(|(of, limit, _)| of.is(self) && *limit == connector.limit);
            if let Some((_, _, pool)) = found {
                return pool.clone();
            }
            if kept.len() == MAX_CLIENTS {
                kept.remove(0);
            }
            let fresh = pool(connector.clone(), usize::MAX);
            kept.push((self.clone(), connector.limit, fresh.clone()));
            fresh
        })
    }
}

/// Completes when the head of an answer is overdue, with the limit that was exceeded. The connection has a separate limit.
async fn head_overdue(mut captured: CaptureConnection, limits: HttpLimits, due: Option<Instant>) -> Duration {
    let head_due = async {
        drop(captured.wait_for_connection_metadata().await);
        sleep(limits.head).await;
    };
    match due {
        None => head_due.await,
        Some(due) if timeout_at(due, head_due).await.is_err() => return limits.total.unwrap_or(limits.head),
        Some(_) => {}
    }
    limits.head
}

fn pool(connector: TransportConnector, idle: usize) -> Pool<TransportConnector, Full<Bytes>> {
    Pool::builder(TokioExecutor::new())
        .pool_idle_timeout(KEEP_ALIVE)
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(idle)
        // Only a request that was never begun is tried again, on another connection.
        .retry_canceled_requests(true)
        .http1_max_headers(MAX_HEADERS)
        .http1_max_buf_size(MAX_HEAD)
        .build(connector)
}

/// The address of a call: of HTTP, with a host and without a user.
fn address(url: &str) -> Result<Uri, HttpError> {
    let uri: Uri = url.trim().parse().map_err(|_| HttpError::Unusable("not an address"))?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    match (uri.scheme_str(), authority) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            Err(HttpError::Unusable("the address has a user name"))
        }
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(HttpError::Unusable("not an http or https address")),
    }
}

fn unanswered(error: &hyper_util::client::legacy::Error) -> HttpError {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(connect) = inner.downcast_ref::<ConnectError>() {
            return connect.into();
        }
        if let Some(inner) = inner.downcast_ref::<hyper::Error>() {
            return if error.is_connect() || inner.is_canceled() {
                HttpError::Unreachable(error_chain(inner))
            } else if inner.is_parse() {
                HttpError::Malformed(error_chain(inner))
            } else {
                HttpError::NoAnswer(error_chain(inner))
            };
        }
        cause = inner.source();
    }
    if error.is_connect() {
        HttpError::Unreachable(error_chain(error))
    } else {
        HttpError::NoAnswer(error_chain(error))
    }
}
