//! One relay connection, seen from the connector. The only place here that uses `actix-web-actors`.
//!
//! Owns the WebSocket: splits received bytes into lines, writes what the hub sends, answers pings, detects a lost
//! peer. Sends to the hub and takes commands of the hub. Decides nothing else.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_http::ws::Item;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws;
use tracing::{debug, warn};

use super::messages::{HubPorts, LineReceived, SocketClosed, SocketCommand, SocketOpened};

/// Longest line of the contract.
const LINE_LIMIT: usize = 8 * 1024 * 1024;
/// Longest WebSocket message: a full line and space for others in the same message.
const MESSAGE_LIMIT: usize = 2 * LINE_LIMIT;
/// Limit of commands that wait while the peer reads slowly.
const MAILBOX_LIMIT: usize = 16_384;
/// Interval of pings. After three without an answer the link is closed, as in the gateway.
const PING_PAUSE: Duration = Duration::from_secs(20);
const PEER_TIMEOUT: Duration = Duration::from_mins(1);
/// Timeout for the peer's close frame. Ending at once could discard our close frame in flight.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Parameters of a new connection.
pub(super) enum Beginning {
    Accepted { connection: u64, gateway_id: String },
    Refused { code: u16, reason: String },
}

/// Upgrades a request to a relay connection.
pub(super) fn start(
    request: &HttpRequest,
    stream: web::Payload,
    beginning: Beginning,
    hub: HubPorts,
) -> actix_web::Result<HttpResponse> {
    let socket = GatewaySocket {
        beginning,
        hub,
        lines: LineSplitter::default(),
        waiting: VecDeque::new(),
        mode: Mode::Talking,
        last_seen: Instant::now(),
    };
    ws::WsResponseBuilder::new(socket, request, stream).frame_size(MESSAGE_LIMIT).start()
}

/// Whether a request asks for a WebSocket.
pub(super) fn is_upgrade(request: &HttpRequest) -> bool {
    ws::handshake(request).is_ok()
}

struct GatewaySocket {
    beginning: Beginning,
    hub: HubPorts,
    lines: LineSplitter,
    /// Delayed texts that are not due yet, in order.
    waiting: VecDeque<(Instant, String)>,
    mode: Mode,
    last_seen: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Talking,
    /// Our close frame is sent; the peer's is awaited.
    Closing,
    Frozen,
}

type SocketContext = ws::WebsocketContext<GatewaySocket>;

impl GatewaySocket {
    fn take(&mut self, bytes: &[u8], ctx: &mut SocketContext) {
        let Beginning::Accepted { connection, .. } = self.beginning else {
            return;
        };
        match self.lines.feed(bytes) {
            Ok(lines) => {
                for line in lines {
                    if let Err(error) = self.hub.received.tell(LineReceived { connection, line }) {
                        warn!(connection, %error, "hub mailbox full or closed");
                        return self.close(ws::CloseCode::Again, "try again later", ctx);
                    }
                }
            }
            Err(OversizedLine) => self.close(ws::CloseCode::Size, "a line has at most 8 MiB", ctx),
        }
    }

    fn close(&mut self, code: ws::CloseCode, reason: &str, ctx: &mut SocketContext) {
        if self.mode != Mode::Talking {
            return;
        }
        self.mode = Mode::Closing;
        ctx.close(Some(ws::CloseReason { code, description: Some(reason.to_owned()) }));
        ctx.run_later(CLOSE_TIMEOUT, |_, ctx| ctx.stop());
    }

    fn write_later(&mut self, text: String, after: Duration, ctx: &mut SocketContext) {
        let due = Instant::now() + after;
        if self.waiting.is_empty() && after.is_zero() {
            return ctx.text(text);
        }
        let due = self.waiting.back().map_or(due, |(last, _)| due.max(*last));
        self.waiting.push_back((due, text));
        ctx.run_later(due.saturating_duration_since(Instant::now()), Self::write_due);
    }

    fn write_due(&mut self, ctx: &mut SocketContext) {
        let now = Instant::now();
        while self.mode == Mode::Talking && self.waiting.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, text)) = self.waiting.pop_front() {
                ctx.text(text);
            }
        }
    }
}

impl Actor for GatewaySocket {
    type Context = SocketContext;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_LIMIT);
        match &self.beginning {
            Beginning::Accepted { connection, gateway_id } => {
                let opened = SocketOpened {
                    connection: *connection,
                    gateway_id: gateway_id.clone(),
                    wire: ctx.address().into(),
                };
                if let Err(error) = self.hub.opened.tell(opened) {
                    warn!(%error, "connection refused: hub not available");
                    return self.close(ws::CloseCode::Again, "try again later", ctx);
                }
                ctx.run_interval(PING_PAUSE, |socket, ctx| {
                    if socket.mode != Mode::Talking {
                        return;
                    }
                    if socket.last_seen.elapsed() > PEER_TIMEOUT {
                        debug!("peer timed out");
                        return ctx.stop();
                    }
                    ctx.ping(b"");
                });
            }
            Beginning::Refused { code, reason } => {
                let (code, reason) = (*code, reason.clone());
                self.close(ws::CloseCode::from(code), &reason, ctx);
            }
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if let Beginning::Accepted { connection, gateway_id } = &self.beginning {
            let closed = SocketClosed { connection: *connection, gateway_id: gateway_id.clone() };
            if let Err(error) = self.hub.closed.tell(closed) {
                warn!(connection, %error, "closed connection not reported to the hub");
            }
        }
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for GatewaySocket {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, ctx: &mut Self::Context) {
        self.last_seen = Instant::now();
        match (self.mode, message) {
            // A close is not answered either; the stream ends when the peer times out.
            (Mode::Frozen, _) => {}
            (_, Ok(ws::Message::Close(reason))) => {
                if self.mode == Mode::Talking {
                    ctx.close(reason);
                }
                ctx.stop();
            }
            (Mode::Closing, _) => {}
            (Mode::Talking, Ok(message)) => match message {
                ws::Message::Text(text) => self.take(text.as_bytes(), ctx),
                ws::Message::Binary(bytes) => self.take(&bytes, ctx),
                ws::Message::Continuation(item) => match item {
                    // Lines are split from bytes, so the boundaries of fragments do not matter.
                    Item::FirstText(bytes) | Item::FirstBinary(bytes) | Item::Continue(bytes) | Item::Last(bytes) => {
                        self.take(&bytes, ctx);
                    }
                },
                ws::Message::Ping(payload) => ctx.pong(&payload),
                ws::Message::Pong(_) | ws::Message::Nop | ws::Message::Close(_) => {}
            },
            (Mode::Talking, Err(ws::ProtocolError::Overflow)) => {
                self.close(ws::CloseCode::Size, "a message has at most 16 MiB", ctx);
            }
            (Mode::Talking, Err(error)) => {
                debug!(%error, "protocol error");
                self.close(ws::CloseCode::Protocol, "protocol error", ctx);
            }
        }
    }
}

impl Handler<SocketCommand> for GatewaySocket {
    type Result = ();

    fn handle(&mut self, command: SocketCommand, ctx: &mut Self::Context) {
        if self.mode != Mode::Talking && !matches!(command, SocketCommand::Cut) {
            return;
        }
        match command {
            SocketCommand::Write { text, after } => self.write_later(text, after, ctx),
            SocketCommand::Close { code, reason } => self.close(ws::CloseCode::from(code), &reason, ctx),
            SocketCommand::Cut => ctx.stop(),
            SocketCommand::Freeze => self.mode = Mode::Frozen,
        }
    }
}

/// Splits a stream of bytes into lines, independent of message boundaries.
#[derive(Default)]
struct LineSplitter {
    partial: Vec<u8>,
}

/// A line longer than [`LINE_LIMIT`].
#[derive(Debug, PartialEq)]
struct OversizedLine;

impl LineSplitter {
    /// The lines completed by `bytes`, without blank ones.
    fn feed(&mut self, bytes: &[u8]) -> Result<Vec<String>, OversizedLine> {
        let mut lines = Vec::new();
        let mut parts = bytes.split(|byte| *byte == b'\n');
        let mut part = parts.next().unwrap_or_default();
        loop {
            if self.partial.len() + part.len() > LINE_LIMIT {
                return Err(OversizedLine);
            }
            self.partial.extend_from_slice(part);
            let Some(next) = parts.next() else {
                return Ok(lines);
            };
            let line = String::from_utf8_lossy(&self.partial);
            if !line.trim().is_empty() {
                lines.push(line.into_owned());
            }
            self.partial.clear();
            part = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_independent_of_message_boundaries() {
        let mut lines = LineSplitter::default();
        let whole = "{\"a\":\"é\"}\n\n {\"b\":2}\r\n{\"c\"";
        let mut found = Vec::new();
        for byte in whole.as_bytes() {
            found.extend(lines.feed(&[*byte]).unwrap());
        }
        assert_eq!(found, ["{\"a\":\"é\"}", " {\"b\":2}\r"]);
        assert_eq!(lines.feed(b":3}\n{}\n").unwrap(), ["{\"c\":3}", "{}"]);
    }

    #[test]
    fn a_line_has_at_most_eight_mebibytes() {
        let mut lines = LineSplitter::default();
        assert_eq!(lines.feed(&vec![b'x'; LINE_LIMIT]), Ok(Vec::new()));
        assert_eq!(lines.feed(b"x"), Err(OversizedLine));
        assert_eq!(LineSplitter::default().feed(&[vec![b'x'; LINE_LIMIT], b"\n".to_vec()].concat()).unwrap().len(), 1);
    }
}
