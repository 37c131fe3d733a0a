//! Who may ask for what: hosts, origins, tokens; and what does not exist.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HOST, ORIGIN};

use super::support::{CEILING, Gate, SECRET, Setting, TestAnswer};
use crate::http::{BindError, bind};

const DRAIN: &str = "/api/gateway/drain";

/// Every order that requires the drain scope.
const ORDERS: [&str; 4] = [
    DRAIN,
    "/api/actors/drain/restart",
    "/api/actors/profiles/work/reset",
    "/api/turns/019ab000-0000-7000-8000-000000000000/stop",
];

#[actix_web::test]
async fn other_hosts_and_origins_are_refused_on_every_route() {
    let gate = Gate::start().await;
    let paths =
        ["/", "/healthz", "/readyz", "/api/status", "/api/status/ws", "/api/actors", "/metrics", DRAIN, "/none"];
    for path in paths {
        // Probes are answered under any name.
        if !["/healthz", "/readyz"].contains(&path) {
            let host = gate.request(Method::GET, path).insert_header((HOST, "evil.example"));
            assert_eq!(TestAnswer::of(host, "").await.error(), (403, "forbidden_host".into()), "{path}");
        }
        for site in ["http://evil.example", "null", "http://localhost:1"] {
            let origin = gate.request(Method::GET, path).insert_header((ORIGIN, site)).bearer_auth(SECRET);
            assert_eq!(TestAnswer::of(origin, "").await.error(), (403, "forbidden_origin".into()), "{path} {site}");
        }
    }
    let ours = gate.request(Method::GET, "/api/status").insert_header((ORIGIN, gate.url("")));
    assert_eq!(TestAnswer::of(ours, "").await.status, 200);
    let named = gate.request(Method::GET, "/api/status").insert_header((HOST, "gate.example"));
    assert_eq!(TestAnswer::of(named, "").await.status, 200);
    gate.stop().await;
}

#[actix_web::test]
async fn behind_a_wildcard_the_address_that_was_reached_is_ours() {
    let gate = Gate::with(Setting { bind: "0.0.0.0:0", ..Setting::default() }).await;
    let port = gate.address.port();
    let ask = |host: String| {
        let request = gate.request(Method::GET, "/api/status").insert_header((HOST, host));
        TestAnswer::of(request, "")
    };
    assert_eq!(ask(format!("127.0.0.1:{port}")).await.status, 200);
    assert_eq!(ask(format!("203.0.113.9:{port}")).await.status, 403);
    gate.stop().await;
}

#[actix_web::test]
async fn orders_want_one_good_token() {
    let gate = Gate::start().await;
    for path in ORDERS {
        let ask = || gate.request(Method::POST, path);
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
            // After ten failures the peer is slowed down.
            assert!(matches!(answer.status, 401 | 429), "{path}: {answer:?}");
        }
    }
    assert!(gate.received.no_order());
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let good = gate.request(Method::POST, DRAIN).insert_header((AUTHORIZATION, format!("{scheme} {SECRET}")));
        assert_eq!(TestAnswer::of(good, "").await.status, 200, "{scheme}");
    }
    gate.stop().await;
}

#[actix_web::test]
async fn a_refusal_contains_no_reason() {
    let gate = Gate::start().await;
    let answer = TestAnswer::of(gate.request(Method::POST, DRAIN), "").await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.body, r#"{"error":"unauthenticated","detail":"Unauthorized"}"#);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    gate.stop().await;
}

#[actix_web::test]
async fn guessing_is_slowed_down_and_a_good_token_always_passes() {
    let gate = Gate::start().await;
    let guess = || TestAnswer::of(gate.request(Method::POST, DRAIN).bearer_auth("guess"), "");
    for _ in 0..10 {
        assert_eq!(guess().await.status, 401);
    }
    let slowed = guess().await;
    assert_eq!(slowed.error(), (429, "too_many_attempts".into()));
    assert!(slowed.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(gate.post(DRAIN, "").await.status, 200);
    gate.stop().await;
}

#[actix_web::test]
async fn every_decision_is_written_down_without_the_token() {
    let gate = Gate::start().await;
    TestAnswer::of(gate.request(Method::POST, DRAIN).bearer_auth("a-guess"), "").await;
    gate.post(DRAIN, "").await;
    let lines = gate.audit(2).await;
    assert_eq!((&lines[0]["event"], &lines[1]["event"]), (&"token_auth_failure".into(), &"token_auth_success".into()));
    assert_eq!(lines[0]["reason"], "no_provider_recognises_token");
    assert_eq!(lines[1]["provider"], "drain-secret");
    assert_eq!(lines[1]["path"], DRAIN);
    assert_eq!(lines[1]["ip"], "127.0.0.1");
    assert!(lines[0]["ts"].as_str().unwrap().ends_with('Z'));
    let text = format!("{lines:?}");
    assert!(!text.contains(SECRET) && !text.contains("a-guess"));
    gate.stop().await;
}

#[actix_web::test]
async fn a_log_that_cannot_be_written_changes_no_decision() {
    let gate = Gate::start().await;
    std::fs::write(gate.home.path().join("logs"), "in the way").unwrap();
    assert_eq!(gate.post(DRAIN, "").await.status, 200);
    assert_eq!(TestAnswer::of(gate.request(Method::POST, DRAIN), "").await.status, 401);
    gate.stop().await;
}

#[actix_web::test]
async fn without_a_secret_everything_stays_closed() {
    for insecure in [false, true] {
        let gate = Gate::with(Setting { secret: None, insecure, ..Setting::default() }).await;
        assert_eq!(gate.post(DRAIN, "").await.status, 401, "a token that is not recognised");
        let plain = gate.request(Method::POST, DRAIN);
        assert_eq!(TestAnswer::of(plain, "").await.status, if insecure { 200 } else { 401 });
        assert_eq!(gate.received.has(&["BeginDrain", "\"dashboard\""]), insecure);
        let afar = gate.request(Method::POST, DRAIN).insert_header(("x-forwarded-for", "127.0.0.1"));
        assert_eq!(TestAnswer::of(afar, "").await.status, 401, "a client behind a proxy");
        gate.stop().await;
    }
}

#[actix_web::test]
async fn a_weak_secret_opens_nothing() {
    let weak = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let gate = Gate::with(Setting { secret: Some(weak), insecure: true, ..Setting::default() }).await;
    let with = gate.request(Method::POST, DRAIN).bearer_auth(weak);
    assert_eq!(TestAnswer::of(with, "").await.status, 401);
    assert_eq!(TestAnswer::of(gate.request(Method::POST, DRAIN), "").await.status, 401);
    gate.stop().await;
}

#[actix_web::test]
async fn a_secret_for_other_things_may_not_drain_but_may_look() {
    let gate = Gate::with(Setting { scope: "look", ..Setting::default() }).await;
    for path in ORDERS {
        assert_eq!(gate.post(path, "").await.error(), (403, "missing_scope".into()), "{path}");
    }
    let look = gate.request(Method::GET, "/api/actors").insert_header(("x-forwarded-for", "203.0.113.9"));
    assert_eq!(TestAnswer::of(look.bearer_auth(SECRET), "").await.status, 200);
    assert!(gate.received.no_order());
    gate.stop().await;
}

#[actix_web::test]
async fn unknown_paths_and_methods_are_answered_in_the_form_of_every_error() {
    let gate = Gate::start().await;
    for path in ["/none", "/api", "/api/status/", "/api/actors/drain", "/api/actors//restart"] {
        assert_eq!(gate.get(path).await.error(), (404, "not_found".into()), "{path}");
    }
    assert_eq!(gate.post("/api/turns/%FF/stop", "").await.error(), (400, "bad_request".into()));
    for path in ["/", "/healthz", "/readyz", "/api/status", "/api/status/ws", "/api/actors", "/metrics"] {
        let answer = TestAnswer::of(gate.request(Method::DELETE, path), "").await;
        assert_eq!(answer.error(), (405, "method_not_allowed".into()), "{path}");
        assert!(answer.header("allow").unwrap().contains("GET"), "{path}");
    }
    let drain = TestAnswer::of(gate.request(Method::PUT, DRAIN).bearer_auth(SECRET), "").await;
    assert_eq!(drain.error(), (405, "method_not_allowed".into()));
    gate.stop().await;
}

/// Sends bytes as they are, reads until the other end closes.
fn raw(gate: &Gate, bytes: String) -> impl Future<Output = String> + use<> {
    let address = gate.address;
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
async fn slow_and_garbled_clients_are_cut_off() {
    let gate = Gate::start().await;
    let head = format!("POST {DRAIN} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {SECRET}\r\n", gate.address);
    let half = raw(&gate, format!("{head}content-length: 20\r\nconnection: close\r\n\r\n{{"));
    let headless = raw(&gate, head.clone());
    let garbled = raw(&gate, "\u{1} / HTTP/1.1\r\n\r\n".into());
    let nameless = raw(&gate, "GET /api/status HTTP/1.0\r\n\r\n".into());
    let (half, headless, garbled, nameless) = tokio::join!(half, headless, garbled, nameless);
    assert!(half.starts_with("HTTP/1.1 408") && half.contains("body_too_slow"), "{half}");
    assert!(headless.starts_with("HTTP/1.1 408"), "{headless}");
    assert!(garbled.starts_with("HTTP/1.1 400"), "{garbled}");
    assert!(nameless.contains(" 403 ") && nameless.contains("forbidden_host"), "{nameless}");
    assert!(gate.received.no_order());
    gate.stop().await;
}

#[actix_web::test]
async fn a_probe_is_answered_under_any_host_and_none_and_in_http_1_0() {
    let gate = Gate::start().await;
    for path in ["/healthz", "/readyz"] {
        for head in [
            format!("GET {path} HTTP/1.0\r\n\r\n"),
            format!("HEAD {path} HTTP/1.0\r\n\r\n"),
            format!("GET {path} HTTP/1.1\r\nhost: 10.1.2.3:8652\r\nconnection: close\r\n\r\n"),
            format!("GET {path} HTTP/1.1\r\nhost: \r\nconnection: close\r\n\r\n"),
            format!("GET http://gate.example{path} HTTP/1.1\r\nhost: gate.example\r\nconnection: close\r\n\r\n"),
        ] {
            let answer = raw(&gate, head.clone()).await;
            assert_eq!(answer.split(' ').nth(1), Some("200"), "{head} got {answer}");
        }
    }
    let nameless = raw(&gate, "GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n".into()).await;
    assert!(nameless.starts_with("HTTP/1.1 400"), "HTTP/1.1 itself asks for a host: {nameless}");
    let foreign = "GET /healthz HTTP/1.1\r\nhost: x\r\norigin: http://evil.example\r\nconnection: close\r\n\r\n";
    assert!(raw(&gate, foreign.into()).await.contains("forbidden_origin"), "a website is no probe");
    gate.stop().await;
}

#[actix_web::test]
async fn a_taken_address_is_named() {
    let gate = Gate::start().await;
    let again = Gate::options(Setting::default(), gate.address, gate.home.path());
    let Err(BindError { address, .. }) = bind(again, gate.ports()) else { panic!("bound twice") };
    assert_eq!(address, gate.address);
    gate.stop().await;
}
