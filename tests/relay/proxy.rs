//! A TCP proxy between gateway and connector that breaks connections as networks do, and counts the gateway's sockets.
//!
//! It runs on a thread of its own, so that a waiting test does not delay the wire.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A fault of every open connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionFault {
    /// Both ends get a reset.
    Reset,
    /// Both ends get an orderly end.
    End,
    /// Packets are dropped in both directions, and neither end is notified.
    HalfOpen,
    /// What the gateway writes is dropped; what the connector writes goes through.
    DropOutbound,
    /// What the connector writes is dropped; what the gateway writes goes through.
    DropInbound,
    /// This many more bytes reach the gateway, then both ends get an orderly end.
    CutInbound(usize),
    /// The same towards the connector.
    CutOutbound(usize),
    /// This many bytes pass one by one, then the connection is normal again.
    Slow(usize),
}

/// How a dial is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dials {
    /// Forwarded to the connector.
    Pass,
    /// Accepted and closed at once.
    CloseAtOnce,
    /// Accepted and never answered.
    Swallow,
}

/// The record of the gateway's side.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProxyRecord {
    /// When each dial arrived.
    pub(crate) dials: Vec<Instant>,
    pub(crate) open: usize,
    /// Most sockets that the gateway had open at one time.
    pub(crate) most_open: usize,
    /// Bytes that a fault dropped, in either direction.
    pub(crate) dropped: usize,
}

/// A running proxy. Its thread ends with the test process.
pub(crate) struct FaultProxy {
    pub(crate) address: SocketAddr,
    shared: Arc<ProxyState>,
}

struct ProxyState {
    target: SocketAddr,
    /// Counts the faults; a connection reacts to those injected after it was made.
    faults: watch::Sender<(u64, Option<ConnectionFault>)>,
    dials: Mutex<Dials>,
    record: Mutex<ProxyRecord>,
}

impl FaultProxy {
    /// A proxy to `target` on a free port.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(ProxyState {
            target,
            faults: watch::Sender::new((0, None)),
            dials: Mutex::new(Dials::Pass),
            record: Mutex::default(),
        });
        let kept = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((gateway, _)) = listener.accept().await {
                    #[expect(clippy::disallowed_methods, reason = "a runtime of the test's own, without an actor")]
                    tokio::spawn(Arc::clone(&kept).forward(gateway));
                }
            });
        });
        Self { address, shared }
    }

    pub(crate) fn inject(&self, inject: ConnectionFault) {
        self.shared.faults.send_modify(|last| *last = (last.0 + 1, Some(inject)));
    }

    pub(crate) fn dials(&self, dials: Dials) {
        *self.shared.dials.lock().unwrap() = dials;
    }

    pub(crate) fn record(&self) -> ProxyRecord {
        self.shared.record().clone()
    }
}

impl ProxyState {
    fn record(&self) -> MutexGuard<'_, ProxyRecord> {
        self.record.lock().unwrap()
    }

    async fn forward(self: Arc<Self>, gateway: TcpStream) {
        {
            let mut record = self.record();
            record.dials.push(Instant::now());
            record.open += 1;
            record.most_open = record.most_open.max(record.open);
        }
        // A fault injected while the dial is forwarded applies to it.
        let faults = self.faults.subscribe();
        let dials = *self.dials.lock().unwrap();
        let open = Open(Arc::clone(&self));
        match dials {
            Dials::CloseAtOnce => {}
            Dials::Swallow => swallow(gateway).await,
            Dials::Pass => {
                if let Ok(connector) = TcpStream::connect(self.target).await {
                    relay(gateway, connector, faults, open).await;
                }
            }
        }
    }
}

/// One socket of the gateway; dropped when that is closed, whatever the state of the other side.
struct Open(Arc<ProxyState>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.record().open -= 1;
    }
}

async fn swallow(mut socket: TcpStream) {
    let mut rest = [0; 4096];
    while socket.read(&mut rest).await.is_ok_and(|count| count > 0) {}
}

async fn relay(
    gateway: TcpStream,
    connector: TcpStream,
    faults: watch::Receiver<(u64, Option<ConnectionFault>)>,
    open: Open,
) {
    for socket in [&gateway, &connector] {
        socket.set_nodelay(true).unwrap();
    }
    let (from_gateway, to_gateway) = gateway.into_split();
    let (from_connector, to_connector) = connector.into_split();
    let state = || Arc::clone(&open.0);
    let outbound = ProxyPump {
        from: from_gateway,
        to: to_connector,
        side: Side::Outbound,
        faults: faults.clone(),
        state: state(),
    };
    let inbound = ProxyPump { from: from_connector, to: to_gateway, side: Side::Inbound, faults, state: state() };
    let (outbound, inbound) = (outbound.run(), inbound.run());
    tokio::pin!(outbound, inbound);
    let first = tokio::select! {
        ended = &mut outbound => ended,
        ended = &mut inbound => ended,
    };
    // Dropping the halves ends both sockets; while packets are dropped the other end must not be notified.
    match first {
        DirectionEnd::Notified => drop(open),
        DirectionEnd::Silent(Side::Outbound) => {
            drop(open);
            inbound.await;
        }
        DirectionEnd::Silent(Side::Inbound) => {
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
enum DirectionEnd {
    /// The other end is notified.
    Notified,
    /// Packets are dropped, including the one that would notify the other end.
    Silent(Side),
}

struct ProxyPump {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    side: Side,
    faults: watch::Receiver<(u64, Option<ConnectionFault>)>,
    state: Arc<ProxyState>,
}

impl ProxyPump {
    async fn run(mut self) -> DirectionEnd {
        let mut buffer = vec![0; 16 * 1024];
        let mut inject = None;
        loop {
            let count = tokio::select! {
                biased;
                Ok(()) = self.faults.changed() => {
                    inject = self.faults.borrow_and_update().1;
                    match inject {
                        Some(ConnectionFault::Reset) => {
                            let _ = set_socket_linger(self.from.as_ref(), Some(Duration::ZERO));
                            let _ = set_socket_linger(self.to.as_ref(), Some(Duration::ZERO));
                            return DirectionEnd::Notified;
                        }
                        Some(ConnectionFault::End) => return DirectionEnd::Notified,
                        _ => continue,
                    }
                }
                count = self.from.read(&mut buffer) => count.unwrap_or(0),
            };
            if count == 0 {
                if inject != Some(ConnectionFault::HalfOpen) {
                    return DirectionEnd::Notified;
                }
                // Dropping it would notify the other end.
                self.to.forget();
                return DirectionEnd::Silent(self.side);
            }
            if self.pass(&buffer[..count], &mut inject).await.is_err() {
                return DirectionEnd::Notified;
            }
        }
    }

    /// Forwards bytes as the fault requires; fails at the end of this connection.
    async fn pass(&mut self, bytes: &[u8], inject: &mut Option<ConnectionFault>) -> std::io::Result<()> {
        match (inject.as_mut(), self.side) {
            (Some(ConnectionFault::HalfOpen), _)
            | (Some(ConnectionFault::DropOutbound), Side::Outbound)
            | (Some(ConnectionFault::DropInbound), Side::Inbound) => {
                self.state.record().dropped += bytes.len();
                Ok(())
            }
            (Some(ConnectionFault::CutInbound(left)), Side::Inbound)
            | (Some(ConnectionFault::CutOutbound(left)), Side::Outbound) => {
                let part = bytes.len().min(*left);
                *left -= part;
                self.to.write_all(&bytes[..part]).await?;
                if *left == 0 { Err(std::io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
            }
            (Some(ConnectionFault::Slow(left)), _) => {
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
