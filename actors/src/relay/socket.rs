//! One connection: a task that reads lines, writes queued frames, and reports how it ended.
//!
//! Reading and writing run concurrently and never wait for each other. Reading pauses while the dispatcher is
//! saturated, which is backpressure for the connector.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::ws::{CloseCode, CloseReason, Frame, Item, Message, ProtocolError};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::arrival::{Arrival, ArrivalContent, ArrivalError, ArrivedEvent, places};
use super::dead_letter::DeadLetter;
use super::dial::Socket;
use super::pending::Ticket;
use super::steps::{CloseWith, Loss, plain};
use super::writer::{Control, Outbound, SocketWriter};
use crate::time::now_ms;
use caduceus_contract::wire::frame::{FromConnector, ReceivedFrame};
use caduceus_contract::wire::lines::{LineBuffer, LineTooLong, SocketLine};
use caduceus_contract::wire::token::UNAUTHORIZED_CODE;

/// Most outbound frames in the queue of the socket.
pub(super) const OUTBOUND_LIMIT: usize = 1024;

/// Most control frames in the queue: an acknowledgement for every place, a hello for every identity, and pings.
const CONTROL_LIMIT: usize = 1024;

/// Places of the control queue that pongs cannot take; only a flood of pings gets that far.
const RESERVED_PLACES: usize = 512;

/// Events in the queue of the actor, which handles them quickly.
const EVENTS_LIMIT: usize = 256;

/// An event of one connection for its actor.
#[derive(Debug)]
pub(super) enum SocketEvent {
    /// An event, or a frame to be kept as a dead letter.
    Arrived(Box<Arrival>),
    /// A frame without an event.
    Frame(Box<FromConnector>),
    /// The frame before this one has no event and expects an acknowledgement all the same.
    AckRequested(String),
    /// A type of a later contract.
    Unknown,
    /// An invalid line.
    Skipped(String),
    /// The last event.
    Ended(Loss),
}

impl SocketEvent {
    /// The kind of its frame, as counted in the view.
    pub(super) fn frame_kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::Frame(frame) => frame.kind(),
            Self::Arrived(arrival) => match &arrival.content {
                ArrivalContent::Event(ArrivedEvent { forwarded: true, .. }) => "passthrough_forward",
                ArrivalContent::Event(_) => "inbound",
                ArrivalContent::Dead(_) => return None,
            },
            Self::Unknown => "unknown",
            Self::AckRequested(_) | Self::Skipped(_) | Self::Ended(_) => return None,
        })
    }
}

/// The actor's end of a connection. Dropping it cuts the connection at once.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) generation: u64,
    control: mpsc::Sender<Control>,
    outbound: mpsc::Sender<Outbound>,
    pause: watch::Sender<bool>,
    close: Option<oneshot::Sender<CloseWith>>,
    last_seen: Rc<LastSeen>,
    task: Option<JoinHandle<()>>,
}

/// The arguments of a connection.
pub(super) struct ConnectionArgs {
    pub(super) generation: u64,
    /// The single permit for an open socket; released when this one is closed.
    pub(super) slot: OwnedSemaphorePermit,
    /// Places for arrivals.
    pub(super) places: Arc<Semaphore>,
    /// Timeout of the closing handshake.
    pub(super) close_timeout: Duration,
}

/// The queue is full, or the connection is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotQueued {
    Full,
    Ending,
}

/// When the last frame of the connector arrived.
#[derive(Debug)]
struct LastSeen {
    at: Cell<Instant>,
    /// Reading is paused: the idle timeout is suspended.
    suspended: Cell<bool>,
}

impl Connection {
    /// Starts the connection's task; the receiver yields its events.
    pub(super) fn open(socket: Socket, args: ConnectionArgs) -> (Self, mpsc::Receiver<SocketEvent>) {
        let (control, control_queue) = mpsc::channel(CONTROL_LIMIT);
        let (outbound, outbound_queue) = mpsc::channel(OUTBOUND_LIMIT);
        let (events, events_queue) = mpsc::channel(EVENTS_LIMIT);
        let (pause, paused) = watch::channel(false);
        let (close, closed) = oneshot::channel();
        let last_seen = Rc::new(LastSeen { at: Cell::new(Instant::now()), suspended: Cell::new(false) });
        let generation = args.generation;
        let (sink, stream) = socket.split();
        let reader = SocketReader {
            stream,
            lines: LineBuffer::new(),
            places: args.places,
            paused,
            events,
            pongs: control.clone(),
            last_seen: Rc::clone(&last_seen),
        };
        let writer = SocketWriter { sink, control: control_queue, outbound: outbound_queue };
        let (close_timeout, slot) = (args.close_timeout, args.slot);
        let task = caduceus_supervision::spawn(async move {
            run(reader, writer, closed, close_timeout).await;
            drop(slot);
        });
        let connection = Self { generation, control, outbound, pause, close: Some(close), last_seen, task: Some(task) };
        (connection, events_queue)
    }

    /// Queues a line that is not an action; `place` is released once it is written.
    pub(super) fn send_frame(&self, line: String, place: Option<OwnedSemaphorePermit>) -> Result<(), NotQueued> {
        self.control(Message::Text(line.into()), place)
    }

    /// Queues a ping.
    pub(super) fn ping(&self) -> Result<(), NotQueued> {
        self.control(Message::Ping(Bytes::new()), None)
    }

    fn control(&self, message: Message, place: Option<OwnedSemaphorePermit>) -> Result<(), NotQueued> {
        Ok(self.control.try_send(Control { message, place })?)
    }

    /// Queues the frame of an action.
    pub(super) fn send(&self, line: String, ticket: Ticket) -> Result<(), NotQueued> {
        Ok(self.outbound.try_send(Outbound { line, ticket })?)
    }

    /// Pauses or resumes reading.
    pub(super) fn pause(&self, paused: bool) {
        self.pause.send_replace(paused);
    }

    /// When the last frame of the connector arrived; now, while reading is paused.
    pub(super) fn last_seen(&self) -> Instant {
        if self.last_seen.suspended.get() { Instant::now() } else { self.last_seen.at.get() }
    }

    /// Starts the closing handshake; the task ends by itself.
    pub(super) fn close(mut self, with: CloseWith) {
        if let Some(close) = self.close.take() {
            // The task may have ended already.
            let _ = close.send(with);
        }
        self.task = None;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl<T> From<mpsc::error::TrySendError<T>> for NotQueued {
    fn from(error: mpsc::error::TrySendError<T>) -> Self {
        match error {
            mpsc::error::TrySendError::Full(_) => Self::Full,
            mpsc::error::TrySendError::Closed(_) => Self::Ending,
        }
    }
}

/// Why a connection ends.
enum ConnectionEnd {
    Requested(CloseWith),
    Lost(Loss),
    /// The peer closed; its close frame is not answered yet.
    ByPeer(Loss),
}

async fn run(
    mut reader: SocketReader,
    mut writer: SocketWriter,
    mut closed: oneshot::Receiver<CloseWith>,
    limit: Duration,
) {
    let end = tokio::select! {
        biased;
        Ok(with) = &mut closed => ConnectionEnd::Requested(with),
        end = reader.read() => end,
        error = writer.write() => ConnectionEnd::Lost(Loss::Other(format!("writing failed: {error}"))),
    };
    // Pending sends are answered before the closing handshake, which takes time.
    let closing = match end {
        ConnectionEnd::Requested(CloseWith::Away) => Some((CloseCode::Away, PeerState::Open)),
        ConnectionEnd::Requested(CloseWith::TooBig) => Some((CloseCode::Size, PeerState::Open)),
        ConnectionEnd::Lost(loss) => {
            let closing = (loss == Loss::TooBig).then_some((CloseCode::Size, PeerState::Open));
            reader.report(SocketEvent::Ended(loss)).await;
            closing
        }
        ConnectionEnd::ByPeer(loss) => {
            reader.report(SocketEvent::Ended(loss)).await;
            Some((CloseCode::Normal, PeerState::Closed))
        }
    };
    if let Some((code, peer)) = closing {
        // The socket is closed, whatever the result.
        let _ = tokio::time::timeout(limit, closing_handshake(reader.stream, writer.sink, code, peer)).await;
    }
}

/// Whether the peer has sent its close frame.
#[derive(PartialEq, Eq)]
enum PeerState {
    Open,
    Closed,
}

/// Sends a close frame and reads until the peer has closed as well: closing over unread data would discard the frame.
async fn closing_handshake(
    stream: SplitStream<Socket>,
    mut sink: SplitSink<Socket, Message>,
    code: CloseCode,
    peer: PeerState,
) -> Result<(), ProtocolError> {
    sink.send(Message::Close(Some(CloseReason { code, description: None }))).await?;
    let Ok(socket) = sink.reunite(stream) else { return Ok(()) };
    if peer == PeerState::Open {
        let mut io = socket.into_parts().io;
        let mut rest = vec![0; 16 * 1024];
        while io.read(&mut rest).await? > 0 {}
    }
    Ok(())
}

struct SocketReader {
    stream: SplitStream<Socket>,
    lines: LineBuffer,
    places: Arc<Semaphore>,
    paused: watch::Receiver<bool>,
    events: mpsc::Sender<SocketEvent>,
    pongs: mpsc::Sender<Control>,
    last_seen: Rc<LastSeen>,
}

impl SocketReader {
    async fn read(&mut self) -> ConnectionEnd {
        loop {
            let frame = match self.stream.next().await {
                Some(Ok(frame)) => frame,
                Some(Err(ProtocolError::Overflow)) => return ConnectionEnd::Lost(Loss::TooBig),
                Some(Err(error)) => return ConnectionEnd::Lost(Loss::Other(format!("reading failed: {error}"))),
                None => return ConnectionEnd::Lost(Loss::Other("the connector cut the connection".into())),
            };
            self.last_seen.at.set(Instant::now());
            match frame {
                Frame::Text(bytes)
                | Frame::Binary(bytes)
                | Frame::Continuation(
                    Item::FirstText(bytes) | Item::FirstBinary(bytes) | Item::Continue(bytes) | Item::Last(bytes),
                ) => {
                    self.lines.push(&bytes);
                    if self.read_lines().await.is_err() {
                        return ConnectionEnd::Lost(Loss::TooBig);
                    }
                }
                Frame::Ping(bytes) => {
                    if self.pongs.capacity() > RESERVED_PLACES {
                        let _ = self.pongs.try_send(Control { message: Message::Pong(bytes), place: None });
                    }
                }
                Frame::Pong(_) => {}
                Frame::Close(reason) => return ConnectionEnd::ByPeer(closed_by_peer(reason)),
            }
        }
    }

    async fn read_lines(&mut self) -> Result<(), LineTooLong> {
        // Before any wait, for all lines of one read.
        let read_at_ms = now_ms();
        while let Some(line) = self.lines.next_line()? {
            match line {
                SocketLine::Whole(line) => self.handle_line(&line, read_at_ms).await,
                SocketLine::TooLong(line) => {
                    if let Some(place) = self.place(0).await {
                        self.report(SocketEvent::Arrived(Box::new(Arrival::skipped(line, read_at_ms, place)))).await;
                    }
                }
            }
            self.wait_while_paused().await;
        }
        Ok(())
    }

    /// Reads one line and sends its event to the actor.
    async fn handle_line(&mut self, line: &Bytes, read_at_ms: i64) {
        let ReceivedFrame { frame, buffer_id } = FromConnector::read(line);
        let event = match frame {
            Ok(None) if buffer_id.is_none() => SocketEvent::Unknown,
            Ok(None) => return self.arrive(Err(ArrivalError::UnknownType), buffer_id, (line, read_at_ms)).await,
            Ok(Some(FromConnector::Inbound(frame))) => {
                return self.arrive(ArrivedEvent::of_inbound(&frame), buffer_id, (line, read_at_ms)).await;
            }
            Ok(Some(FromConnector::PassthroughForward(frame))) => {
                return self.arrive(ArrivedEvent::of_forward(&frame), buffer_id, (line, read_at_ms)).await;
            }
            Err(error) => return self.arrive(Err(error.into()), buffer_id, (line, read_at_ms)).await,
            Ok(Some(frame)) => SocketEvent::Frame(Box::new(frame)),
        };
        self.report(event).await;
        if let Some(buffer_id) = buffer_id {
            self.report(SocketEvent::AckRequested(buffer_id)).await;
        }
    }

    /// A line that is not an event is stored if it would be sent again, and skipped if not.
    async fn arrive(
        &mut self,
        event: Result<ArrivedEvent, ArrivalError>,
        buffer_id: Option<String>,
        (line, read_at_ms): (&Bytes, i64),
    ) {
        let content = match event {
            Ok(event) => ArrivalContent::Event(event),
            Err(error) if buffer_id.is_some() => ArrivalContent::Dead(DeadLetter::of(line, error.to_string())),
            Err(error) => return self.report(SocketEvent::Skipped(error.to_string())).await,
        };
        if let Some(place) = self.place(line.len()).await {
            self.report(SocketEvent::Arrived(Box::new(Arrival::of(content, buffer_id, (line, read_at_ms), place))))
                .await;
        }
    }

    /// Waits for a place; `None` only when the link's actor has ended.
    async fn place(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.with_idle_timeout_suspended(Arc::clone(&self.places).acquire_many_owned(places(bytes))).await.ok()
    }

    async fn wait_while_paused(&mut self) {
        let mut paused = self.paused.clone();
        if *paused.borrow() {
            // Fails only when the actor and this task are being dropped.
            let _ = self.with_idle_timeout_suspended(paused.wait_for(|paused| !paused)).await;
        }
    }

    async fn with_idle_timeout_suspended<T>(&self, wait: impl Future<Output = T>) -> T {
        self.last_seen.suspended.set(true);
        let done = wait.await;
        self.last_seen.at.set(Instant::now());
        self.last_seen.suspended.set(false);
        done
    }

    async fn report(&self, event: SocketEvent) {
        // Without an actor there is no receiver, and this task is about to be dropped.
        let _ = self.events.send(event).await;
    }
}

fn closed_by_peer(reason: Option<CloseReason>) -> Loss {
    let Some(reason) = reason else { return Loss::Other("the connector closed the connection".into()) };
    let code = u16::from(reason.code);
    let text = plain(&reason.description.unwrap_or_default());
    if code == UNAUTHORIZED_CODE {
        return Loss::Unauthorized { reason: text };
    }
    Loss::Other(format!("the connector closed the connection with {code} {text}").trim_end().to_owned())
}
