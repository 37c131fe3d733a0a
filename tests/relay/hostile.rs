//! A connector that sends invalid data: the link stays up or is redialled, the gateway is not affected, and its
//! memory stays bounded.

use std::fs;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message as Ws;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_async};

use crate::support::{SOON, within};
use crate::world::World;

/// Several times the largest line and message together.
const MOST_MEMORY_KB: u64 = 96 * 1024;
const MIB: usize = 1024 * 1024;

pub(crate) type Wire = WebSocketStream<TcpStream>;

/// A connector that the test controls byte by byte.
pub(crate) struct HostileConnector {
    pub(crate) listener: TcpListener,
    pub(crate) world: World,
    cases: usize,
}

impl HostileConnector {
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// As [`HostileConnector::start`], with further lines in the `.env`.
    pub(crate) async fn start_with(env: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut world = World::prepare().await;
        let address = listener.local_addr().unwrap();
        world.write(
            ".env",
            &format!("GATEWAY_RELAY_URL=http://{address}/relay\nGATEWAY_RELAY_PLATFORMS=discord\n{env}"),
        );
        world.write(
            "caduceus.yaml",
            "agent: {backend: echo}\n\
             relay: {ping_s: 0.5, silence_s: 2, dial_s: 1, handshake_s: 1, redial_floor_ms: 20, redial_ceiling_ms: 100}\n",
        );
        world.serve_unlinked();
        Self { listener, world, cases: 0 }
    }

    /// A connection after its handshake.
    pub(crate) async fn wire(&self) -> Wire {
        loop {
            let (socket, _) = within(SOON, "a dial", self.listener.accept()).await.unwrap();
            let Ok(mut wire) = accept_async(socket).await else { continue };
            if next_of_kind(&mut wire, "hello").await.is_some() && wire.send(text(&descriptor())).await.is_ok() {
                return wire;
            }
        }
    }

    /// Runs one case on a good connection.
    async fn case(&mut self, what: &str, hostile: impl AsyncFnOnce(&mut Wire)) {
        let mut wire = self.wire().await;
        hostile(&mut wire).await;
        self.still_serves(what, Some(wire)).await;
    }

    /// Writes raw bytes after a good handshake.
    async fn raw_case(&mut self, what: &str, bytes: &[u8], times: usize) {
        let mut socket = self.wire().await.into_inner();
        for _ in 0..times {
            // The gateway may close the connection.
            if socket.write_all(bytes).await.is_err() {
                break;
            }
        }
        drop(socket);
        self.still_serves(what, None).await;
    }

    /// Asserts that an event is acknowledged and answered, over this connection or another.
    pub(crate) async fn still_serves(&mut self, what: &str, wire: Option<Wire>) {
        self.cases += 1;
        let id = format!("check-{}", self.cases);
        let event = World::message(&id, &id, "chat", None);
        let event = json!({"type": "inbound", "bufferId": id, "event": event});
        let answered = async {
            let mut next = wire;
            loop {
                let mut wire = match next.take() {
                    Some(wire) => wire,
                    None => self.wire().await,
                };
                if wire.send(text(&event)).await.is_ok() && acknowledged_and_answered(&mut wire, &id).await {
                    return;
                }
            }
        };
        within(SOON, &format!("an answer after {what}"), answered).await;
        println!("{what}: answered, {} KB at most", self.most_memory());
    }

    /// The highest resident memory of the gateway so far.
    fn most_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The resident memory of the gateway.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.world.gateway().id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

/// Reads until `id` is acknowledged and answered; `false` if the connection ends before.
pub(crate) async fn acknowledged_and_answered(wire: &mut Wire, id: &str) -> bool {
    let (mut acknowledged, mut answered) = (false, false);
    while !(acknowledged && answered) {
        let Some(frame) = next(wire).await else { return false };
        if frame["type"] == "outbound" {
            let result = json!({"success": true, "message_id": "m"});
            let result = json!({"type": "outbound_result", "requestId": frame["requestId"], "result": result});
            if wire.send(text(&result)).await.is_err() {
                return false;
            }
        }
        acknowledged |= frame["type"] == "inbound_ack" && frame["bufferId"] == id;
        answered |= frame["action"]["content"].as_str().is_some_and(|content| content.contains(id));
    }
    true
}

/// The next frame of a kind; `None` when the connection ends before.
pub(crate) async fn next_of_kind(wire: &mut Wire, kind: &str) -> Option<Value> {
    loop {
        let frame = next_before(wire, SOON).await?;
        if frame["type"] == kind {
            return Some(frame);
        }
    }
}

/// The next frame; `None` when the connection ends, or is silent for longer than the gateway lets it be.
pub(crate) async fn next(wire: &mut Wire) -> Option<Value> {
    next_before(wire, Duration::from_secs(3)).await
}

/// The next frame on a connection that stays open; `None` when it ends, or no frame comes in time.
pub(crate) async fn next_before(wire: &mut Wire, ceiling: Duration) -> Option<Value> {
    loop {
        match tokio::time::timeout(ceiling, wire.next()).await.ok()?? {
            Ok(Ws::Text(line)) => return serde_json::from_str(line.as_str()).ok(),
            Ok(Ws::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

pub(crate) fn text(frame: &Value) -> Ws {
    Ws::text(format!("{frame}\n"))
}

pub(crate) fn descriptor() -> Value {
    json!({"type": "descriptor", "descriptor": {
        "contract_version": 1, "platform": "discord", "label": "Discord", "max_message_length": 2000,
        "supports_draft_streaming": false, "supports_edit": false, "supports_threads": true,
        "markdown_dialect": "discord", "len_unit": "chars",
    }})
}

/// Sends until the gateway closes the connection.
pub(crate) async fn send_all(wire: &mut Wire, messages: impl IntoIterator<Item = Ws>) {
    for message in messages {
        if wire.send(message).await.is_err() {
            return;
        }
    }
}

/// Every frame of the contract with each of its fields of a wrong type.
fn wrong_kinds() -> Vec<Value> {
    let good = [
        descriptor(),
        json!({"type": "inbound", "bufferId": "b", "event": World::message("w", "w", "c", None)}),
        json!({"type": "outbound_result", "requestId": "r", "result": {"success": true}}),
        json!({"type": "interrupt_inbound", "session_key": "s", "chat_id": "c"}),
        json!({"type": "passthrough_forward", "forward": {"bodyB64": "e30="}, "bufferId": "f"}),
    ];
    let wrong = [json!(null), json!(7), json!(-1e300), json!([[]]), json!({"a": {}}), json!("\u{0}"), json!(true)];
    let mut frames = Vec::new();
    for frame in &good {
        for key in frame.as_object().unwrap().keys() {
            for value in &wrong {
                let mut bad = frame.clone();
                bad[key] = value.clone();
                frames.push(bad);
            }
        }
    }
    for key in ["text", "source", "media", "media_urls", "context", "reply_to", "prompt_response", "message_id"] {
        for value in &wrong {
            let mut bad = good[1].clone();
            bad["event"][key] = value.clone();
            // Some of these are still valid events; each needs an id of its own.
            bad["bufferId"] = json!(format!("{key}-{value}"));
            frames.push(bad);
        }
    }
    frames
}

#[actix_web::test]
async fn after_any_hostile_input_the_next_event_is_answered_and_memory_is_bounded() {
    let mut connector = HostileConnector::start().await;
    connector.still_serves("nothing yet", None).await;

    connector
        .case("random bytes", async |wire| {
            let random = |_| {
                let bytes: Vec<u8> = (0..fastrand::usize(1..4096)).map(|_| fastrand::u8(..)).collect();
                Ws::binary(bytes)
            };
            send_all(wire, (0..200).map(random).chain([Ws::text("\n")])).await;
        })
        .await;
    connector
        .case("deep nesting", async |wire| {
            let events =
                ["[".repeat(100_000), format!("{{\"type\":\"inbound\",\"event\":{}", "{\"a\":".repeat(100_000))];
            send_all(wire, events.map(|line| Ws::text(line + "\n"))).await;
        })
        .await;
    connector
        .case("100 MiB without a newline", async |wire| {
            let piece = "a".repeat(MIB);
            send_all(wire, (0..100).map(|_| Ws::text(piece.clone()))).await;
        })
        .await;
    connector.case("a message of 40 MiB", async |wire| send_all(wire, [Ws::text("a".repeat(40 * MIB))]).await).await;
    connector.case("fields of wrong types", async |wire| send_all(wire, wrong_kinds().iter().map(text)).await).await;
    connector
        .case("unknown types", async |wire| {
            let unknown = |number| text(&json!({"type": format!("later-{number}"), "x": [1, 2, 3]}));
            send_all(wire, (0..10_000).map(unknown)).await;
        })
        .await;
    connector
        .case("results of unknown requests", async |wire| {
            let result = |number| {
                text(&json!({"type": "outbound_result", "requestId": format!("no-{number}"), "result": {"success": true}}))
            };
            send_all(wire, (0..10_000).map(result)).await;
        })
        .await;
    connector
        .case("10,000 hellos and descriptors", async |wire| {
            let hello = json!({"type": "hello", "platform": "discord", "botId": "b"});
            let other = |number| {
                let mut frame = descriptor();
                frame["descriptor"]["platform"] = json!(format!("platform-{number}"));
                text(&frame)
            };
            send_all(wire, (0..10_000).map(|_| text(&hello))).await;
            send_all(wire, (0..10_000).map(other)).await;
        })
        .await;
    connector
        .case("a flood of pings", async |wire| {
            send_all(wire, (0..50_000).map(|_| Ws::Ping(vec![0; 100].into()))).await;
        })
        .await;
    for code in [1000, 1001, 1008, 1011, 3000, 4999] {
        connector
            .case("a close", async |wire| {
                let reason = CloseFrame { code: code.into(), reason: "x".repeat(100).into() };
                let _ = wire.close(Some(reason)).await;
            })
            .await;
    }

    // Bytes that are not valid frames: a reserved operation, a masked frame, an impossible length, a close with half a code.
    connector.raw_case("a reserved operation", &[0x83, 0x01, b'x'], 1).await;
    connector.raw_case("a masked frame", &[0x81, 0x81, 1, 2, 3, 4, b'x'], 1).await;
    connector.raw_case("a length beyond the memory", &[0x81, 127, 0x3f, 255, 255, 255, 255, 255, 255, 255], 1).await;
    connector.raw_case("a close with half a code", &[0x88, 0x01, 0x03], 1).await;
    connector.raw_case("a control frame of 200 bytes", &[&[0x89, 126, 0, 200][..], &[0; 200]].concat(), 1).await;
    connector.raw_case("HTTP in the middle of the stream", b"HTTP/1.1 200 OK\r\n\r\n", 1).await;
    let mut fragment = vec![0x00, 127, 0, 0, 0, 0, 0, 0x10, 0, 0];
    fragment.resize(10 + MIB, b'a');
    let mut first = fragment.clone();
    first[0] = 0x01;
    connector.raw_case("fragments without end", &[first, fragment.repeat(20)].concat(), 1).await;

    upgrades(&mut connector).await;

    let most = connector.most_memory();
    assert!(most < MOST_MEMORY_KB, "{most} KB");
    let log = connector.world.gateway().log();
    let warnings = log.lines().filter(|line| line.contains("WARN") && line.contains("skipped")).count();
    println!("{warnings} warnings of skipped lines");
    assert!(warnings <= 10, "there is one warning a minute for skipped lines");
}

/// Invalid answers to the dial itself.
async fn upgrades(connector: &mut HostileConnector) {
    let endless = format!("HTTP/1.1 101 Switching Protocols\r\n{}", "X-A: b\r\n".repeat(100_000));
    let answers = [
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 500 No\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: AAAA\r\n\r\n",
        "\u{0}\u{1}\u{2}nonsense\r\n\r\n",
        "",
        &endless,
    ];
    for answer in answers {
        // The current connection ends, and the next dial gets this answer.
        let (mut socket, _) = within(SOON, "a dial", connector.listener.accept()).await.unwrap();
        let _ = socket.write_all(answer.as_bytes()).await;
        let shown: String = answer.chars().take(40).collect();
        drop(socket);
        connector.still_serves(&format!("an upgrade answered with {shown:?}"), None).await;
    }
}

#[actix_web::test]
async fn a_frame_received_a_hundred_times_runs_once_and_is_acknowledged_each_time() {
    let mut connector = HostileConnector::start().await;
    let mut wire = connector.wire().await;
    let event = json!({"type": "inbound", "bufferId": "same", "event": World::message("same", "same", "c", None)});
    send_all(&mut wire, (0..100).map(|_| text(&event))).await;
    let (mut acknowledged, mut answers) = (0, 0);
    while acknowledged < 100 || answers == 0 {
        let frame =
            next_before(&mut wire, SOON).await.expect("100 acknowledgements and an answer, and the link stays up");
        acknowledged += usize::from(frame["type"] == "inbound_ack" && frame["bufferId"] == "same");
        answers += usize::from(frame["action"]["op"] == "send");
        if frame["type"] == "outbound" {
            let result = json!({"success": true, "message_id": "m"});
            let result = json!({"type": "outbound_result", "requestId": frame["requestId"], "result": result});
            wire.send(text(&result)).await.unwrap();
        }
    }
    // The next event is answered, so all of them have been processed.
    connector.still_serves("a frame sent a hundred times", Some(wire)).await;
    assert_eq!((acknowledged, answers), (100, 1));
}
