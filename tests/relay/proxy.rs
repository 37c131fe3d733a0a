//! A TCP proxy between gateway and connector that breaks connections as networks do, and counts the gateway's sockets.
//!
//! It runs on a thread of its own, so that a test that waits does not hold up the wire.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What befalls every connection that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// Both ends get a reset.
    Reset,
    /// Both ends get an orderly end.
    End,
    /// Packets are dropped, both ways, and nobody is told.
    HalfOpen,
    /// What the gateway writes is dropped; what the connector writes goes through.
    Deaf,
    /// What the connector writes is dropped; what the gateway writes goes through.
    Mute,
    /// So many more bytes go to the gateway, then both ends get an orderly end.
    CutInbound(usize),
    /// The same towards the connector.
    CutOutbound(usize),
    /// So many bytes go byte by byte, then it is as before.
    Slow(usize),
}

/// What becomes of a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dials {
    /// Carried to the connector.
    Pass,
    /// Accepted and closed at once.
    CloseAtOnce,
    /// Accepted and never answered.
    Swallow,
}

/// What the proxy has seen of the gateway's side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// When each dial came.
    pub(crate) dials: Vec<Instant>,
    pub(crate) open: usize,
    /// Most sockets that the gateway had open at one time.
    pub(crate) most_open: usize,
}

/// A running proxy. Its thread ends with the test process.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    /// Counts the strikes; a connection looks at those that come after it was made.
    strikes: watch::Sender<(u64, Option<Strike>)>,
    dials: Mutex<Dials>,
    seen: Mutex<Seen>,
}

impl Proxy {
    /// A proxy to `target` on a free port.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target,
            strikes: watch::Sender::new((0, None)),
            dials: Mutex::new(Dials::Pass),
            seen: Mutex::default(),
        });
        let kept = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((gateway, _)) = listener.accept().await {
                    #[expect(clippy::disallowed_methods, reason = "a runtime of the test's own, without an actor")]
                    tokio::spawn(Arc::clone(&kept).carry(gateway));
                }
            });
        });
        Self { address, shared }
    }

    pub(crate) fn strike(&self, strike: Strike) {
        self.shared.strikes.send_modify(|last| *last = (last.0 + 1, Some(strike)));
    }

    pub(crate) fn dials(&self, dials: Dials) {
        *self.shared.dials.lock().unwrap() = dials;
    }

    pub(crate) fn seen(&self) -> Seen {
        self.shared.seen().clone()
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    async fn carry(self: Arc<Self>, gateway: TcpStream) {
        {
            let mut seen = self.seen();
            seen.dials.push(Instant::now());
            seen.open += 1;
            seen.most_open = seen.most_open.max(seen.open);
        }
        // A strike that comes while the dial is carried counts for it.
        let strikes = self.strikes.subscribe();
        let dials = *self.dials.lock().unwrap();
        let open = Open(Arc::clone(&self));
        match dials {
            Dials::CloseAtOnce => {}
            Dials::Swallow => swallow(gateway).await,
            Dials::Pass => {
                if let Ok(connector) = TcpStream::connect(self.target).await {
                    relay(gateway, connector, strikes, open).await;
                }
            }
        }
    }
}

/// One socket of the gateway's; dropped when that is closed, whatever becomes of the other side.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.seen().open -= 1;
    }
}

async fn swallow(mut socket: TcpStream) {
    let mut rest = [0; 4096];
    while socket.read(&mut rest).await.is_ok_and(|count| count > 0) {}
}

async fn relay(gateway: TcpStream, connector: TcpStream, strikes: watch::Receiver<(u64, Option<Strike>)>, open: Open) {
    for socket in [&gateway, &connector] {
        socket.set_nodelay(true).unwrap();
    }
    let (from_gateway, to_gateway) = gateway.into_split();
    let (from_connector, to_connector) = connector.into_split();
    let outbound = Pump { from: from_gateway, to: to_connector, side: Side::Outbound, strikes: strikes.clone() };
    let inbound = Pump { from: from_connector, to: to_gateway, side: Side::Inbound, strikes };
    let (outbound, inbound) = (outbound.run(), inbound.run());
    tokio::pin!(outbound, inbound);
    let first = tokio::select! {
        ended = &mut outbound => ended,
        ended = &mut inbound => ended,
    };
    // Dropping the halves ends both sockets; with packets dropped the other end must not hear of it.
    match first {
        Ended::Told => drop(open),
        Ended::Untold(Side::Outbound) => {
            drop(open);
            inbound.await;
        }
        Ended::Untold(Side::Inbound) => {
            outbound.await;
            drop(open);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// From the gateway to the connector.
    Outbound,
    /// From the connector to the gateway.
    Inbound,
}

/// How one direction ended.
enum Ended {
    /// The other end shall see it.
    Told,
    /// Packets are being dropped, the one of the end among them.
    Untold(Side),
}

struct Pump {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    side: Side,
    strikes: watch::Receiver<(u64, Option<Strike>)>,
}

impl Pump {
    async fn run(mut self) -> Ended {
        let mut buffer = vec![0; 16 * 1024];
        let mut strike = None;
        loop {
            let count = tokio::select! {
                biased;
                Ok(()) = self.strikes.changed() => {
                    strike = self.strikes.borrow_and_update().1;
                    match strike {
                        Some(Strike::Reset) => {
                            let _ = set_socket_linger(self.from.as_ref(), Some(Duration::ZERO));
                            let _ = set_socket_linger(self.to.as_ref(), Some(Duration::ZERO));
                            return Ended::Told;
                        }
                        Some(Strike::End) => return Ended::Told,
                        _ => continue,
                    }
                }
                count = self.from.read(&mut buffer) => count.unwrap_or(0),
            };
            if count == 0 {
                if strike != Some(Strike::HalfOpen) {
                    return Ended::Told;
                }
                // Dropping it would tell the other end.
                self.to.forget();
                return Ended::Untold(self.side);
            }
            if self.pass(&buffer[..count], &mut strike).await.is_err() {
                return Ended::Told;
            }
        }
    }

    /// Carries bytes as the strike has it; fails when this connection is at its end.
    async fn pass(&mut self, bytes: &[u8], strike: &mut Option<Strike>) -> std::io::Result<()> {
        match (strike.as_mut(), self.side) {
            (Some(Strike::HalfOpen), _)
            | (Some(Strike::Deaf), Side::Outbound)
            | (Some(Strike::Mute), Side::Inbound) => Ok(()),
            (Some(Strike::CutInbound(left)), Side::Inbound) | (Some(Strike::CutOutbound(left)), Side::Outbound) => {
                let part = bytes.len().min(*left);
                *left -= part;
                self.to.write_all(&bytes[..part]).await?;
                if *left == 0 { Err(std::io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
            }
            (Some(Strike::Slow(left)), _) => {
                let part = bytes.len().min(*left);
                *left -= part;
                for byte in &bytes[..part] {
                    self.to.write_all(std::slice::from_ref(byte)).await?;
                    tokio::task::yield_now().await;
                }
                self.to.write_all(&bytes[part..]).await
            }
            _ => self.to.write_all(bytes).await,
        }
    }
}
