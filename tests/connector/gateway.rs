//! A minimal gateway end of the wire: lines out, frames in.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_http::ws::ProtocolError;
use awc::ws::{CloseReason, Frame, Message};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{SOON, within};

/// One connection to a connector.
pub(crate) struct WireGateway {
    sink: Pin<Box<dyn Sink<Message, Error = ProtocolError>>>,
    stream: Pin<Box<dyn Stream<Item = Result<Frame, ProtocolError>>>>,
    partial: String,
    frames: VecDeque<Value>,
}

/// What a connection delivers.
#[derive(Debug)]
pub(crate) enum WireMessage {
    Frame(Value),
    Closed(Option<CloseReason>),
    /// The connection ended without a close frame.
    Cut,
}

/// An upgrade token as a gateway makes it.
pub(crate) fn token(gateway_id: &str, secret: &str, expires: u64) -> String {
    let signed = format!("{gateway_id}:{expires}");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    URL_SAFE_NO_PAD.encode(format!("{signed}:{signature}"))
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl WireGateway {
    /// Dials with this token, or without one.
    pub(crate) async fn dial(url: &str, token: Option<&str>) -> Self {
        Self::try_dial(url, token).await.expect("the connector accepts the connection")
    }

    /// As [`WireGateway::dial`]; the status code if the upgrade is refused.
    pub(crate) async fn try_dial(url: &str, token: Option<&str>) -> Result<Self, u16> {
        let mut request = awc::Client::default().ws(format!("{}/relay", url.replace("http://", "ws://")));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let socket = match within(SOON, "an answer to the upgrade", request.connect()).await {
            Ok((_, socket)) => socket,
            Err(awc::error::WsClientError::InvalidResponseStatus(status)) => return Err(status.as_u16()),
            Err(error) => panic!("dialling failed: {error}"),
        };
        let (sink, stream) = socket.split();
        Ok(Self { sink: Box::pin(sink), stream: Box::pin(stream), partial: String::new(), frames: VecDeque::new() })
    }

    /// Dials with credentials from `/dev/gateways`, and sends the hello of Discord.
    pub(crate) async fn connect(url: &str, credentials: &Value) -> Self {
        let (id, secret) = (credentials["gatewayId"].as_str().unwrap(), credentials["secret"].as_str().unwrap());
        let mut gateway = Self::dial(url, Some(&token(id, secret, now_s() + 300))).await;
        gateway.send_frame(&json!({"type": "hello", "platform": "discord", "botId": "b"})).await;
        assert_eq!(gateway.frame().await["type"], "descriptor");
        gateway
    }

    pub(crate) async fn send_frame(&mut self, frame: &Value) {
        self.write(&format!("{frame}\n")).await;
    }

    /// Sends text unchanged, in one message.
    pub(crate) async fn write(&mut self, text: &str) {
        self.sink.send(Message::Text(text.to_owned().into())).await.expect("the connection is up");
    }

    /// Sends an action and returns its result.
    pub(crate) async fn act(&mut self, action: Value) -> Value {
        let id = format!("request-{}", fastrand::u64(..));
        self.send_frame(&json!({"type": "outbound", "requestId": id, "action": action})).await;
        let answer = self.frame().await;
        assert_eq!((answer["type"].as_str(), answer["requestId"].as_str()), (Some("outbound_result"), Some(&*id)));
        answer["result"].clone()
    }

    pub(crate) async fn acknowledge(&mut self, inbound: &Value) {
        self.send_frame(&json!({"type": "inbound_ack", "bufferId": inbound["bufferId"]})).await;
    }

    /// The next frame; fails on anything else.
    pub(crate) async fn frame(&mut self) -> Value {
        match within(SOON, "a frame", self.receive()).await {
            WireMessage::Frame(frame) => frame,
            other => panic!("expected a frame, not {other:?}"),
        }
    }

    /// Code and reason of the close frame; fails on anything else.
    pub(crate) async fn close(&mut self) -> (u16, String) {
        match within(SOON, "a close frame", self.receive()).await {
            WireMessage::Closed(Some(reason)) => (reason.code.into(), reason.description.unwrap_or_default()),
            other => panic!("expected a close frame, not {other:?}"),
        }
    }

    pub(crate) async fn receive(&mut self) -> WireMessage {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return WireMessage::Frame(frame);
            }
            match self.stream.next().await {
                None | Some(Err(_)) => return WireMessage::Cut,
                Some(Ok(Frame::Close(reason))) => {
                    let _ = self.sink.send(Message::Close(reason.clone())).await;
                    return WireMessage::Closed(reason);
                }
                Some(Ok(Frame::Text(bytes))) => {
                    self.partial.push_str(std::str::from_utf8(&bytes).expect("text is UTF-8"));
                    while let Some(end) = self.partial.find('\n') {
                        let line: String = self.partial.drain(..=end).collect();
                        self.frames.push_back(serde_json::from_str(&line).expect("every line is JSON"));
                    }
                }
                Some(Ok(Frame::Ping(payload))) => {
                    let _ = self.sink.send(Message::Pong(payload)).await;
                }
                Some(Ok(Frame::Binary(_) | Frame::Continuation(_) | Frame::Pong(_))) => {}
            }
        }
    }

    pub(crate) async fn ping(&mut self) {
        self.sink.send(Message::Ping("are you there".into())).await.expect("the connection is up");
    }
}
