//! Authentication of real requests: every form of a token, and what is logged of each.

use std::collections::BTreeSet;

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderValue};

use caduceus_contract::status::lifecycle::GatewayState;

use super::support::{SECRET, Setting, TestAnswer, TestServer};

const DRAIN: &str = "/api/gateway/drain";
const RESTART: &str = "/api/gateway/restart";
/// A strong secret with characters beyond ASCII.
const UNICODE: &str = "kQ7vXw2mZr9TbN4cLp8sYd1fGh6jKa3eUo5iRt0WqExäöüß";

async fn status(server: &TestServer, authorization: &[&[u8]]) -> u16 {
    let mut request = server.request(Method::POST, DRAIN);
    for value in authorization {
        request = request.append_header((AUTHORIZATION, HeaderValue::from_bytes(value).unwrap()));
    }
    TestAnswer::of(request, "").await.status
}

#[actix_web::test]
async fn a_token_is_accepted_in_one_form_only() {
    let good = |scheme: &str| format!("{scheme} {SECRET}").into_bytes();
    let server = TestServer::start().await;
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  "] {
        assert_eq!(status(&server, &[&good(scheme)]).await, 200, "{scheme}");
    }
    server.stop().await;
    let (plain, twice) = (good("Bearer"), [good("Bearer"), good("Bearer")]);
    let (prefix, longer) = (plain[..plain.len() - 1].to_vec(), [&plain[..], b"x"].concat());
    let bad: Vec<Vec<&[u8]>> = vec![
        vec![],
        vec![b""],
        vec![b"Bearer"],
        vec![b"Bearer "],
        vec![SECRET.as_bytes()],
        vec![b"Bearer guess"],
        vec![&prefix],
        vec![&longer],
        vec![b"Bearer \xff\xfe"],
        vec!["Bearer äöü".as_bytes()],
        vec![b"Token x"],
        twice.iter().map(Vec::as_slice).collect(),
        vec![&plain, b"Bearer guess"],
        vec![b"Basic eDp5", &plain],
    ];
    let server = TestServer::start().await;
    let mut seen = BTreeSet::new();
    for authorization in bad {
        let status = status(&server, &authorization).await;
        assert!(matches!(status, 401 | 429), "{authorization:?}: {status}");
        seen.insert(status);
    }
    assert_eq!(seen, BTreeSet::from([401, 429]));
    assert!(server.received.no_command());
    assert_eq!(status(&server, &[&plain]).await, 200, "a valid token always passes");
    server.stop().await;
}

#[actix_web::test]
async fn a_secret_beyond_ascii_is_accepted() {
    let server = TestServer::with(Setting { secret: Some(UNICODE), ..Setting::default() }).await;
    assert_eq!(status(&server, &[format!("Bearer {UNICODE}").as_bytes()]).await, 200);
    assert_eq!(status(&server, &[format!("Bearer {SECRET}").as_bytes()]).await, 401);
    server.stop().await;
}

#[actix_web::test]
async fn a_header_of_a_mebibyte_is_refused_and_the_next_client_served() {
    let server = TestServer::start().await;
    let huge = format!("Bearer {}", "x".repeat(1024 * 1024));
    // The connection may be reset while we still send.
    let answer = server.request(Method::POST, DRAIN).insert_header((AUTHORIZATION, huge)).send().await;
    assert!(answer.map_or(true, |answer| answer.status().is_client_error()));
    assert!(server.received.no_command());
    assert_eq!(server.post(DRAIN, "").await.status, 200);
    server.stop().await;
}

#[actix_web::test]
async fn only_routes_that_require_authentication_read_a_token() {
    let server = TestServer::start().await;
    for path in ["/", "/healthz", "/readyz", "/openapi.json", "/none"] {
        let answer = TestAnswer::of(server.request(Method::GET, path).bearer_auth("guess"), "").await;
        assert_ne!(answer.status, 401, "{path}");
    }
    for near in ["/api/gateway/drain/", "/api/gateway/drainx", "/api/gateway//drain", "/API/gateway/drain"] {
        let answer = TestAnswer::of(server.request(Method::POST, near), "").await;
        assert_eq!(answer.status, 404, "{near}");
    }
    server.post(DRAIN, "").await;
    let lines = server.audit(1).await;
    assert_eq!(lines.len(), 1, "no other request needed a token: {lines:?}");
    server.stop().await;
}

#[actix_web::test]
async fn the_log_has_exactly_the_fields_of_the_original() {
    let server = TestServer::with(Setting { scope: "other", ..Setting::default() }).await;
    TestAnswer::of(server.request(Method::POST, "/api/actors/drain/restart").bearer_auth("a-guess"), "").await;
    server.post(DRAIN, "").await;
    let known = server.request(Method::GET, "/metrics").insert_header(("via", "1.1 proxy")).bearer_auth(SECRET);
    assert_eq!(TestAnswer::of(known, "").await.status, 200);
    let lines: Vec<String> = server
        .audit(3)
        .await
        .into_iter()
        .map(|mut line| {
            let stamp = line.as_object_mut().unwrap().shift_remove("ts").unwrap();
            assert!(stamp.as_str().unwrap().ends_with('Z'));
            line.to_string()
        })
        .collect();
    let expected = [
        r#"{"event":"token_auth_failure","reason":"no_provider_recognises_token","path":"/api/actors/drain/restart","ip":"127.0.0.1"}"#,
        r#"{"event":"token_auth_failure","reason":"missing_scope","path":"/api/gateway/drain","ip":"127.0.0.1"}"#,
        r#"{"event":"token_auth_success","provider":"drain-secret","principal":"drain-control","path":"/metrics","ip":"127.0.0.1"}"#,
    ];
    assert_eq!(lines, expected);
    server.stop().await;
}

#[actix_web::test]
async fn a_restart_requires_the_scope_and_is_accepted_once() {
    let server = TestServer::start().await;
    let answer = server.post(RESTART, "").await;
    let expected = serde_json::json!({"ok": true, "action": "restart", "force": false, "active_agents": 2});
    assert_eq!((answer.status, answer.json()), (202, expected));
    assert_eq!(server.post(RESTART, r#"{"force":true}"#).await.json()["force"], true);
    assert!(server.received.has(&["RestartProcess", "drain-control", "force: true"]));
    for (body, code) in [(r#"{"force":"yes"}"#, "wrong_field"), ("[]", "not_an_object"), ("{", "invalid_json")] {
        assert_eq!(server.post(RESTART, body).await.error(), (400, code.into()), "{body}");
    }
    let form = server.request(Method::POST, RESTART).bearer_auth(SECRET).insert_header(("content-type", "text/plain"));
    assert_eq!(TestAnswer::of(form, "{}").await.error(), (415, "unsupported_media_type".into()));
    server.set_status(|status| status.gateway_state = GatewayState::Stopping);
    assert_eq!(server.post(RESTART, "").await.error(), (409, "stopping".into()));
    server.stop().await;
}
