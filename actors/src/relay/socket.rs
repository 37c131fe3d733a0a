//! One connection: a task that reads lines, writes what is queued, and says how it ended.
//!
//! Reading and writing go on side by side and never wait for each other. Reading stands still while the dispatcher has
//! its hands full, so that the connector feels it.

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

use super::arrival::{Arrival, ArrivalError, Cargo, EventCargo, places};
use super::dead_letter::DeadLetter;
use super::dial::Socket;
use super::steps::{CloseWith, Loss, plain};
use super::waiting::Ticket;
use super::writer::{Control, Outbound, Writer};
use caduceus_contract::wire::frame::{FromConnector, Received};
use caduceus_contract::wire::lines::{Line, LineBuffer, LineTooLong};

/// Most outbound frames that wait for the socket.
pub(super) const OUTBOUND_LIMIT: usize = 1024;

/// Most control frames that wait: an acknowledgement for every place, a hello for every identity, and pings.
const CONTROL_LIMIT: usize = 1024;

/// So much of the control queue stays free of pongs, which only a flood of pings can bring about.
const NOT_FOR_PONGS: usize = 512;

/// Events that wait for the actor, which is quick.
const NEWS_LIMIT: usize = 256;

/// Closing code of a refused gateway.
const UNAUTHORIZED: u16 = 4401;

/// What one connection tells its actor.
#[derive(Debug)]
pub(super) enum SocketEvent {
    /// An event, or a frame to be kept as a dead letter.
    Arrived(Box<Arrival>),
    /// A frame without an event.
    Frame(Box<FromConnector>),
    /// The frame before this one carries no event and wants an acknowledgement all the same.
    WantsAck(String),
    /// A type of a later contract.
    Unknown,
    /// A line that was not what it should be.
    Skipped(String),
    /// The last news.
    Ended(Loss),
}

/// The actor's end of a connection. Dropping it cuts the connection at once.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) generation: u64,
    control: mpsc::Sender<Control>,
    outbound: mpsc::Sender<Outbound>,
    pause: watch::Sender<bool>,
    close: Option<oneshot::Sender<CloseWith>>,
    heard: Rc<Heard>,
    task: Option<JoinHandle<()>>,
}

/// What the actor gives to a connection.
pub(super) struct Opening {
    pub(super) generation: u64,
    /// The one place for an open socket; free again when this one is closed.
    pub(super) slot: OwnedSemaphorePermit,
    /// Places for arrivals.
    pub(super) places: Arc<Semaphore>,
    /// Longest farewell.
    pub(super) farewell: Duration,
}

/// Too many frames wait, or the connection is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotQueued {
    Full,
    Ending,
}

/// When the connector was last heard of.
#[derive(Debug)]
struct Heard {
    at: Cell<Instant>,
    /// While we do not listen, silence proves nothing.
    deaf: Cell<bool>,
}

impl Connection {
    /// Starts the connection's task; what it has to say comes out of the receiver.
    pub(super) fn open(socket: Socket, opening: Opening) -> (Self, mpsc::Receiver<SocketEvent>) {
        let (control, control_queue) = mpsc::channel(CONTROL_LIMIT);
        let (outbound, outbound_queue) = mpsc::channel(OUTBOUND_LIMIT);
        let (news, news_queue) = mpsc::channel(NEWS_LIMIT);
        let (pause, paused) = watch::channel(false);
        let (close, closed) = oneshot::channel();
        let heard = Rc::new(Heard { at: Cell::new(Instant::now()), deaf: Cell::new(false) });
        let generation = opening.generation;
        let (sink, stream) = socket.split();
        let reader = Reader {
            stream,
            lines: LineBuffer::new(),
            places: opening.places,
            paused,
            news,
            pongs: control.clone(),
            heard: Rc::clone(&heard),
        };
        let writer = Writer { sink, control: control_queue, outbound: outbound_queue };
        let (farewell, slot) = (opening.farewell, opening.slot);
        let task = caduceus_supervision::spawn(async move {
            run(reader, writer, closed, farewell).await;
            drop(slot);
        });
        let connection = Self { generation, control, outbound, pause, close: Some(close), heard, task: Some(task) };
        (connection, news_queue)
    }

    /// Queues a line that is not an action's; `place` is given back once it is written.
    pub(super) fn say(&self, line: String, place: Option<OwnedSemaphorePermit>) -> Result<(), NotQueued> {
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

    /// Stops the reading, or goes on with it.
    pub(super) fn pause(&self, paused: bool) {
        self.pause.send_replace(paused);
    }

    /// When the connector was last heard of; now, while nobody listens.
    pub(super) fn last_heard(&self) -> Instant {
        if self.heard.deaf.get() { Instant::now() } else { self.heard.at.get() }
    }

    /// Closes politely: the task takes its time and goes.
    pub(super) fn close(mut self, with: CloseWith) {
        if let Some(close) = self.close.take() {
            // It may have ended by itself.
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
enum End {
    Asked(CloseWith),
    Lost(Loss),
    /// The peer closed; the answer to its close frame is still owed.
    ByPeer(Loss),
}

async fn run(mut reader: Reader, mut writer: Writer, mut closed: oneshot::Receiver<CloseWith>, limit: Duration) {
    let end = tokio::select! {
        biased;
        Ok(with) = &mut closed => End::Asked(with),
        end = reader.read() => end,
        error = writer.write() => End::Lost(Loss::Other(format!("writing failed: {error}"))),
    };
    // Whoever waits for a queued frame is told before the farewell, which takes its time.
    let polite = match end {
        End::Asked(CloseWith::Away) => Some((CloseCode::Away, Peer::Open)),
        End::Asked(CloseWith::TooBig) => Some((CloseCode::Size, Peer::Open)),
        End::Lost(loss) => {
            let polite = (loss == Loss::TooBig).then_some((CloseCode::Size, Peer::Open));
            reader.tell(SocketEvent::Ended(loss)).await;
            polite
        }
        End::ByPeer(loss) => {
            reader.tell(SocketEvent::Ended(loss)).await;
            Some((CloseCode::Normal, Peer::Closed))
        }
    };
    if let Some((code, peer)) = polite {
        // Whatever comes of it, the socket is closed.
        let _ = tokio::time::timeout(limit, farewell(reader.stream, writer.sink, code, peer)).await;
    }
}

/// Whether the peer has sent its close frame.
#[derive(PartialEq, Eq)]
enum Peer {
    Open,
    Closed,
}

/// Sends a close frame and reads on until the peer has closed as well: closing over unread data would wipe the frame out.
async fn farewell(
    stream: SplitStream<Socket>,
    mut sink: SplitSink<Socket, Message>,
    code: CloseCode,
    peer: Peer,
) -> Result<(), ProtocolError> {
    sink.send(Message::Close(Some(CloseReason { code, description: None }))).await?;
    let Ok(socket) = sink.reunite(stream) else { return Ok(()) };
    if peer == Peer::Open {
        let mut io = socket.into_parts().io;
        let mut rest = vec![0; 16 * 1024];
        while io.read(&mut rest).await? > 0 {}
    }
    Ok(())
}

struct Reader {
    stream: SplitStream<Socket>,
    lines: LineBuffer,
    places: Arc<Semaphore>,
    paused: watch::Receiver<bool>,
    news: mpsc::Sender<SocketEvent>,
    pongs: mpsc::Sender<Control>,
    heard: Rc<Heard>,
}

impl Reader {
    async fn read(&mut self) -> End {
        loop {
            let frame = match self.stream.next().await {
                Some(Ok(frame)) => frame,
                Some(Err(ProtocolError::Overflow)) => return End::Lost(Loss::TooBig),
                Some(Err(error)) => return End::Lost(Loss::Other(format!("reading failed: {error}"))),
                None => return End::Lost(Loss::Other("the connector cut the connection".into())),
            };
            self.heard.at.set(Instant::now());
            match frame {
                Frame::Text(bytes)
                | Frame::Binary(bytes)
                | Frame::Continuation(
                    Item::FirstText(bytes) | Item::FirstBinary(bytes) | Item::Continue(bytes) | Item::Last(bytes),
                ) => {
                    self.lines.push(&bytes);
                    if self.read_lines().await.is_err() {
                        return End::Lost(Loss::TooBig);
                    }
                }
                Frame::Ping(bytes) => {
                    if self.pongs.capacity() > NOT_FOR_PONGS {
                        let _ = self.pongs.try_send(Control { message: Message::Pong(bytes), place: None });
                    }
                }
                Frame::Pong(_) => {}
                Frame::Close(reason) => return End::ByPeer(closed_by_peer(reason)),
            }
        }
    }

    async fn read_lines(&mut self) -> Result<(), LineTooLong> {
        while let Some(line) = self.lines.next_line()? {
            match line {
                Line::Whole(line) => self.take(&line).await,
                Line::TooLong(line) => {
                    if let Some(place) = self.place(0).await {
                        self.tell(SocketEvent::Arrived(Box::new(Arrival::passed_by(line, place)))).await;
                    }
                }
            }
            self.stand_still_while_paused().await;
        }
        Ok(())
    }

    /// Reads one line and says what it is.
    async fn take(&mut self, line: &Bytes) {
        let Received { frame, buffer_id } = FromConnector::read(line);
        let news = match frame {
            Ok(None) if buffer_id.is_none() => SocketEvent::Unknown,
            Ok(None) => return self.arrive(Err(ArrivalError::UnknownType), buffer_id, line).await,
            Ok(Some(FromConnector::Inbound(frame))) => {
                return self.arrive(EventCargo::of_inbound(*frame), buffer_id, line).await;
            }
            Ok(Some(FromConnector::PassthroughForward(frame))) => {
                return self.arrive(EventCargo::of_forward(*frame), buffer_id, line).await;
            }
            Err(error) => return self.arrive(Err(error.into()), buffer_id, line).await,
            Ok(Some(frame)) => SocketEvent::Frame(Box::new(frame)),
        };
        self.tell(news).await;
        if let Some(buffer_id) = buffer_id {
            self.tell(SocketEvent::WantsAck(buffer_id)).await;
        }
    }

    /// What is no event is kept if it would come again, and skipped if not.
    async fn arrive(&mut self, event: Result<EventCargo, ArrivalError>, buffer_id: Option<String>, line: &Bytes) {
        let cargo = match event {
            Ok(event) => Cargo::Event(event),
            Err(error) if buffer_id.is_some() => Cargo::Dead(DeadLetter::of(line, error.to_string())),
            Err(error) => return self.tell(SocketEvent::Skipped(error.to_string())).await,
        };
        if let Some(place) = self.place(line.len()).await {
            self.tell(SocketEvent::Arrived(Box::new(Arrival::of(cargo, buffer_id, line, place)))).await;
        }
    }

    /// Waits for room; `None` only when the link's actor is gone.
    async fn place(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.deaf_while(Arc::clone(&self.places).acquire_many_owned(places(bytes))).await.ok()
    }

    async fn stand_still_while_paused(&mut self) {
        let mut paused = self.paused.clone();
        if *paused.borrow() {
            // Fails only when the actor is gone, and this task with it.
            let _ = self.deaf_while(paused.wait_for(|paused| !paused)).await;
        }
    }

    async fn deaf_while<T>(&self, wait: impl Future<Output = T>) -> T {
        self.heard.deaf.set(true);
        let done = wait.await;
        self.heard.at.set(Instant::now());
        self.heard.deaf.set(false);
        done
    }

    async fn tell(&self, news: SocketEvent) {
        // Without an actor there is nobody to tell, and this task is about to be dropped.
        let _ = self.news.send(news).await;
    }
}

fn closed_by_peer(reason: Option<CloseReason>) -> Loss {
    let Some(reason) = reason else { return Loss::Other("the connector closed the connection".into()) };
    let code = u16::from(reason.code);
    let text = plain(&reason.description.unwrap_or_default());
    if code == UNAUTHORIZED {
        return Loss::Unauthorized { reason: text };
    }
    Loss::Other(format!("the connector closed the connection with {code} {text}").trim_end().to_owned())
}
