//! Middleware of every request: checks the host name, assigns the request id, adds the headers of every answer.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse};
use tracing::{Instrument as _, debug, info_span, warn};
use uuid::Uuid;

use super::caller::HttpCaller;
use super::code::ApiErrorCode;
use super::connection::{ClientConnection, GuardedStream};
use super::error::{self, ApiError};
use super::health;
use super::names::single_header;
use super::state::{ServerState, SharedState};

/// The header with the request id, as in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is accepted from a client, in bytes.
const MAX_ID: usize = 64;
/// The system closes the connection of a client that reads nothing for this long.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(20);

/// The local address of a connection.
#[derive(Debug, Clone, Copy)]
struct LocalAddress(SocketAddr);

/// Sets up a new connection. Its local address is kept: behind a wildcard it is one of the accepted names.
pub(super) fn on_connect(guarded: &GuardedStream, data: &mut Extensions) {
    let GuardedStream { stream, connection } = guarded;
    data.insert(Rc::clone(connection));
    if let Ok(address) = stream.local_addr() {
        data.insert(LocalAddress(address));
    }
    if let Err(error) = set_user_timeout(stream, UNREAD_TIMEOUT) {
        debug!(%error, "no timeout for a client that reads nothing");
    }
}

#[cfg(target_os = "linux")]
fn set_user_timeout(stream: impl AsFd, timeout: Duration) -> std::io::Result<()> {
    let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, millis)?)
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail on Linux")]
fn set_user_timeout(_: impl AsFd, _: Duration) -> std::io::Result<()> {
    Ok(())
}

/// Accepts or refuses a request, and adds the common headers to every answer.
pub(super) async fn pass(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let _work = ClientConnection::of(request.request()).map(|connection| {
        if HttpCaller::of(request.request()).loopback {
            connection.mark_known();
        }
        connection.work()
    });
    // One request of a pipelined connection per scheduler turn, so that other clients are answered in between.
    tokio::task::yield_now().await;
    let refused = match request.app_data::<SharedState>() {
        Some(state) => state.refuse(request.request()),
        None => None,
    };
    let id = name(request.headers());
    let span = info_span!("request", id = id.to_str().unwrap_or_default());
    let answered = async {
        let answer = match refused {
            Some(error) => request.into_response(HttpResponse::from_error(error)),
            None => with_error_body(next.call(request).await?.map_into_boxed_body()),
        };
        note(&answer);
        Ok::<_, Error>(answer)
    };
    let mut answer = answered.instrument(span).await?;
    let headers = answer.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// The id of a request: the client's, if it is safe in a log, else a new one.
fn name(headers: &HeaderMap) -> HeaderValue {
    let safe = |id: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(plain)
    };
    if single_header(headers, &REQUEST_ID).is_some_and(safe)
        && let Some(id) = headers.get(REQUEST_ID)
    {
        return id.clone();
    }
    let mut text = Uuid::encode_buffer();
    let id = Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("unnamed"))
}

/// Adds the body to the answer for a wrong method, which the router gives without one.
fn with_error_body(answer: ServiceResponse) -> ServiceResponse {
    if answer.status() != StatusCode::METHOD_NOT_ALLOWED {
        return answer;
    }
    let body = error::body(ApiErrorCode::MethodNotAllowed, "method not allowed at this path");
    let body = serde_json::to_string(&body).expect("an error body is two texts");
    let mut answer = answer.map_body(|_, _| BoxBody::new(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn note(answer: &ServiceResponse) {
    let request = answer.request();
    let (method, path, status) = (request.method(), request.path(), answer.status().as_u16());
    let error = answer.response().error().and_then(|error| error.as_error::<ApiError>());
    match error {
        Some(error) if error.is_warning() => {
            let cause = std::error::Error::source(error).map(tracing::field::display);
            warn!(%method, path, status, %error, cause, "request failed");
        }
        Some(error) => debug!(%method, path, status, %error, "request refused"),
        None => debug!(%method, path, status, "request answered"),
    }
}

impl ServerState {
    fn refuse(&self, request: &HttpRequest) -> Option<ApiError> {
        let local = request.conn_data::<LocalAddress>().map(|LocalAddress(address)| *address);
        if self.relay.is_elsewhere(request.path(), local) {
            return Some(ApiError::UnknownPath);
        }
        if self.relay.is_for_connectors(request.path()) {
            return None;
        }
        if health::is_probe(request.path()) {
            return self.names.refuse_origin(request.headers(), local);
        }
        self.names.refuse(request.headers(), request.uri().authority().map(Authority::as_str), local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(values: &[&'static [u8]]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
        }
        name(&headers).to_str().unwrap().to_owned()
    }

    #[test]
    fn the_request_id_of_a_client_is_kept_if_it_is_safe_in_a_log() {
        for safe in ["a", "019ab000-0000-7000-8000-000000000000", "job_7.retry-2"] {
            assert_eq!(named(&[safe.as_bytes()]), safe);
        }
        let long: &'static [u8] = &[b'x'; MAX_ID + 1];
        for odd in [&b""[..], b"a b", b"a\tb", b"\xff", b"\"x\"", b"a=b", b"[31m", long] {
            assert!(named(&[odd]).parse::<Uuid>().is_ok(), "{odd:?}");
        }
        assert!(named(&[b"one", b"two"]).parse::<Uuid>().is_ok());
        assert_ne!(named(&[]), named(&[]));
    }
}
