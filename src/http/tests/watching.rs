//! The status over the WebSocket.

use std::time::Duration;

use actix_web_actors::ws::{CloseCode, ProtocolError};
use awc::error::WsClientError;
use awc::http::header::{AUTHORIZATION, HOST, ORIGIN};
use awc::ws::{Frame, Message, WebsocketsRequest};
use futures_util::{SinkExt as _, Stream, StreamExt as _};
use serde_json::Value;

use super::support::{CEILING, SECRET, TestServer};

fn dial(gate: &TestServer) -> WebsocketsRequest {
    awc::Client::default().ws(gate.url("/api/status/ws"))
}

/// A client that the gateway must not treat as on loopback.
fn dial_as_remote(gate: &TestServer) -> WebsocketsRequest {
    dial(gate).header("x-forwarded-for", "203.0.113.9")
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
    let gate = TestServer::start().await;
    let (_, mut socket) = dial(&gate).connect().await.unwrap();
    assert_eq!(status(&mut socket).await["active_agents"], 2);
    gate.set_status(|status| status.active_agents = 3);
    // The pong to the ping after the first status permits the next one.
    socket.send(Message::Pong("".into())).await.unwrap();
    assert_eq!(status(&mut socket).await["active_agents"], 3);
    gate.stop().await;
}

#[actix_web::test]
async fn a_watcher_that_reads_slowly_is_sent_only_the_newest_status() {
    let gate = TestServer::start().await;
    let (_, mut socket) = dial(&gate).connect().await.unwrap();
    assert_eq!(status(&mut socket).await["active_agents"], 2);
    for agents in 10..=20 {
        gate.set_status(|status| status.active_agents = agents);
    }
    gate.until("the last change", || async { gate.get("/api/status").await.json()["active_agents"] == 20 }).await;
    socket.send(Message::Pong("".into())).await.unwrap();
    assert_eq!(status(&mut socket).await["active_agents"], 20);
    gate.stop().await;
}

#[actix_web::test]
async fn other_websites_may_not_watch() {
    let gate = TestServer::start().await;
    assert_eq!(refused(dial(&gate).set_header(ORIGIN, "http://evil.example").connect().await), 403);
    assert_eq!(refused(dial(&gate).set_header(HOST, "evil.example").connect().await), 403);
    let ours = dial(&gate).set_header(ORIGIN, gate.url("")).connect().await;
    assert!(ours.is_ok());
    gate.stop().await;
}

#[actix_web::test]
async fn the_first_message_of_a_remote_client_is_its_token() {
    let gate = TestServer::start().await;
    let (_, mut known) = dial_as_remote(&gate).connect().await.unwrap();
    known.send(Message::Text(SECRET.into())).await.unwrap();
    assert_eq!(status(&mut known).await["gateway_state"], "running");

    let (_, mut wrong) = dial_as_remote(&gate).connect().await.unwrap();
    wrong.send(Message::Text("guess".into())).await.unwrap();
    assert_eq!(close_code(&mut wrong).await, CloseCode::Other(4401));
    assert_eq!(gate.audit(2).await[1]["reason"], "no_provider_recognises_token");

    let header = dial_as_remote(&gate).set_header(AUTHORIZATION, format!("Bearer {SECRET}"));
    let (_, mut header) = header.connect().await.unwrap();
    assert_eq!(status(&mut header).await["gateway_state"], "running");
    let bad = dial_as_remote(&gate).set_header(AUTHORIZATION, "Bearer guess");
    assert_eq!(refused(bad.connect().await), 401);
    gate.stop().await;
}

#[actix_web::test]
async fn a_remote_client_without_a_token_is_closed_after_five_seconds() {
    let gate = TestServer::start().await;
    let (_, mut silent) = dial_as_remote(&gate).connect().await.unwrap();
    let since = std::time::Instant::now();
    assert_eq!(close_code(&mut silent).await, CloseCode::Other(4401));
    assert!(since.elapsed() >= Duration::from_millis(4_500));
    gate.stop().await;
}

#[actix_web::test]
async fn watchers_are_closed_when_the_status_is_lost_and_when_the_server_stops() {
    let gate = TestServer::start().await;
    let (_, mut socket) = dial(&gate).connect().await.unwrap();
    status(&mut socket).await;
    gate.lose_actors();
    assert_eq!(close_code(&mut socket).await, CloseCode::Again);
    assert_eq!(refused(dial(&gate).connect().await), 503);
    gate.stop().await;

    let gate = TestServer::start().await;
    let (_, mut socket) = dial(&gate).connect().await.unwrap();
    status(&mut socket).await;
    let (code, ()) = tokio::join!(close_code(&mut socket), gate.stop());
    assert_eq!(code, CloseCode::Away);
}

#[actix_web::test]
async fn a_client_that_sends_too_many_pings_is_closed() {
    let gate = TestServer::start().await;
    let (_, mut socket) = dial(&gate).connect().await.unwrap();
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
    gate.stop().await;
}

#[actix_web::test]
async fn a_request_without_an_upgrade_is_refused() {
    let gate = TestServer::start().await;
    assert_eq!(gate.get("/api/status/ws").await.error(), (400, "not_a_websocket".into()));
    gate.stop().await;
}
