//! The status over the WebSocket.

use std::time::Duration;

use actix_web_actors::ws::{CloseCode, ProtocolError};
use awc::error::WsClientError;
use awc::http::header::{AUTHORIZATION, HOST, ORIGIN};
use awc::ws::{Frame, Message, WebsocketsRequest};
use futures_util::{SinkExt as _, Stream, StreamExt as _};
use serde_json::Value;

use super::support::{CEILING, SECRET, TestServer};

fn dial(server: &TestServer) -> WebsocketsRequest {
    awc::Client::default().ws(server.url("/api/status/ws"))
}

/// A client that the gateway must not treat as on loopback.
fn dial_as_remote(server: &TestServer) -> WebsocketsRequest {
    dial(server).header("x-forwarded-for", "203.0.113.9")
}

async fn next(socket: &mut (impl Stream<Item = Result<Frame, ProtocolError>> + Unpin)) -> Frame {
    let frame = tokio::time::timeout(CEILING, socket.next()).await;
    frame.expect("no frame received").expect("the socket ended").expect("a broken frame")
}

/// The next status, past pings.
async fn status(socket: &mut (impl Stream<Item = Result<Frame, ProtocolError>> + Unpin)) -> Value {
    loop {
        match next(socket).await {
            Frame::Text(text) => return serde_json::from_slice(&text).unwrap(),
            Frame::Ping(_) => {}
            other => panic!("no status: {other:?}"),
        }
    }
}

async fn close_code(socket: &mut (impl Stream<Item = Result<Frame, ProtocolError>> + Unpin)) -> CloseCode {
    loop {
        match next(socket).await {
            Frame::Close(reason) => return reason.expect("a close without a reason").code,
            Frame::Ping(_) => {}
            other => panic!("no close frame: {other:?}"),
        }
    }
}

fn refused(result: Result<impl Sized, WsClientError>) -> u16 {
    match result {
        Err(WsClientError::InvalidResponseStatus(status)) => status.as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    }
}

#[actix_web::test]
async fn a_watcher_gets_the_status_and_every_change() {
    let server = TestServer::start().await;
    let (_, mut socket) = dial(&server).connect().await.unwrap();
    assert_eq!(status(&mut socket).await["active_agents"], 2);
    server.set_status(|status| status.active_agents = 3);
    // The pong to the ping after the first status permits the next one.
    socket.send(Message::Pong("".into())).await.unwrap();
    assert_eq!(status(&mut socket).await["active_agents"], 3);
    server.stop().await;
}

#[actix_web::test]
async fn a_watcher_that_reads_slowly_is_sent_only_the_newest_status() {
    let server = TestServer::start().await;
    let (_, mut socket) = dial(&server).connect().await.unwrap();
    assert_eq!(status(&mut socket).await["active_agents"], 2);
    for agents in 10..=20 {
        server.set_status(|status| status.active_agents = agents);
    }
    server.until("the last change", || async { server.get("/api/status").await.json()["active_agents"] == 20 }).await;
    socket.send(Message::Pong("".into())).await.unwrap();
    assert_eq!(status(&mut socket).await["active_agents"], 20);
    server.stop().await;
}

#[actix_web::test]
async fn other_websites_may_not_watch() {
    let server = TestServer::start().await;
    assert_eq!(refused(dial(&server).set_header(ORIGIN, "http://evil.example").connect().await), 403);
    assert_eq!(refused(dial(&server).set_header(HOST, "evil.example").connect().await), 403);
    let ours = dial(&server).set_header(ORIGIN, server.url("")).connect().await;
    assert!(ours.is_ok());
    server.stop().await;
}

#[actix_web::test]
async fn the_first_message_of_a_remote_client_is_its_token() {
    let server = TestServer::start().await;
    let (_, mut known) = dial_as_remote(&server).connect().await.unwrap();
    known.send(Message::Text(SECRET.into())).await.unwrap();
    assert_eq!(status(&mut known).await["gateway_state"], "running");

    let (_, mut wrong) = dial_as_remote(&server).connect().await.unwrap();
    wrong.send(Message::Text("guess".into())).await.unwrap();
    assert_eq!(close_code(&mut wrong).await, CloseCode::Other(4401));
    assert_eq!(server.audit(2).await[1]["reason"], "no_provider_recognises_token");

    let header = dial_as_remote(&server).set_header(AUTHORIZATION, format!("Bearer {SECRET}"));
    let (_, mut header) = header.connect().await.unwrap();
    assert_eq!(status(&mut header).await["gateway_state"], "running");
    let bad = dial_as_remote(&server).set_header(AUTHORIZATION, "Bearer guess");
    assert_eq!(refused(bad.connect().await), 401);
    server.stop().await;
}

#[actix_web::test]
async fn a_remote_client_without_a_token_is_closed_after_five_seconds() {
    let server = TestServer::start().await;
    let (_, mut silent) = dial_as_remote(&server).connect().await.unwrap();
    let since = std::time::Instant::now();
    assert_eq!(close_code(&mut silent).await, CloseCode::Other(4401));
    assert!(since.elapsed() >= Duration::from_millis(4_500));
    server.stop().await;
}

#[actix_web::test]
async fn watchers_are_closed_when_the_status_is_lost_and_when_the_server_stops() {
    let server = TestServer::start().await;
    let (_, mut socket) = dial(&server).connect().await.unwrap();
    status(&mut socket).await;
    server.lose_actors();
    assert_eq!(close_code(&mut socket).await, CloseCode::Again);
    assert_eq!(refused(dial(&server).connect().await), 503);
    server.stop().await;

    let server = TestServer::start().await;
    let (_, mut socket) = dial(&server).connect().await.unwrap();
    status(&mut socket).await;
    let (code, ()) = tokio::join!(close_code(&mut socket), server.stop());
    assert_eq!(code, CloseCode::Away);
}

#[actix_web::test]
async fn a_client_that_sends_too_many_pings_is_closed() {
    let server = TestServer::start().await;
    let (_, mut socket) = dial(&server).connect().await.unwrap();
    status(&mut socket).await;
    for _ in 0..100 {
        // The gateway may have closed the socket already.
        if socket.send(Message::Ping("x".into())).await.is_err() {
            break;
        }
    }
    let mut answered = 0;
    let code = loop {
        match next(&mut socket).await {
            Frame::Pong(_) => answered += 1,
            Frame::Close(reason) => break reason.expect("a close without a reason").code,
            Frame::Ping(_) => {}
            other => panic!("no close frame: {other:?}"),
        }
    };
    assert_eq!((code, answered), (CloseCode::Policy, 16));
    server.stop().await;
}

#[actix_web::test]
async fn a_request_without_an_upgrade_is_refused() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/api/status/ws").await.error(), (400, "not_a_websocket".into()));
    server.stop().await;
}
