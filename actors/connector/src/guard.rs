//! Checks of requests. A website in the operator's browser can reach loopback, so loopback alone is no protection.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HOST, HeaderMap, ORIGIN};
use actix_web::middleware::Next;
use caduceus_contract::wire::url::RELAY_PATH;

use super::error::Problem;

/// Refuses requests that a foreign website could have sent, by DNS rebinding or across origins.
///
/// Gateways dial `/relay` under any name of the connector, and send no `Origin`; a browser always does.
pub(super) async fn reject_cross_site(
    request: ServiceRequest,
    next: Next<impl actix_web::body::MessageBody>,
) -> actix_web::Result<ServiceResponse<impl actix_web::body::MessageBody>> {
    let is_gateway_route =
        request.path().strip_prefix(RELAY_PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    check_site(request.headers(), is_gateway_route)?;
    next.call(request).await
}

/// Refuses requests that do not come from this machine.
pub(super) fn check_loopback(request: &HttpRequest) -> Result<(), Problem> {
    let forwarded =
        ["forwarded", "x-forwarded-for", "x-real-ip"].iter().any(|name| request.headers().contains_key(*name));
    let local = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    if local && !forwarded {
        Ok(())
    } else {
        Err(Problem::forbidden("this route answers on the loopback interface only"))
    }
}

fn check_site(headers: &HeaderMap, is_gateway_route: bool) -> Result<(), Problem> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let origin = headers.get(ORIGIN);
    if is_gateway_route && origin.is_none() {
        return Ok(());
    }
    if !is_own_name(host) {
        return Err(Problem::forbidden("this route accepts localhost or an address as host only"));
    }
    let Some(origin) = origin else {
        return Ok(());
    };
    let site = origin.to_str().ok().and_then(|origin| {
        origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")).map(str::to_owned)
    });
    if site.is_some_and(|site| site.eq_ignore_ascii_case(host)) {
        Ok(())
    } else {
        Err(Problem::forbidden("the request comes from another website"))
    }
}

/// `localhost` or an address: any other name can be rebound to this machine by its owner.
fn is_own_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        headers
    }

    #[test]
    fn requests_from_other_websites_are_refused() {
        let passes = |host, origin, is_gateway_route| check_site(&headers(host, origin), is_gateway_route).is_ok();
        assert!(passes("127.0.0.1:8700", None, false));
        assert!(passes("localhost:8700", Some("http://localhost:8700"), false));
        assert!(passes("[::1]:8700", Some("http://[::1]:8700"), false));
        assert!(passes("192.168.1.7", None, false));
        assert!(!passes("evil.example:8700", None, false));
        assert!(!passes("", None, false));
        assert!(!passes("127.0.0.1:8700", Some("http://evil.example"), false));
        assert!(!passes("127.0.0.1:8700", Some("http://127.0.0.1:9000"), false));
        assert!(!passes("127.0.0.1:8700", Some("null"), false));
        assert!(passes("connector:8700", None, true), "a gateway dials by name");
        assert!(!passes("connector:8700", Some("http://connector:8700"), true), "a rebound name is its own origin");
        assert!(!passes("127.0.0.1:8700", Some("http://evil.example"), true));
    }
}
