//! A TCP proxy between gateway and connector that breaks connections as networks do, and counts the gateway's sockets.
//!
//! It runs on a thread of its own, so that a waiting test does not delay the wire.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;
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
    /// The gateway's ends of all connections that are not closed here.
    sockets: Mutex<Vec<Weak<TcpStream>>>,
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
            sockets: Mutex::default(),
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

    /// Counts the sockets that the gateway has open, by the kernel: this thread may not yet have read the end of an older one.
    fn open_with(&self, gateway: &Arc<TcpStream>) -> usize {
        let mut sockets = self.sockets.lock().unwrap();
        sockets.push(Arc::downgrade(gateway));
        sockets.retain(|socket| socket.upgrade().is_some_and(|socket| !is_closed_by_peer(&socket)));
        sockets.len()
    }

    async fn forward(self: Arc<Self>, gateway: TcpStream) {
        let gateway = Arc::new(gateway);
        let open = self.open_with(&gateway);
        {
            let mut record = self.record();
            record.dials.push(Instant::now());
            record.most_open = record.most_open.max(open);
        }
        // A fault injected while the dial is forwarded applies to it.
        let faults = self.faults.subscribe();
        let dials = *self.dials.lock().unwrap();
        match dials {
            Dials::CloseAtOnce => {}
            Dials::Swallow => swallow(&gateway).await,
            Dials::Pass => {
                if let Ok(connector) = TcpStream::connect(self.target).await {
                    relay(&self, gateway, Arc::new(connector), faults).await;
                }
            }
        }
    }
}

/// Whether the peer has ended or reset the connection, read or not.
fn is_closed_by_peer(socket: &TcpStream) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
}

async fn read(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        socket.readable().await?;
        match socket.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

async fn write(socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        socket.writable().await?;
        match socket.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => bytes = &bytes[result?..],
        }
    }
    Ok(())
}

async fn swallow(socket: &TcpStream) {
    let mut rest = [0; 4096];
    while read(socket, &mut rest).await.is_ok_and(|count| count > 0) {}
}

async fn relay(
    state: &Arc<ProxyState>,
    gateway: Arc<TcpStream>,
    connector: Arc<TcpStream>,
    faults: watch::Receiver<(u64, Option<ConnectionFault>)>,
) {
    for socket in [&gateway, &connector] {
        socket.set_nodelay(true).unwrap();
    }
    let outbound = ProxyPump {
        from: Arc::clone(&gateway),
        to: Arc::clone(&connector),
        side: Side::Outbound,
        faults: faults.clone(),
        state: Arc::clone(state),
    };
    let inbound = ProxyPump { from: connector, to: gateway, side: Side::Inbound, faults, state: Arc::clone(state) };
    let (outbound, inbound) = (outbound.run(), inbound.run());
    tokio::pin!(outbound, inbound);
    let first = tokio::select! {
        ended = &mut outbound => ended,
        ended = &mut inbound => ended,
    };
    // The return closes both sockets; while packets are dropped the other end must not be notified.
    match first {
        DirectionEnd::Notified => {}
        DirectionEnd::Silent(Side::Outbound) => {
            inbound.await;
        }
        DirectionEnd::Silent(Side::Inbound) => {
            outbound.await;
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
    from: Arc<TcpStream>,
    to: Arc<TcpStream>,
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
                            let _ = set_socket_linger(&self.from, Some(Duration::ZERO));
                            let _ = set_socket_linger(&self.to, Some(Duration::ZERO));
                            return DirectionEnd::Notified;
                        }
                        Some(ConnectionFault::End) => return DirectionEnd::Notified,
                        _ => continue,
                    }
                }
                count = read(&self.from, &mut buffer) => count.unwrap_or(0),
            };
            if count == 0 {
                return match inject {
                    Some(ConnectionFault::HalfOpen) => DirectionEnd::Silent(self.side),
                    _ => DirectionEnd::Notified,
                };
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
                write(&self.to, &bytes[..part]).await?;
                if *left == 0 { Err(std::io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
            }
            (Some(ConnectionFault::Slow(left)), _) => {
                let part = bytes.len().min(*left);
                *left -= part;
                for byte in &bytes[..part] {
                    write(&self.to, std::slice::from_ref(byte)).await?;
                    tokio::task::yield_now().await;
                }
                write(&self.to, &bytes[part..]).await
            }
            _ => write(&self.to, bytes).await,
        }
    }
}
