//! One relay connection on the connector's side. The only file of the connector that uses `actix-web-actors`.
//!
//! Owns the WebSocket: splits received bytes into lines, writes frames, answers pings, closes on a timeout of the peer.
//! Receives `SocketCommand` from the hub; sends `SocketOpened`, `LineReceived` and `SocketClosed` to the hub. The end of the
//! actor is the end of the connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_http::ws::Item;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws;
use bytes::Bytes;
use caduceus_contract::wire::lines::{LineBuffer, LineTooLong, MAX_LINE_BYTES};
use tracing::{debug, warn};

use super::messages::{HubPorts, LineReceived, SocketClosed, SocketCommand, SocketOpened};

/// Longest WebSocket message, in bytes: a full line, and space for others in the same message.
const MESSAGE_LIMIT: usize = 2 * MAX_LINE_BYTES;
/// Commands that wait in the mailbox while the peer reads slowly.
const MAILBOX_LIMIT: usize = 16_384;
/// Interval of pings.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// The connection is closed if nothing is received for this long: three pings, as in the gateway.
const PEER_TIMEOUT: Duration = Duration::from_mins(1);
/// Timeout for the peer's close frame. Ending at once could discard our close frame in flight.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How a new WebSocket starts: as a connection, or closed at once.
pub(super) enum SocketStart {
    Accepted { connection: u64, gateway_id: String },
    Refused { code: u16, reason: String },
}

/// Upgrades a request to a relay connection.
pub(super) fn upgrade(
    request: &HttpRequest,
    stream: web::Payload,
    start: SocketStart,
    hub: HubPorts,
) -> actix_web::Result<HttpResponse> {
    let socket = GatewaySocket {
        start,
        hub,
        lines: LineBuffer::new(),
        waiting: VecDeque::new(),
        mode: SocketMode::Open,
        last_seen: Instant::now(),
    };
    ws::WsResponseBuilder::new(socket, request, stream).frame_size(MESSAGE_LIMIT).start()
}

/// Whether a request is a WebSocket upgrade.
pub(super) fn is_upgrade(request: &HttpRequest) -> bool {
    ws::handshake(request).is_ok()
}

struct GatewaySocket {
    start: SocketStart,
    hub: HubPorts,
    lines: LineBuffer,
    /// Delayed texts that are not due yet, in order.
    waiting: VecDeque<(Instant, String)>,
    mode: SocketMode,
    last_seen: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SocketMode {
    Open,
    /// Our close frame is sent; the peer's is awaited.
    Closing,
    /// A fault of a test: the connection stays open and nothing is written.
    Frozen,
}

type SocketContext = ws::WebsocketContext<GatewaySocket>;

impl GatewaySocket {
    fn receive(&mut self, bytes: &[u8], ctx: &mut SocketContext) {
        let SocketStart::Accepted { connection, .. } = self.start else {
            return;
        };
        self.lines.push(bytes);
        let lines: Result<Vec<Bytes>, _> = std::iter::from_fn(|| self.lines.next_whole_line().transpose()).collect();
        match lines {
            Ok(lines) => {
                for line in lines {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    if let Err(error) = self.hub.received.tell(LineReceived { connection, line }) {
                        warn!(connection, %error, "hub mailbox full or closed");
                        return self.close(ws::CloseCode::Again, "try again later", ctx);
                    }
                }
            }
            Err(LineTooLong) => self.close(ws::CloseCode::Size, "a line has at most 8 MiB", ctx),
        }
    }

    fn close(&mut self, code: ws::CloseCode, reason: &str, ctx: &mut SocketContext) {
        if self.mode != SocketMode::Open {
            return;
        }
        self.mode = SocketMode::Closing;
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
        while self.mode == SocketMode::Open && self.waiting.front().is_some_and(|(due, _)| *due <= now) {
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
        match &self.start {
            SocketStart::Accepted { connection, gateway_id } => {
                let opened = SocketOpened {
                    connection: *connection,
                    gateway_id: gateway_id.clone(),
                    socket: ctx.address().into(),
                };
                if let Err(error) = self.hub.opened.tell(opened) {
                    warn!(%error, "connection refused: hub not available");
                    return self.close(ws::CloseCode::Again, "try again later", ctx);
                }
                ctx.run_interval(PING_INTERVAL, |socket, ctx| {
                    if socket.mode != SocketMode::Open {
                        return;
                    }
                    if socket.last_seen.elapsed() > PEER_TIMEOUT {
                        debug!("peer timed out");
                        return ctx.stop();
                    }
                    ctx.ping(b"");
                });
            }
            SocketStart::Refused { code, reason } => {
                let (code, reason) = (*code, reason.clone());
                self.close(ws::CloseCode::from(code), &reason, ctx);
            }
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if let SocketStart::Accepted { connection, gateway_id } = &self.start {
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
            (SocketMode::Frozen, _) => {}
            (_, Ok(ws::Message::Close(reason))) => {
                if self.mode == SocketMode::Open {
                    ctx.close(reason);
                }
                ctx.stop();
            }
            (SocketMode::Closing, _) => {}
            (SocketMode::Open, Ok(message)) => match message {
                ws::Message::Text(text) => self.receive(text.as_bytes(), ctx),
                ws::Message::Binary(bytes) => self.receive(&bytes, ctx),
                ws::Message::Continuation(item) => match item {
                    // Lines are split from bytes, so the boundaries of fragments do not matter.
                    Item::FirstText(bytes) | Item::FirstBinary(bytes) | Item::Continue(bytes) | Item::Last(bytes) => {
                        self.receive(&bytes, ctx);
                    }
                },
                ws::Message::Ping(payload) => ctx.pong(&payload),
                ws::Message::Pong(_) | ws::Message::Nop | ws::Message::Close(_) => {}
            },
            (SocketMode::Open, Err(ws::ProtocolError::Overflow)) => {
                self.close(ws::CloseCode::Size, "a message has at most 16 MiB", ctx);
            }
            (SocketMode::Open, Err(error)) => {
                debug!(%error, "protocol error");
                self.close(ws::CloseCode::Protocol, "protocol error", ctx);
            }
        }
    }
}

impl Handler<SocketCommand> for GatewaySocket {
    type Result = ();

    fn handle(&mut self, command: SocketCommand, ctx: &mut Self::Context) {
        if self.mode != SocketMode::Open && !matches!(command, SocketCommand::Cut) {
            return;
        }
        match command {
            SocketCommand::Write { text, after } => self.write_later(text, after, ctx),
            SocketCommand::Close { code, reason } => self.close(ws::CloseCode::from(code), &reason, ctx),
            SocketCommand::Cut => ctx.stop(),
            SocketCommand::Freeze => self.mode = SocketMode::Frozen,
        }
    }
}
