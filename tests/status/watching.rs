//! The WebSocket pushes a status as in the document, and only to authorized clients.

use awc::ws::Frame;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};

use crate::support::{SOON, client, within};
use crate::world::World;
use crate::{document, schema};

const TOKEN: &str = "q7Lw-Zr3t_YbN0aXcVkDmE5uHsJf2PgRi8To4WlQy6B";

/// The next status, or the code of the close.
async fn next(
    socket: &mut (impl futures_util::Stream<Item = Result<Frame, awc::error::WsProtocolError>> + Unpin),
) -> Result<Value, u16> {
    loop {
        match within(SOON, "a message", socket.next()).await {
            Some(Ok(Frame::Text(text))) => return Ok(serde_json::from_slice(&text).unwrap()),
            Some(Ok(Frame::Close(reason))) => return Err(reason.map_or(1_005, |reason| reason.code.into())),
            Some(Ok(_)) => {}
            other => panic!("the socket ended with {other:?}"),
        }
    }
}

#[actix_web::test]
async fn every_message_of_the_websocket_is_a_status_of_the_documented_schema() {
    let mut world = World::prepare().await;
    world.variable("HERMES_DASHBOARD_DRAIN_SECRET", TOKEN);
    world.serve().await;
    let document = document();
    let shape =
        &document["paths"]["/api/status/ws"]["get"]["responses"]["101"]["content"]["application/json"]["schema"];
    let url = world.url("/api/status/ws").replace("http://", "ws://");
    for (proof, code) in [(Some(TOKEN), None), (Some("wrong"), Some(4_401)), (None, None)] {
        let mut request = client().ws(&url);
        if proof.is_some() {
            request = request.header("x-forwarded-for", "203.0.113.9");
        }
        let (_, mut socket) = request.connect().await.unwrap();
        if let Some(token) = proof {
            socket.send(awc::ws::Message::Text(token.into())).await.unwrap();
        }
        if let Some(code) = code {
            assert_eq!(next(&mut socket).await, Err(code));
            continue;
        }
        world.push(&format!("m{}", proof.is_some()), "hello", "c1", None).await;
        for _ in 0..3 {
            let status = next(&mut socket).await.unwrap();
            assert_eq!(schema::faults(&document, shape, &status), [""; 0]);
            assert!(status["actors"]["children"].is_array(), "the full status");
            // The next status is sent once this one was read.
            socket.send(awc::ws::Message::Pong("".into())).await.unwrap();
        }
    }
    assert!(!schema::faults(&document, shape, &json!({"version": 1})).is_empty(), "the checker finds a fault");
}
