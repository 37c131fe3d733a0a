//! One connection: its peer, its use, and when it is closed.
//!
//! It counts as that of an unknown peer until a valid token, a valid signature or a request from this machine makes the peer known.
//! It is closed when its slot is needed (`admission`), or after a timeout.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::rt::net::TcpStream;
use futures_util::future::{Either, select};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::debug;

use super::admission::{Admission, AdmissionSlot, EvictionSignal, Rank};

/// Longest time between requests, including the next one's head and the client's reading of an answer. The server closes an idle connection
/// before (`KEEP_ALIVE` in `server.rs`); this is for a client that has begun to send, or does not read.
const MAX_WAIT: Duration = Duration::from_secs(90);
/// Longest time for one request of an unknown peer: a delivery may take 60 s to come in, 10 s to be verified and 60 s to be written.
const MAX_WORK: Duration = Duration::from_mins(3);
/// Interval of checks: a limit that became shorter takes effect within this time.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// A connection, as its requests see it.
pub(super) struct ClientConnection {
    peer: IpAddr,
    admission: Admission,
    eviction: Arc<EvictionSignal>,
    slot: RefCell<AdmissionSlot>,
    known: Cell<bool>,
    /// Requests and sockets in progress.
    working: Cell<usize>,
    /// Since when it has its rank.
    since: Cell<Instant>,
}

/// A request or a socket in progress, until dropped.
pub(super) struct RequestWork(Rc<ClientConnection>);

/// The socket of a connection.
pub(super) struct GuardedStream {
    pub(super) stream: TcpStream,
    pub(super) connection: Rc<ClientConnection>,
}

impl ClientConnection {
    /// A connection that was accepted; it takes a slot. `trusted` are proxies, which forward for many clients.
    pub(super) fn accept(admission: &Admission, stream: &TcpStream, trusted: impl FnOnce(IpAddr) -> bool) -> Rc<Self> {
        let peer = stream.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
        let known = trusted(peer) || admission.is_known(peer);
        let eviction = Arc::new(EvictionSignal::default());
        let slot = RefCell::new(admission.connections.of(known).enter(peer, Rank::Waiting, &eviction));
        let (working, since) = (Cell::new(0), Cell::new(Instant::now()));
        Rc::new(Self { peer, admission: admission.clone(), eviction, slot, known: Cell::new(known), working, since })
    }

    /// The connection of a request.
    pub(super) fn of(request: &HttpRequest) -> Option<&Rc<Self>> {
        request.conn_data::<Rc<Self>>()
    }

    /// A request is in progress until the result is dropped.
    pub(super) fn work(self: &Rc<Self>) -> RequestWork {
        self.working.set(self.working.get() + 1);
        self.enter_rank(Rank::Working);
        RequestWork(Rc::clone(self))
    }

    /// Marks the peer as known: the connection moves to the slots of known peers.
    pub(super) fn mark_known(&self) {
        if !self.known.replace(true) {
            *self.slot.borrow_mut() = self.admission.connections.known.enter(self.peer, self.rank(), &self.eviction);
        }
    }

    /// Runs a connection to its end, or closes it when its slot is evicted or its timeout is reached.
    pub(super) async fn guard<T>(self: Rc<Self>, serving: impl Future<Output = T>) -> Option<T> {
        let over = async {
            loop {
                let deadline = self.deadline().min(Instant::now() + CHECK_INTERVAL);
                let woken =
                    select(Box::pin(self.eviction.fired()), Box::pin(tokio::time::sleep_until(deadline.into()))).await;
                match woken {
                    Either::Left(_) => return "slot evicted",
                    Either::Right(_) if Instant::now() >= self.deadline() => return "timeout",
                    Either::Right(_) => {}
                }
            }
        };
        match select(Box::pin(serving), Box::pin(over)).await {
            Either::Left((served, _)) => Some(served),
            Either::Right((reason, _)) => {
                debug!(peer = %self.peer, reason, known = self.known.get(), "connection closed");
                None
            }
        }
    }

    fn deadline(&self) -> Instant {
        let longest = match (self.rank(), self.known.get()) {
            (Rank::Waiting, _) => MAX_WAIT,
            (Rank::Working, false) => MAX_WORK,
            // A known peer may watch without a time limit.
            (Rank::Working, true) => return Instant::now() + 2 * CHECK_INTERVAL,
        };
        self.since.get() + longest
    }

    fn rank(&self) -> Rank {
        if self.working.get() == 0 { Rank::Waiting } else { Rank::Working }
    }

    fn enter_rank(&self, rank: Rank) {
        self.since.set(Instant::now());
        self.slot.borrow().set_rank(rank);
    }
}

impl Drop for RequestWork {
    fn drop(&mut self) {
        let Self(connection) = self;
        connection.working.set(connection.working.get().saturating_sub(1));
        if connection.working.get() == 0 {
            connection.enter_rank(Rank::Waiting);
        }
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
