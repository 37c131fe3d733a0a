//! The development connector: the other end of the relay protocol, with a web chat to try a gateway.
//!
//! Owns a listener and the `Hub`, which owns the state. Uses the wire formats of `caduceus-contract` and no code of the gateway. Runs as
//! `caduceus connector`, and inside other commands through [`bind`].

// They panic if the reader has closed, and block if it does not read. The connector logs instead.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod capabilities; // The capabilities of each platform.
mod chat_event; // The events of the chat windows' stream.
mod credentials; // Credentials, grants, refusals.
mod error; // Errors as HTTP responses.
mod faults; // The fault switches for tests.
mod guard; // Loopback, Host, Origin.
mod hub; // The owner of the state.
mod ids; // Unique numbers.
mod inbound; // Pushes to a gateway.
mod messages; // The messages to the hub.
mod plan; // All decisions, without I/O.
mod ports; // The interfaces that the program provides.
mod room; // One chat.
mod rooms; // All chats, and the actions in them.
mod routes; // HTTP.
mod saved; // The data file.
mod socket; // One relay connection.
mod steps; // The steps of the plan.
mod store; // Gateways, tenants and secrets.
mod streams; // The event streams.
mod traffic; // Counts of the frames sent and received.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use caduceus_supervision::{AskError, Port};
use tracing::warn;

use hub::Hub;
use messages::{HubPorts, Register, Stop};
use plan::ConnectorPlan;
use routes::RoutePorts;
use saved::SavedState;

pub use credentials::{Credentials, GrantError};
pub use ports::{Disk, GatewayCall, GatewayCallError, Post};

/// Timeout of the hub, which answers from memory.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of open requests when the connector stops.
const SHUTDOWN_S: u64 = 3;

/// Parameters of a connector.
#[derive(Debug, Clone)]
pub struct ConnectorOptions {
    /// The address to listen on; port 0 selects a free port.
    pub bind: SocketAddr,
    /// Storage for credentials and waiting frames across restarts.
    pub disk: Option<Arc<dyn Disk>>,
    /// Whether gateways may dial without a token.
    pub open: bool,
    /// Makes the calls to gateways.
    pub post: Arc<dyn Post>,
}

/// Why the connector was not bound. Nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The address is in use, or it is not an address of this machine.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The data file exists and cannot be read.
    #[error("cannot read {}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The data file was not written by a connector.
    #[error("{} is not a connector's data file", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The parse error.
        source: serde_json::Error,
    },
}

/// Why a gateway was not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The connector has stopped or is stopping.
    #[error("the connector is stopping or has stopped")]
    Gone(#[from] AskError),
    /// Retrying cannot help.
    #[error(transparent)]
    Refused(#[from] GrantError),
}

/// A connector that is bound: gateways can dial, and are served once it runs.
pub struct BoundConnector {
    server: Server,
    handle: ConnectorHandle,
}

/// A handle to a connector for code in the same process. It can outlive the connector.
#[derive(Clone)]
pub struct ConnectorHandle {
    address: SocketAddr,
    register: Port<Register>,
    stop: Port<Stop>,
    server: ServerHandle,
}

/// Binds a connector; its hub runs on the calling arbiter.
///
/// # Errors
/// [`ConnectorError`] if the data file or the address cannot be used.
pub async fn bind(options: ConnectorOptions) -> Result<BoundConnector, ConnectorError> {
    let saved = match &options.disk {
        Some(disk) => read_data(disk).await?,
        None => SavedState::default(),
    };
    let bind_error = |source| ConnectorError::Bind { address: options.bind, source };
    let listener = TcpListener::bind(options.bind).map_err(bind_error)?;
    let address = listener.local_addr().map_err(bind_error)?;
    let hub = Hub::new(ConnectorPlan::new(saved, options.open), options.disk, Arc::clone(&options.post)).start();
    let (register, stop) = (Port::from(hub.clone()), Port::from(hub.clone()));
    let ports = web::Data::new(ports(&hub, options.post));
    let server = HttpServer::new(move || {
        App::new().app_data(ports.clone()).wrap(from_fn(guard::reject_cross_site)).configure(routes::configure)
    })
    .workers(1) // The routes wait for the hub and do not compute.
    .disable_signals()
    .tcp_nodelay(true)
    .shutdown_timeout(SHUTDOWN_S)
    .listen(listener)
    .map_err(|source| ConnectorError::Bind { address, source })?
    .run();
    let handle = ConnectorHandle { address, register, stop, server: server.handle() };
    Ok(BoundConnector { server, handle })
}

impl BoundConnector {
    /// A handle, valid while the connector runs.
    #[must_use]
    pub fn handle(&self) -> ConnectorHandle {
        self.handle.clone()
    }

    /// Serves until [`ConnectorHandle::stop`].
    ///
    /// # Errors
    /// The error that ended the listener.
    pub async fn run(self) -> io::Result<()> {
        self.server.await
    }
}

impl ConnectorHandle {
    /// Base URL of the connector, for gateways and browsers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Registers a gateway, or returns the credentials of the one registered under this name.
    ///
    /// # Errors
    /// [`RegisterError`]: nothing was registered.
    pub async fn register(&self, gateway_id: Option<String>) -> Result<Credentials, RegisterError> {
        Ok(self.register.ask(Register { gateway_id }, TIMEOUT).await??)
    }

    /// Closes every link, writes the data file, and ends [`BoundConnector::run`].
    pub async fn stop(&self) {
        if let Err(error) = self.stop.ask(Stop, TIMEOUT).await {
            warn!(%error, "connector stop not answered");
        }
        self.server.stop(true).await;
    }
}

fn ports(hub: &Addr<Hub>, post: Arc<dyn Post>) -> RoutePorts {
    RoutePorts {
        post,
        admit: hub.clone().into(),
        register: hub.clone().into(),
        enroll: hub.clone().into(),
        provision: hub.clone().into(),
        rotate: hub.clone().into(),
        deprovision: hub.clone().into(),
        set_policy: hub.clone().into(),
        push: hub.clone().into(),
        push_chat: hub.clone().into(),
        endpoint: hub.clone().into(),
        set_faults: hub.clone().into(),
        traffic: hub.clone().into(),
        watch_chat: hub.clone().into(),
        watch_frames: hub.clone().into(),
        hub: HubPorts { opened: hub.clone().into(), received: hub.clone().into(), closed: hub.clone().into() },
    }
}

/// Reads the data file; a missing one counts as empty.
async fn read_data(disk: &Arc<dyn Disk>) -> Result<SavedState, ConnectorError> {
    let path = || disk.path().to_owned();
    let reader = Arc::clone(disk);
    let read = tokio::task::spawn_blocking(move || reader.read()).await;
    match read.map_err(io::Error::other).and_then(|read| read) {
        Ok(Some(bytes)) => {
            serde_json::from_slice(&bytes).map_err(|source| ConnectorError::Format { path: path(), source })
        }
        Ok(None) => Ok(SavedState::default()),
        Err(source) => Err(ConnectorError::Data { path: path(), source }),
    }
}
