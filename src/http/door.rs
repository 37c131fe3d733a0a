//! Everything passes here: whose names we answer to, a name for each request, headers that every answer has.
//!
//! Loopback is a trust that any website in the operator's browser could borrow; so `Host` and `Origin` must be ours on every
//! route.

use std::any::Any;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, HttpResponse};
use tracing::{debug, warn};
use uuid::Uuid;

use super::error::{self, ApiError};
use super::{Shared, State};

/// Says which request an answer belongs to, for whoever reads the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The names that clients may call us by.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// `host:port`.
    ours: Vec<String>,
    /// `host` or `host:port`, as configured.
    extra: Vec<String>,
}

/// The address at our end of a connection.
#[derive(Debug, Clone, Copy)]
struct LocalAddress(SocketAddr);

/// Keeps the address at our end of a new connection: behind a wildcard it is one of our names.
pub(super) fn note_local_address(connection: &dyn Any, data: &mut Extensions) {
    let stream = connection.downcast_ref::<actix_web::rt::net::TcpStream>();
    if let Some(Ok(address)) = stream.map(actix_web::rt::net::TcpStream::local_addr) {
        data.insert(LocalAddress(address));
    }
}

/// Lets a request in or answers it, and puts on every answer what every answer has.
pub(super) async fn pass(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let refused = match request.app_data::<Shared>() {
        Some(state) => state.refuses(request.request()),
        None => None,
    };
    let id = Uuid::new_v4();
    let mut answer = match refused {
        Some(error) => request.into_response(HttpResponse::from_error(error)),
        None => in_our_form(next.call(request).await?.map_into_boxed_body()),
    };
    note(id, &answer);
    let mut text = Uuid::encode_buffer();
    let headers = answer.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// A wrong method is answered by the router itself, without a body.
fn in_our_form(answer: ServiceResponse) -> ServiceResponse {
    if answer.status() != StatusCode::METHOD_NOT_ALLOWED {
        return answer;
    }
    let body = error::body("method_not_allowed", "this path does not take this method").to_string();
    let mut answer = answer.map_body(|_, _| BoxBody::new(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn note(id: Uuid, answer: &ServiceResponse) {
    let request = answer.request();
    let (method, path, status) = (request.method(), request.path(), answer.status().as_u16());
    let error = answer.response().error().and_then(|error| error.as_error::<ApiError>());
    match error {
        Some(error) if error.is_news() => {
            let cause = std::error::Error::source(error).map(tracing::field::display);
            warn!(request = %id, %method, path, status, %error, cause, "request failed");
        }
        Some(error) => debug!(request = %id, %method, path, status, %error, "request refused"),
        None => debug!(request = %id, %method, path, status, "request answered"),
    }
}

impl State {
    fn refuses(&self, request: &HttpRequest) -> Option<ApiError> {
        let local = request.conn_data::<LocalAddress>().map(|LocalAddress(address)| *address);
        if self.relay.is_elsewhere(request.path(), local) {
            return Some(ApiError::UnknownPath);
        }
        if self.relay.is_for_connectors(request.path()) {
            return None;
        }
        self.names.refuse(request.headers(), request.uri().authority().map(Authority::as_str), local)
    }
}

impl Names {
    /// `bound` is where we listen; `extra` are the names that the settings add.
    pub(super) fn new(bound: SocketAddr, extra: Vec<String>) -> Self {
        let port = bound.port();
        let loopbacks: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
        let addresses = loopbacks.into_iter().chain([bound]).map(|address| address.to_string());
        let ours = addresses.chain([format!("localhost:{port}")]).collect();
        Self { ours, extra }
    }

    /// Why a request with these headers may not come in, if so. `target` is the authority of an absolute request target,
    /// which counts more than `Host`; `local` the address at our end.
    fn refuse(&self, headers: &HeaderMap, target: Option<&str>, local: Option<SocketAddr>) -> Option<ApiError> {
        let host = the_one(headers, &header::HOST);
        if !host.is_some_and(|host| self.knows(host, 80, local)) || target.is_some_and(|t| !self.knows(t, 80, local)) {
            return Some(ApiError::ForbiddenHost);
        }
        if !headers.contains_key(header::ORIGIN) {
            return None;
        }
        let site = the_one(headers, &header::ORIGIN).and_then(|origin| origin.split_once("://"));
        let known = match site {
            Some(("http", site)) => self.knows(site, 80, local),
            Some(("https", site)) => self.knows(site, 443, local),
            _ => false,
        };
        if known { None } else { Some(ApiError::ForbiddenOrigin) }
    }

    /// Whether `authority` is one of ours; without a port it means `default_port`.
    fn knows(&self, authority: &str, default_port: u16, local: Option<SocketAddr>) -> bool {
        // The common case first: this runs for every request.
        if self.ours.iter().any(|name| name.eq_ignore_ascii_case(authority)) {
            return true;
        }
        let Some((host, port)) = split(authority, default_port) else { return false };
        let with_port = format!("{host}:{port}");
        let reached = local.map(|local| SocketAddr::new(local.ip().to_canonical(), local.port()));
        self.ours.iter().any(|name| name.eq_ignore_ascii_case(&with_port))
            || self
                .extra
                .iter()
                .any(|name| [host, authority, &with_port].iter().any(|form| name.eq_ignore_ascii_case(form)))
            || reached.is_some_and(|reached| with_port.parse() == Ok(reached))
    }
}

/// Whether a request comes from this machine itself, and not from someone for whom a proxy here speaks.
pub(super) fn is_loopback(request: &HttpRequest) -> bool {
    let near = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    let forwarded = |name: &HeaderName| {
        let name = name.as_str();
        name == "forwarded" || name == "via" || name == "x-real-ip" || name.starts_with("x-forwarded-")
    };
    near && !request.headers().keys().any(forwarded)
}

/// The value of a header that must be there exactly once.
pub(super) fn the_one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

/// Host and port of an authority.
fn split(authority: &str, default_port: u16) -> Option<(&str, u16)> {
    match authority.rsplit_once(':') {
        // An IPv6 address without a port ends in its bracket.
        Some((host, port)) if !authority.ends_with(']') => Some((host, port.parse().ok()?)),
        _ => Some((authority, default_port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn refused(names: &Names, pairs: &[(&'static str, &str)]) -> Option<&'static str> {
        match names.refuse(&headers(pairs), None, Some(([10, 0, 0, 7], 8652).into())) {
            None => None,
            Some(ApiError::ForbiddenHost) => Some("host"),
            Some(_) => Some("origin"),
        }
    }

    #[test]
    fn only_our_own_names_are_answered_to() {
        let names = Names::new(([0, 0, 0, 0], 8652).into(), vec!["Gate.example".into(), "other.example:99".into()]);
        let ours = ["localhost:8652", "LOCALHOST:8652", "127.0.0.1:8652", "[::1]:8652", "10.0.0.7:8652"];
        for host in ours.into_iter().chain(["gate.example", "gate.example:1", "other.example:99"]) {
            assert_eq!(refused(&names, &[("host", host)]), None, "{host}");
        }
        let foreign = ["evil.example", "evil.example:8652", "localhost", "localhost:80", "localhost:8652.evil.example"];
        let odd = ["127.0.0.1:8652@evil.example", "10.0.0.8:8652", "other.example", "", ":8652", "localhost:99999"];
        for host in foreign.into_iter().chain(odd) {
            assert_eq!(refused(&names, &[("host", host)]), Some("host"), "{host}");
        }
        assert_eq!(refused(&names, &[]), Some("host"));
        assert_eq!(refused(&names, &[("host", "localhost:8652"), ("host", "localhost:8652")]), Some("host"));
    }

    #[test]
    fn an_absolute_target_counts_more_than_the_host() {
        let names = Names::new(([127, 0, 0, 1], 8652).into(), Vec::new());
        let host = headers(&[("host", "localhost:8652")]);
        assert!(names.refuse(&host, Some("evil.example"), None).is_some());
        assert!(names.refuse(&host, Some("localhost:8652"), None).is_none());
    }

    #[test]
    fn an_origin_must_be_ours_too() {
        let names = Names::new(([127, 0, 0, 1], 8652).into(), vec!["gate.example".into()]);
        let with = |origin| refused(&names, &[("host", "localhost:8652"), ("origin", origin)]);
        assert_eq!(with("http://localhost:8652"), None);
        assert_eq!(with("http://127.0.0.1:8652"), None);
        assert_eq!(with("https://gate.example"), None);
        for origin in ["null", "", "http://localhost:3000", "http://evil.example", "file://localhost:8652"] {
            assert_eq!(with(origin), Some("origin"), "{origin}");
        }
    }

    #[test]
    fn port_80_need_not_be_said() {
        let names = Names::new(([127, 0, 0, 1], 80).into(), Vec::new());
        assert_eq!(refused(&names, &[("host", "localhost"), ("origin", "http://localhost")]), None);
        assert_eq!(refused(&names, &[("host", "[::1]")]), None);
    }
}
