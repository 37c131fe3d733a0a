//! The client of a request and the request id, over real sockets.

use actix_web::http::Method;

use super::support::{SECRET, Setting, TestAnswer, TestServer};

#[actix_web::test]
async fn only_a_trusted_proxy_can_name_a_client_on_loopback() {
    let cases: [(&'static [&'static str], &str, u16); 5] = [
        (&[], "127.0.0.1", 401),
        (&["10.0.0.0/8"], "127.0.0.1", 401),
        (&["127.0.0.1"], "127.0.0.1", 200),
        (&["127.0.0.0/8"], "203.0.113.9", 401),
        (&["127.0.0.1"], "127.0.0.1, 203.0.113.9", 401),
    ];
    for (proxies, client, status) in cases {
        let server = TestServer::with(Setting { proxies, ..Setting::default() }).await;
        let through = server.request(Method::GET, "/metrics").insert_header(("x-forwarded-for", client));
        assert_eq!(TestAnswer::of(through, "").await.status, status, "{proxies:?} {client}");
        server.stop().await;
    }
}

#[actix_web::test]
async fn behind_a_trusted_proxy_failures_are_counted_per_client() {
    let server = TestServer::with(Setting { proxies: &["127.0.0.1"], ..Setting::default() }).await;
    let guess = |client: &'static str| {
        let request = server.request(Method::GET, "/metrics").insert_header(("x-forwarded-for", client));
        TestAnswer::of(request.bearer_auth("guess"), "")
    };
    for _ in 0..10 {
        assert_eq!(guess("203.0.113.9").await.status, 401);
    }
    assert_eq!(guess("203.0.113.9").await.status, 429);
    assert_eq!(guess("203.0.113.8").await.status, 401);
    assert_eq!(server.audit(12).await[11]["ip"], "203.0.113.8");
    server.stop().await;
}

#[actix_web::test]
async fn a_safe_request_id_is_kept_and_any_other_replaced() {
    let server = TestServer::start().await;
    for path in ["/healthz", "/none", "/api/gateway/drain"] {
        let named = server.request(Method::GET, path).insert_header(("x-request-id", "job-7.retry_2"));
        assert_eq!(TestAnswer::of(named, "").await.header("x-request-id"), Some("job-7.retry_2"), "{path}");
        let odd = server.request(Method::GET, path).insert_header(("x-request-id", "a b"));
        assert_eq!(TestAnswer::of(odd, "").await.header("x-request-id").map(str::len), Some(36), "{path}");
    }
    server.lose_actors();
    server.until("the loss to be noticed", || async { server.get("/api/status").await.status == 503 }).await;
    let broken = server.request(Method::POST, "/api/gateway/drain").bearer_auth(SECRET);
    let broken = TestAnswer::of(broken.insert_header(("x-request-id", "mine")), "").await;
    assert_eq!((broken.status, broken.header("x-request-id")), (503, Some("mine")));
    server.stop().await;
}
