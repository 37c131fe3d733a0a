//! Other websites, and foreign names that resolve to this address: raw requests, as browsers and attackers would send them.
//!
//! Drains from loopback need no token in these tests, so only the request guard refuses.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::support::{CEILING, Setting, TestServer};

/// The protected requests: method, path, further headers, body.
const GUARDED: [(&str, &str, &str, &str); 8] = [
    ("GET", "/", "", ""),
    ("GET", "/api/status", "", ""),
    ("GET", "/api/actors", "", ""),
    ("GET", "/metrics", "", ""),
    (
        "GET",
        "/api/status/ws",
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        "",
    ),
    ("POST", "/api/gateway/drain", "content-type: application/json\r\n", "{}"),
    ("POST", "/api/gateway/drain", "content-type: application/x-www-form-urlencoded\r\n", "{}"),
    ("POST", "/api/gateway/restart", "", ""),
];

/// The first line and the rest of what is answered to these bytes.
async fn exchange(server: &TestServer, bytes: String) -> (String, String) {
    let address = server.address;
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(CEILING)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is an end as well.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    let answer = answer.await.unwrap();
    let (first, rest) = answer.split_once("\r\n").unwrap_or((&answer, ""));
    (first.to_owned(), rest.to_owned())
}

/// Sends every guarded request with these headers in the place of the host's; returns those that succeeded.
async fn accepted_requests(server: &TestServer, target: &str, headers: &str) -> Vec<String> {
    let mut got = Vec::new();
    for (method, path, more, body) in GUARDED {
        let request = format!(
            "{method} {target}{path} HTTP/1.1\r\n{headers}connection: close\r\n{more}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let request =
            if more.starts_with("connection") { request.replacen("connection: close\r\n", "", 1) } else { request };
        let (first, rest) = exchange(server, request).await;
        let refused = first.starts_with("HTTP/1.1 403 ")
            && (rest.contains("forbidden_host") || rest.contains("forbidden_origin"));
        let unreadable = first.starts_with("HTTP/1.1 400 ");
        if !refused && !unreadable {
            got.push(format!("{method} {path}: {first}"));
        }
    }
    got
}

async fn open_gate() -> TestServer {
    TestServer::with(Setting { secret: None, insecure: true, ..Setting::default() }).await
}

#[actix_web::test]
async fn under_an_accepted_name_every_request_succeeds() {
    let server = open_gate().await;
    let got = accepted_requests(&server, "", &format!("host: {}\r\n", server.address)).await;
    assert_eq!(got.len(), GUARDED.len(), "every request succeeds: {got:?}");
    assert!(got[4].contains("101") && got[5].contains("200") && got[7].contains("202"), "{got:?}");
    assert!(server.received.has(&["BeginDrain"]) && server.received.has(&["RestartProcess"]));
    server.stop().await;
}

#[actix_web::test]
async fn a_foreign_name_for_this_address_is_refused() {
    let server = open_gate().await;
    let port = server.address.port();
    let hosts = [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("localhost.:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("localhost:{port}.evil.example"),
        "localhost".to_owned(),
        "localhost:80".to_owned(),
        format!("127.0.0.1:{}", port.wrapping_add(1)),
        format!("127.0.0.2:{port}"),
        format!("127.1:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f000001:{port}"),
        format!("0.0.0.0:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("[::2]:{port}"),
        format!("[::1:{port}"),
        format!("user@localhost:{port}"),
        format!("localhost:{port}@evil.example"),
        format!("localhost:{port},evil.example"),
        format!("localhost:{port} evil.example"),
        format!("localhost:0{port}"),
        format!("localhost:+{port}"),
        "*".to_owned(),
        String::new(),
    ];
    for host in hosts {
        let got = accepted_requests(&server, "", &format!("host: {host}\r\n")).await;
        assert!(got.is_empty(), "{host:?} got {got:?}");
    }
    assert!(server.received.no_command());
    server.stop().await;
}

#[actix_web::test]
async fn two_hosts_and_targets_with_another_host_are_refused() {
    let server = open_gate().await;
    let ours = server.address.to_string();
    let twice = [(&*ours, "evil.example"), ("evil.example", &ours), (&ours, &ours)];
    for (first, second) in twice {
        let got = accepted_requests(&server, "", &format!("host: {first}\r\nhost: {second}\r\n")).await;
        assert!(got.is_empty(), "{first} and {second} got {got:?}");
    }
    for target in
        ["http://evil.example", "http://user@evil.example", &format!("https://evil.example:{}", server.address.port())]
    {
        let got = accepted_requests(&server, target, &format!("host: {ours}\r\n")).await;
        assert!(got.is_empty(), "{target} got {got:?}");
    }
    let got = accepted_requests(&server, &format!("http://{ours}"), "host: evil.example\r\n").await;
    assert!(got.is_empty(), "our target with another host got {got:?}");
    assert!(accepted_requests(&server, "", "").await.is_empty(), "without a host");
    assert!(server.received.no_command());
    let got = accepted_requests(&server, &format!("http://{ours}"), &format!("host: {ours}\r\n")).await;
    assert_eq!(got.len(), GUARDED.len(), "an absolute target with our host is accepted: {got:?}");
    server.stop().await;
}

#[actix_web::test]
async fn a_page_of_another_origin_is_refused() {
    let server = open_gate().await;
    let (ours, port) = (server.address.to_string(), server.address.port());
    let origins = [
        "null".to_owned(),
        "http://evil.example".to_owned(),
        format!("http://evil.example:{port}"),
        "http://localhost:3000".to_owned(),
        "http://localhost".to_owned(),
        format!("https://localhost.evil.example:{port}"),
        format!("http://{ours}.evil.example"),
        format!("http://{ours}@evil.example"),
        format!("http://{ours}/"),
        format!("http://{ours} http://evil.example"),
        format!("file://{ours}"),
        format!("chrome-extension://{ours}"),
        ours.clone(),
        String::new(),
    ];
    for origin in origins {
        let got = accepted_requests(&server, "", &format!("host: {ours}\r\norigin: {origin}\r\n")).await;
        assert!(got.is_empty(), "{origin:?} got {got:?}");
    }
    let twice = format!("host: {ours}\r\norigin: http://{ours}\r\norigin: http://evil.example\r\n");
    assert!(accepted_requests(&server, "", &twice).await.is_empty());
    assert!(server.received.no_command());
    server.stop().await;
}

#[actix_web::test]
async fn accepted_names_are_compared_without_case() {
    let server = open_gate().await;
    let port = server.address.port();
    for host in ["LOCALHOST", "LocalHost", "127.0.0.1", "[::1]"] {
        let request = format!("GET /healthz HTTP/1.1\r\nHOST:  {host}:{port} \r\nconnection: close\r\n\r\n");
        assert_eq!(exchange(&server, request).await.0, "HTTP/1.1 200 OK", "{host}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn no_answer_allows_another_origin() {
    let server = open_gate().await;
    let request = format!(
        "OPTIONS /api/gateway/drain HTTP/1.1\r\nhost: {}\r\norigin: http://evil.example\r\naccess-control-request-method: POST\r\nconnection: close\r\n\r\n",
        server.address
    );
    let (first, rest) = exchange(&server, request).await;
    assert!(first.starts_with("HTTP/1.1 403 ") && !rest.to_lowercase().contains("access-control"), "{first} {rest}");
    server.stop().await;
}
