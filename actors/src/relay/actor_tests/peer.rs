//! A connector on a real socket, and one connection from its side.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Ws;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::waits::{never, within};

/// A listening connector.
pub(super) struct Connector {
    listener: TcpListener,
    pub(super) url: String,
}

impl Connector {
    pub(super) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // A peer that does not read blocks its sender after a few megabytes, not after tens of them.
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(16).unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        Self { listener, url }
    }

    /// Accepts the next upgrade.
    #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
    pub(super) async fn accept(&self) -> Peer {
        let mut authorization = None;
        let note = |request: &Request, response: Response| {
            let header = request.headers().get("authorization");
            authorization = header.map(|value| value.to_str().unwrap().to_owned());
            Ok(response)
        };
        let (stream, _) = within("a dial", self.listener.accept()).await.unwrap();
        let socket = within("the upgrade", tokio_tungstenite::accept_hdr_async(stream, note)).await.unwrap();
        Peer { socket, authorization, lines: Vec::new() }
    }

    /// Accepts the next upgrade and completes the handshake.
    pub(super) async fn serve(&self) -> Peer {
        let mut peer = self.accept().await;
        assert_eq!(peer.frame().await["type"], "hello");
        peer.describe("discord").await;
        peer
    }

    /// Answers the next upgrade with a status.
    pub(super) async fn refuse(&self, status: u16) {
        self.refuse_with(status, "").await;
    }

    /// The same with additional header lines, each with its end.
    pub(super) async fn refuse_with(&self, status: u16, head: &str) {
        let (mut stream, _) = within("a dial", self.listener.accept()).await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        let answer = format!("HTTP/1.1 {status} No\r\n{head}content-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    /// Accepts the next request, which is not a dial, answers it, and returns it.
    pub(super) async fn answer(&self, answer: &[u8]) -> String {
        let (mut stream, _) = within("a request", self.listener.accept()).await.unwrap();
        let mut request = vec![0; 4096];
        let bytes = stream.read(&mut request).await.unwrap();
        // The client may close before it has read everything.
        let _ = stream.write_all(answer).await;
        String::from_utf8_lossy(&request[..bytes]).into_owned()
    }

    pub(super) async fn no_dial(&self) {
        never("a dial", self.listener.accept()).await;
    }
}

/// One connection from the connector's side.
pub(super) struct Peer {
    pub(super) socket: WebSocketStream<TcpStream>,
    pub(super) authorization: Option<String>,
    lines: Vec<Value>,
}

impl Peer {
    /// The next frame from the gateway.
    pub(super) async fn frame(&mut self) -> Value {
        within("a frame", self.read()).await.expect("a frame, not a close")
    }

    /// The next frame, or the code of the close.
    pub(super) async fn read(&mut self) -> Result<Value, Option<u16>> {
        while self.lines.is_empty() {
            match self.socket.next().await {
                Some(Ok(Ws::Text(text))) => {
                    assert!(text.ends_with('\n'), "a line has an end");
                    self.lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
                }
                Some(Ok(Ws::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
        Ok(self.lines.remove(0))
    }

    pub(super) async fn send_json(&mut self, frame: Value) {
        self.send_text(format!("{frame}\n")).await;
    }

    pub(super) async fn send_text(&mut self, text: impl Into<String>) {
        self.socket.send(Ws::text(text.into())).await.unwrap();
    }

    pub(super) async fn send_binary(&mut self, bytes: &[u8]) {
        self.socket.send(Ws::binary(bytes.to_vec())).await.unwrap();
    }

    pub(super) async fn describe(&mut self, platform: &str) {
        self.send_json(json!({"type": "descriptor", "descriptor": descriptor(platform)})).await;
    }

    pub(super) async fn inbound(&mut self, message_id: &str, buffer_id: Option<&str>) {
        self.send_json(frame(message_id, buffer_id)).await;
    }

    pub(super) async fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
        self.socket.close(Some(frame)).await.unwrap();
        // Until the gateway has answered the close.
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}

pub(super) fn descriptor(platform: &str) -> Value {
    json!({"contract_version": 1, "platform": platform, "label": platform, "max_message_length": 2000,
        "supports_draft_streaming": false, "supports_edit": true, "supports_threads": true,
        "markdown_dialect": "discord", "len_unit": "chars"})
}

/// The frame of an event.
pub(super) fn frame(message_id: &str, buffer_id: Option<&str>) -> Value {
    let mut frame = json!({"type": "inbound", "event": event(message_id)});
    if let Some(buffer_id) = buffer_id {
        frame["bufferId"] = buffer_id.into();
    }
    frame
}

pub(super) fn event(message_id: &str) -> Value {
    json!({"text": "hi", "message_id": message_id,
        "source": {"platform": "discord", "chat_id": "c", "chat_type": "dm", "user_id": "u"}})
}
