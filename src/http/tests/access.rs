//! Access to routes: hosts, origins, tokens, unknown paths.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HOST, ORIGIN};

use super::support::{CEILING, SECRET, Setting, TestAnswer, TestServer};
use crate::http::{BindError, bind};

const DRAIN: &str = "/api/gateway/drain";

/// Every request that requires the drain scope.
const CONTROL_PATHS: [&str; 4] = [
    DRAIN,
    "/api/actors/drain/restart",
    "/api/actors/profiles/work/reset",
    "/api/turns/019ab000-0000-7000-8000-000000000000/stop",
];

#[actix_web::test]
async fn other_hosts_and_origins_are_refused_on_every_route() {
    let server = TestServer::start().await;
    let paths =
        ["/", "/healthz", "/readyz", "/api/status", "/api/status/ws", "/api/actors", "/metrics", DRAIN, "/none"];
    for path in paths {
        // Probes are answered under any name.
        if !["/healthz", "/readyz"].contains(&path) {
            let host = server.request(Method::GET, path).insert_header((HOST, "evil.example"));
            assert_eq!(TestAnswer::of(host, "").await.error(), (403, "forbidden_host".into()), "{path}");
        }
        for site in ["http://evil.example", "null", "http://localhost:1"] {
            let origin = server.request(Method::GET, path).insert_header((ORIGIN, site)).bearer_auth(SECRET);
            assert_eq!(TestAnswer::of(origin, "").await.error(), (403, "forbidden_origin".into()), "{path} {site}");
        }
    }
    let ours = server.request(Method::GET, "/api/status").insert_header((ORIGIN, server.url("")));
    assert_eq!(TestAnswer::of(ours, "").await.status, 200);
    let named = server.request(Method::GET, "/api/status").insert_header((HOST, "server.example"));
    assert_eq!(TestAnswer::of(named, "").await.status, 200);
    server.stop().await;
}

#[actix_web::test]
async fn on_a_wildcard_address_the_local_address_of_the_connection_is_accepted_as_host() {
    let server = TestServer::with(Setting { bind: "0.0.0.0:0", ..Setting::default() }).await;
    let port = server.address.port();
    let ask = |host: String| {
        let request = server.request(Method::GET, "/api/status").insert_header((HOST, host));
        TestAnswer::of(request, "")
    };
    assert_eq!(ask(format!("127.0.0.1:{port}")).await.status, 200);
    assert_eq!(ask(format!("203.0.113.9:{port}")).await.status, 403);
    server.stop().await;
}

#[actix_web::test]
async fn control_routes_require_one_valid_token() {
    let server = TestServer::start().await;
    for path in CONTROL_PATHS {
        let ask = || server.request(Method::POST, path);
        let refused = [
            ask(),
            ask().bearer_auth("wrong"),
            ask().basic_auth("drain-control", SECRET),
            ask().insert_header((AUTHORIZATION, "Bearer")),
            ask().insert_header((AUTHORIZATION, SECRET)),
            ask().append_header((AUTHORIZATION, format!("Bearer {SECRET}"))).append_header((AUTHORIZATION, "Bearer x")),
        ];
        for request in refused {
            let answer = TestAnswer::of(request, "").await;
            // After ten failures the peer has to wait.
            assert!(matches!(answer.status, 401 | 429), "{path}: {answer:?}");
        }
    }
    assert!(server.received.no_command());
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let good = server.request(Method::POST, DRAIN).insert_header((AUTHORIZATION, format!("{scheme} {SECRET}")));
        assert_eq!(TestAnswer::of(good, "").await.status, 200, "{scheme}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn a_refusal_contains_no_reason() {
    let server = TestServer::start().await;
    let answer = TestAnswer::of(server.request(Method::POST, DRAIN), "").await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.body, r#"{"error":"unauthenticated","detail":"Unauthorized"}"#);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    server.stop().await;
}

#[actix_web::test]
async fn guesses_are_limited_and_a_valid_token_always_passes() {
    let server = TestServer::start().await;
    let guess = || TestAnswer::of(server.request(Method::POST, DRAIN).bearer_auth("guess"), "");
    for _ in 0..10 {
        assert_eq!(guess().await.status, 401);
    }
    let limited = guess().await;
    assert_eq!(limited.error(), (429, "too_many_attempts".into()));
    assert!(limited.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(server.post(DRAIN, "").await.status, 200);
    server.stop().await;
}

#[actix_web::test]
async fn every_decision_is_logged_without_the_token() {
    let server = TestServer::start().await;
    TestAnswer::of(server.request(Method::POST, DRAIN).bearer_auth("a-guess"), "").await;
    server.post(DRAIN, "").await;
    let lines = server.audit(2).await;
    assert_eq!((&lines[0]["event"], &lines[1]["event"]), (&"token_auth_failure".into(), &"token_auth_success".into()));
    assert_eq!(lines[0]["reason"], "no_provider_recognises_token");
    assert_eq!(lines[1]["provider"], "drain-secret");
    assert_eq!(lines[1]["path"], DRAIN);
    assert_eq!(lines[1]["ip"], "127.0.0.1");
    assert!(lines[0]["ts"].as_str().unwrap().ends_with('Z'));
    let text = format!("{lines:?}");
    assert!(!text.contains(SECRET) && !text.contains("a-guess"));
    server.stop().await;
}

#[actix_web::test]
async fn a_log_that_cannot_be_written_changes_no_decision() {
    let server = TestServer::start().await;
    std::fs::write(server.home.path().join("logs"), "in the way").unwrap();
    assert_eq!(server.post(DRAIN, "").await.status, 200);
    assert_eq!(TestAnswer::of(server.request(Method::POST, DRAIN), "").await.status, 401);
    server.stop().await;
}

#[actix_web::test]
async fn without_a_secret_every_control_request_is_refused() {
    for insecure in [false, true] {
        let server = TestServer::with(Setting { secret: None, insecure, ..Setting::default() }).await;
        assert_eq!(server.post(DRAIN, "").await.status, 401, "a token that is not recognised");
        let plain = server.request(Method::POST, DRAIN);
        assert_eq!(TestAnswer::of(plain, "").await.status, if insecure { 200 } else { 401 });
        assert_eq!(server.received.has(&["BeginDrain", "\"dashboard\""]), insecure);
        let afar = server.request(Method::POST, DRAIN).insert_header(("x-forwarded-for", "127.0.0.1"));
        assert_eq!(TestAnswer::of(afar, "").await.status, 401, "a client behind a proxy");
        server.stop().await;
    }
}

#[actix_web::test]
async fn the_flag_for_trials_opens_no_text_of_the_ledger() {
    let server = TestServer::with(Setting { secret: None, insecure: true, ..Setting::default() }).await;
    let erase = r#"{"user":"ann"}"#;
    for (method, path, body) in [
        (Method::GET, "/api/ledger/rows/in-5/text", ""),
        (Method::HEAD, "/api/ledger/rows/in-5/text", ""),
        (Method::POST, "/api/ledger/export", ""),
        (Method::POST, "/api/ledger/erase", erase),
    ] {
        let answer = TestAnswer::of(server.request(method.clone(), path), body).await;
        assert_eq!(answer.status, 401, "{method} {path}");
        if method != Method::HEAD {
            assert_eq!(answer.error(), (401, "token_required".into()), "{path}");
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("HERMES_DASHBOARD_DRAIN_SECRET"), "it says what to do: {detail}");
        }
    }
    assert!(!server.received.has(&["with_text: true"]) && server.received.no_command(), "nothing reached the ledger");
    // What it is for stays open, and a client without a token guesses nothing.
    for _ in 0..20 {
        let again = TestAnswer::of(server.request(Method::POST, "/api/ledger/export"), "").await;
        assert_eq!(again.error(), (401, "token_required".into()));
    }
    let retry = server.request(Method::POST, "/api/ledger/rows/in-5/retry");
    assert_eq!(TestAnswer::of(retry, "").await.status, 200);
    server.stop().await;
}

#[actix_web::test]
async fn a_weak_secret_is_refused() {
    let weak = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let server = TestServer::with(Setting { secret: Some(weak), insecure: true, ..Setting::default() }).await;
    let with = server.request(Method::POST, DRAIN).bearer_auth(weak);
    assert_eq!(TestAnswer::of(with, "").await.status, 401);
    assert_eq!(TestAnswer::of(server.request(Method::POST, DRAIN), "").await.status, 401);
    server.stop().await;
}

#[actix_web::test]
async fn a_token_with_another_scope_may_read_and_not_drain() {
    let server = TestServer::with(Setting { scope: "other", ..Setting::default() }).await;
    for path in CONTROL_PATHS {
        assert_eq!(server.post(path, "").await.error(), (403, "missing_scope".into()), "{path}");
    }
    let read = server.request(Method::GET, "/api/actors").insert_header(("x-forwarded-for", "203.0.113.9"));
    assert_eq!(TestAnswer::of(read.bearer_auth(SECRET), "").await.status, 200);
    assert!(server.received.no_command());
    server.stop().await;
}

#[actix_web::test]
async fn unknown_paths_and_methods_are_answered_in_the_form_of_every_error() {
    let server = TestServer::start().await;
    for path in ["/none", "/api", "/api/status/", "/api/actors/drain", "/api/actors//restart"] {
        assert_eq!(server.get(path).await.error(), (404, "not_found".into()), "{path}");
    }
    assert_eq!(server.post("/api/turns/%FF/stop", "").await.error(), (400, "bad_request".into()));
    for path in ["/", "/healthz", "/readyz", "/api/status", "/api/status/ws", "/api/actors", "/metrics"] {
        let answer = TestAnswer::of(server.request(Method::DELETE, path), "").await;
        assert_eq!(answer.error(), (405, "method_not_allowed".into()), "{path}");
        assert!(answer.header("allow").unwrap().contains("GET"), "{path}");
    }
    let drain = TestAnswer::of(server.request(Method::PUT, DRAIN).bearer_auth(SECRET), "").await;
    assert_eq!(drain.error(), (405, "method_not_allowed".into()));
    server.stop().await;
}

/// Sends bytes as they are, reads until the other end closes.
fn raw(server: &TestServer, bytes: String) -> impl Future<Output = String> + use<> {
    let address = server.address;
    let exchange = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(CEILING)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is an end as well.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    async { exchange.await.unwrap() }
}

#[actix_web::test]
async fn slow_and_invalid_requests_are_ended() {
    let server = TestServer::start().await;
    let head = format!("POST {DRAIN} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {SECRET}\r\n", server.address);
    let half = raw(&server, format!("{head}content-length: 20\r\nconnection: close\r\n\r\n{{"));
    let headless = raw(&server, head.clone());
    let garbled = raw(&server, "\u{1} / HTTP/1.1\r\n\r\n".into());
    let nameless = raw(&server, "GET /api/status HTTP/1.0\r\n\r\n".into());
    let (half, headless, garbled, nameless) = tokio::join!(half, headless, garbled, nameless);
    assert!(half.starts_with("HTTP/1.1 408") && half.contains("body_too_slow"), "{half}");
    assert!(headless.starts_with("HTTP/1.1 408"), "{headless}");
    assert!(garbled.starts_with("HTTP/1.1 400"), "{garbled}");
    assert!(nameless.contains(" 403 ") && nameless.contains("forbidden_host"), "{nameless}");
    assert!(server.received.no_command());
    server.stop().await;
}

#[actix_web::test]
async fn a_probe_is_answered_under_any_host_and_none_and_in_http_1_0() {
    let server = TestServer::start().await;
    for path in ["/healthz", "/readyz"] {
        for head in [
            format!("GET {path} HTTP/1.0\r\n\r\n"),
            format!("HEAD {path} HTTP/1.0\r\n\r\n"),
            format!("GET {path} HTTP/1.1\r\nhost: 10.1.2.3:8652\r\nconnection: close\r\n\r\n"),
            format!("GET {path} HTTP/1.1\r\nhost: \r\nconnection: close\r\n\r\n"),
            format!("GET http://server.example{path} HTTP/1.1\r\nhost: server.example\r\nconnection: close\r\n\r\n"),
        ] {
            let answer = raw(&server, head.clone()).await;
            assert_eq!(answer.split(' ').nth(1), Some("200"), "{head} got {answer}");
        }
    }
    let nameless = raw(&server, "GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n".into()).await;
    assert!(nameless.starts_with("HTTP/1.1 400"), "HTTP/1.1 requires a Host header: {nameless}");
    let foreign = "GET /healthz HTTP/1.1\r\nhost: x\r\norigin: http://evil.example\r\nconnection: close\r\n\r\n";
    assert!(raw(&server, foreign.into()).await.contains("forbidden_origin"), "a website is not a probe");
    server.stop().await;
}

#[actix_web::test]
async fn the_error_for_an_address_in_use_has_the_address() {
    let server = TestServer::start().await;
    let again = TestServer::options(Setting::default(), server.address, server.home.path());
    let Err(BindError { address, .. }) = bind(again, server.ports()) else { panic!("bound twice") };
    assert_eq!(address, server.address);
    server.stop().await;
}
