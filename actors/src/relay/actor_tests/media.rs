//! Media that the connector hosts, fetched before the dispatcher receives the event.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::peer::{Peer, event};
use super::rig::LinkBench;
use super::waits::run;

/// An event with media at these addresses.
async fn send(peer: &mut Peer, message_id: &str, addresses: &[&str]) {
    let mut event = event(message_id);
    event["media_urls"] = addresses.iter().copied().map(Value::from).collect();
    peer.send_json(json!({"type": "inbound", "event": event})).await;
}

/// The address of media that the connector of `bench` hosts.
fn kept(bench: &LinkBench, path: &str) -> String {
    format!("{}{path}", bench.connector.url.replace("ws://", "http://"))
}

#[test]
fn media_of_the_connector_becomes_a_file_and_the_events_keep_their_order() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let (own, other) = (kept(&bench, "/m/photo.PNG"), "https://elsewhere.example/m/photo.png");
        send(&mut peer, "m1", &[other, &own]).await;
        peer.inbound("m2", None).await;
        let request =
            bench.connector.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\npicture").await;
        assert!(request.starts_with("GET /m/photo.PNG HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: Bearer token-2\r\n"), "a separate token: {request}");
        let (inbound, _answer) = bench.offer().await;
        assert_eq!((inbound.event.message_id.as_deref(), inbound.event.media_urls[0].as_str()), (Some("m1"), other));
        let path = &inbound.event.media_urls[1];
        let raw: Value = serde_json::from_str(inbound.raw_event.get()).unwrap();
        assert_eq!(raw["media_urls"], json!([other, path]));
        let shape = std::path::Path::new(path);
        assert!(shape.starts_with(bench.media.path()) && shape.extension().is_some_and(|it| it == "png"), "{path}");
        assert_eq!(fs::read(path).unwrap(), b"picture");
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(bench.offer().await.0.event.message_id.as_deref(), Some("m2"));
    });
}

#[test]
fn media_that_cannot_be_fetched_keeps_its_address_and_leaves_no_file() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let own = kept(&bench, "/m/1");
        let mut huge =
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n1900001\r\n".to_vec();
        huge.resize(huge.len() + 25 * 1024 * 1024 + 1, b'x');
        huge.extend_from_slice(b"\r\n0\r\n\r\n");
        let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\npicture";
        // A redirect would send the token to another host.
        let redirect =
            format!("HTTP/1.1 302 Found\r\nlocation: {own}2\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let missing = b"HTTP/1.1 404 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        for answer in [redirect.as_bytes(), missing, &huge, cut] {
            send(&mut peer, "m", &[&own]).await;
            bench.connector.answer(answer).await;
            let (inbound, _answer) = bench.offer().await;
            assert_eq!(inbound.event.media_urls, [own.as_str()]);
        }
        bench.connector.no_dial().await;
        assert_eq!(fs::read_dir(bench.media.path().join("media")).unwrap().count(), 0);
    });
}

#[test]
fn media_that_ends_with_the_connection_is_complete() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let own = kept(&bench, "/m/1");
        send(&mut peer, "m", &[&own]).await;
        bench.connector.answer(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\npicture").await;
        let (inbound, _answer) = bench.offer().await;
        assert_eq!(fs::read(&inbound.event.media_urls[0]).unwrap(), b"picture");
    });
}

#[test]
fn a_token_for_a_new_connector_is_not_sent_to_the_old_one() {
    run(async {
        let (mut bench, mut peer) = LinkBench::connected().await;
        let own = kept(&bench, "/m/1");
        bench.profile.borrow_mut().1.as_mut().unwrap().url = "wss://new.example".into();
        send(&mut peer, "m", &[&own]).await;
        let (inbound, _answer) = bench.offer().await;
        assert_eq!(inbound.event.media_urls, [own.as_str()]);
        bench.connector.no_dial().await;
    });
}
