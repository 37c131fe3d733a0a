//! The client against servers that answer in every form, and through proxies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use secrecy::SecretString;

use super::*;

#[path = "../../../tests/support/forms.rs"]
mod forms;
#[path = "../../tests/support/refusing.rs"]
mod refusing;

use forms::{Ends, FORMS, FormServer, answer, gzip, read_request};
use refusing::refusing;

const BODY: &str = r#"{"token":"hunter2","text":"Grüße, and some more that goes into several chunks"}"#;
/// Timeout for an event that does not arrive.
const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(20);

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The path of a request selects the form of its answer.
fn by_path() -> FormServer {
    FormServer::start(|request| {
        let form = request.split(['/', ' ', '?']).nth(2).unwrap().to_owned();
        (form, "application/json", BODY.into())
    })
}

async fn fetch(client: &HttpClient, url: &str, limits: HttpLimits) -> Result<Collected, HttpError> {
    let bearer = SecretString::from("hunter2");
    let call = HttpCall::post(url, "application/json", "{}", limits).bearer(&bearer)?;
    Ok(client.send(call).await?.collect().await)
}

#[test]
fn every_form_of_an_answer_is_read_or_refused_with_its_reason() {
    let server = by_path();
    run(async {
        let client = HttpClient::default();
        for (form, ends) in FORMS {
            let limit = if ends == Ends::Never { SHORT } else { LONG };
            let url = format!("{}/{form}?key=hunter2", server.url());
            let got = fetch(&client, &url, HttpLimits::within(limit, 64 * 1024)).await;
            let shown = format!("{form}: {got:?}");
            assert!(!shown.contains("hunter2") && !shown.contains("127.0.0.1"), "{shown}");
            match (ends, got) {
                (Ends::Whole, Ok(got)) => {
                    assert_eq!((got.status, &got.broken), (200, &None), "{shown}");
                    assert_eq!(got.json().unwrap()["token"], "hunter2", "{shown}");
                }
                (Ends::Cut, Ok(got)) => {
                    assert!(matches!(got.broken, Some(HttpError::Cut(_))) && got.json().is_none(), "{shown}");
                }
                (Ends::Never, Ok(got)) => assert!(matches!(got.broken, Some(HttpError::TooSlow(_))), "{shown}"),
                (Ends::Never, Err(HttpError::Silent(_)))
                | (Ends::Unreadable, Err(HttpError::Malformed(_) | HttpError::Compressed(_)))
                | (Ends::Closed, Err(HttpError::NoAnswer(_))) => {}
                (Ends::Redirect, Err(error)) => {
                    let to = Some("https://elsewhere.example:8443".to_owned());
                    assert_eq!(error, HttpError::Redirect { status: 307, to });
                }
                _ => panic!("{shown}"),
            }
        }
    });
    assert_eq!(server.requests(), FORMS.len(), "one request each, and the redirect not followed");
}

#[test]
fn an_unsupported_encoding_of_a_body_is_named() {
    let server = by_path();
    let url = format!("{}/brotli", server.url());
    let error = run(fetch(&HttpClient::default(), &url, HttpLimits::within(LONG, 1024))).unwrap_err();
    assert_eq!(error.to_string(), "the body is compressed as br, which was not accepted");
}

#[test]
fn the_limit_of_a_body_applies_before_and_after_decompression() {
    // A kilobyte of this is a megabyte.
    let server = FormServer::start(|request| {
        let form = request.split(['/', ' ', '?']).nth(2).unwrap().to_owned();
        (form, "text/plain", vec![b'x'; 100_000])
    });
    run(async {
        for form in ["length", "chunked", "close", "gzip"] {
            let url = format!("{}/{form}", server.url());
            let client = HttpClient::default();
            let fits = fetch(&client, &url, HttpLimits::within(LONG, 120_000)).await.unwrap();
            assert_eq!((fits.body.len(), fits.broken), (100_000, None), "{form}");
            let over = fetch(&client, &url, HttpLimits::within(LONG, 99_999)).await.unwrap();
            assert_eq!(over.broken, Some(HttpError::TooLarge(99_999)), "{form}");
            assert!(over.body.len() <= 99_999);
        }
    });
    let mut bomb = decompress::Decompressor::of("gzip").unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![0; 10_000_000]).unwrap();
    assert_eq!(bomb.feed(&encoder.finish().unwrap(), 1_000_000), Ok(None));
    let mut cut = decompress::Decompressor::of("gzip").unwrap();
    let body = gzip(b"hunter2");
    assert!(cut.feed(&body[..body.len() - 9], 100).is_ok());
    assert!(cut.end().is_some(), "half a body is not a body");
}

#[test]
fn an_unsent_request_is_distinguished_from_one_that_may_have_been_sent() {
    let (_socket, closed) = refusing();
    run(async {
        let client = HttpClient::default();
        let limits = HttpLimits::within(LONG, 1024);
        for url in [
            format!("http://{closed}/"),
            "http://no-such-host.invalid/".to_owned(),
            "http://user:hunter2@a.example/".to_owned(),
            "ftp://a.example/".to_owned(),
            "http:///x".to_owned(),
            "nonsense hunter2".to_owned(),
        ] {
            let error = fetch(&client, &url, limits).await.unwrap_err();
            assert!(!error.is_sent() && !format!("{error} {error:?}").contains("hunter2"), "{url}: {error:?}");
        }
        // A server without TLS.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 16]).map(|_| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        });
        let error = fetch(&client, &url, limits).await.unwrap_err();
        assert!(matches!(error, HttpError::Tls(_)) && !error.is_sent(), "{error:?}");
        assert!(HttpError::NoAnswer(String::new()).is_sent());
        let odd = HttpCall::get("http://a.example", limits).bearer(&SecretString::from("a\nb"));
        assert!(odd.is_err_and(|error| error == HttpError::Unusable("the token is malformed")));
    });
}

#[test]
fn interim_answers_without_end_are_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&mut stream);
        while stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let begun = Instant::now();
    let error = run(fetch(&HttpClient::default(), &format!("http://{address}"), HttpLimits::within(SHORT, 1024)));
    assert!(matches!(error, Err(HttpError::Silent(_))), "{error:?}");
    assert!(begun.elapsed() < LONG);
}

#[test]
fn a_connection_is_used_again_only_by_calls_that_may() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (report, requests) = mpsc::channel();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (mut stream, report) = (stream.unwrap(), report.clone());
            thread::spawn(move || {
                while read_request(&mut stream).is_some() {
                    report.send(number).unwrap();
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
                }
            });
        }
    });
    run(async {
        let client = HttpClient::default();
        for kept_alive in [true, true, false, false, true] {
            let call = HttpCall::get(&url, HttpLimits::within(LONG, 1024));
            let call = if kept_alive { call.kept_alive() } else { call };
            assert!(client.send(call).await.unwrap().collect().await.json().is_some());
        }
    });
    let used: Vec<usize> = requests.try_iter().collect();
    assert_eq!(used, [0, 0, 1, 2, 0]);
}

/// A proxy that reports its requests, and answers each one after CONNECT or without by `form`. `refusal` is its answer
/// to CONNECT if it refuses.
fn proxy(refusal: Option<&'static str>) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (report, requests) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (mut stream, report) = (stream, report.clone());
            thread::spawn(move || {
                let Some(request) = read_request(&mut stream) else { return };
                let connect = request.starts_with("CONNECT ");
                report.send(request).unwrap();
                match (connect, refusal) {
                    (true, Some(refusal)) => stream.write_all(refusal.as_bytes()).unwrap(),
                    (true, None) => {
                        stream.write_all(b"HTTP/1.0 200 Connection established\r\nX-Via: p\r\n\r\n").unwrap();
                        let mut first = [0];
                        let read = stream.read(&mut first).unwrap_or_default();
                        report.send(format!("{:?}", &first[..read])).unwrap();
                    }
                    (false, _) => answer(&mut stream, "close", "application/json", BODY.as_bytes()).unwrap(),
                }
            });
        }
    });
    (address, requests)
}

fn through(variables: &[(&str, String)]) -> HttpClient {
    let mut warnings = Vec::new();
    let value = |name: &str| {
        variables.iter().find(|(given, _)| *given == name).map(|(_, value)| SecretString::from(value.as_str()))
    };
    let client = HttpClient::new(TlsRoots::default(), Proxies::read(value, &mut warnings));
    assert_eq!(warnings, Vec::<String>::new());
    client
}

#[test]
fn a_plain_call_is_forwarded_by_the_proxy_and_an_encrypted_one_is_tunnelled() {
    let (address, requests) = proxy(None);
    let client = through(&[("ALL_PROXY", format!("http://me:hunter2@{address}"))]);
    let limits = HttpLimits::within(LONG, 1024);
    run(async {
        let got = fetch(&client, "http://server.example:8080/path", limits).await.unwrap();
        assert_eq!(got.json().unwrap()["token"], "hunter2");
        let request = requests.recv_timeout(LONG).unwrap();
        assert!(request.starts_with("POST http://server.example:8080/path HTTP/1.1\r\n"), "{request}");
        // base64 of me:hunter2
        assert!(request.contains("proxy-authorization: Basic bWU6aHVudGVyMg=="), "{request}");

        let error = fetch(&client, "https://server.example/path", limits).await.unwrap_err();
        assert!(matches!(error, HttpError::Tls(_)), "{error:?}");
        let request = requests.recv_timeout(LONG).unwrap();
        assert!(request.starts_with("CONNECT server.example:443 HTTP/1.1\r\n"), "{request}");
        let lower = request.to_lowercase();
        assert!(lower.contains("proxy-authorization: basic ") && !lower.contains("bearer"), "{request}");
        assert_eq!(requests.recv_timeout(LONG).unwrap(), "[22]", "the first byte of TLS");
    });
}

#[test]
fn a_failure_of_the_proxy_is_reported_and_nothing_was_sent() {
    let limits = HttpLimits::within(LONG, 1024);
    for (refusal, why) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "other credentials (407)"),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "answered CONNECT with 403"),
        ("HTTP/1.1 200 OK\r\n\r\nmore", "more than an answer"),
        ("SSH-2.0\r\n\r\n", "invalid"),
        ("", "closed"),
    ] {
        let (address, _asked) = proxy(Some(refusal));
        let client = through(&[("HTTPS_PROXY", format!("http://me:hunter2@{address}"))]);
        let error = run(fetch(&client, "https://server.example", limits)).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(matches!(error, HttpError::Proxy(_)) && !error.is_sent() && shown.contains(why), "{refusal}: {shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let (_socket, closed) = refusing();
    let client = through(&[("HTTP_PROXY", format!("http://{closed}"))]);
    let error = run(fetch(&client, "http://server.example", limits)).unwrap_err();
    assert!(matches!(error, HttpError::Proxy(_)) && !error.is_sent(), "{error:?}");
}

#[test]
fn loopback_addresses_and_exceptions_use_no_proxy() {
    let (address, requests) = proxy(None);
    let server = by_path();
    let client = through(&[("HTTP_PROXY", format!("http://{address}"))]);
    let got = run(fetch(&client, &format!("{}/length", server.url()), HttpLimits::within(LONG, 1024))).unwrap();
    assert!(got.json().is_some());
    assert!(requests.try_recv().is_err());
}

#[test]
fn every_connection_sends_small_pieces_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let transport = run(HttpClient::default().connector(LONG).open(&uri)).unwrap();
    assert!(transport.tcp().nodelay().unwrap());
}

#[test]
fn the_other_address_of_a_name_is_tried() {
    // `localhost` is ::1 first, and only 127.0.0.1 listens.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://localhost:{}", listener.local_addr().unwrap().port()).parse().unwrap();
    run(HttpClient::default().connector(LONG).open(&uri)).unwrap();
}

#[test]
fn json_is_read_with_a_mark_before_it() {
    assert_eq!(json::<Vec<u8>>("\u{feff}[7]".as_bytes()).unwrap(), [7]);
    assert!(json::<Vec<u8>>(b"\xff\xfe[7]").is_err());
    let broken = |body: &str| Collected {
        status: 200,
        body: body.as_bytes().to_vec().into(),
        broken: Some(HttpError::Cut(String::new())),
    };
    assert!(broken("{\"a\":1}").json().is_some());
    assert!(broken("12").json().is_none(), "it may be the beginning of 123");
}

#[test]
fn a_dropped_connection_ends_although_a_forked_child_still_has_its_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    run(async {
        let transport = HttpClient::default().connector(LONG).open(&uri).await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        // What a child has between fork and exec.
        let copy = rustix::io::dup(transport.tcp()).unwrap();
        drop(transport);
        peer.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "the peer sees the end");
        drop(copy);
    });
}
