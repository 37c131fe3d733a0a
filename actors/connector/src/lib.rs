//! The development connector: the other end of the relay wire, with a web chat to try a gateway in a minute.
//!
//! Owns a listener and the `Hub`, which owns the rest. Uses the wire formats of `caduceus-contract` and no code of the gateway. Runs as
//! `caduceus connector`, and inside other commands through [`bind`].

// They panic when the reader is gone, and block when it does not read. The connector logs instead.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod account; // What really went over the wire.
mod credentials; // What gateways are given and refused.
mod error; // From what went wrong to what a client is answered.
mod faults; // The switches for misbehaving.
mod guard; // Loopback, Host, Origin.
mod hub; // The one owner of the state.
mod ids; // Numbers that never come twice.
mod inbound; // What is brought to a gateway.
mod messages; // What the hub takes.
mod plan; // Everything that is decided.
mod ports; // What the program around it hands in.
mod room; // One chat.
mod rooms; // The chats, and the actions in them.
mod routes; // HTTP.
mod saved; // The data file.
mod shape; // What each platform can do.
mod socket; // One relay connection.
mod steps; // What the plan decides.
mod store; // Who may dial.
mod streams; // The event streams.

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

/// The hub answers from memory.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What open requests may still take when the connector stops.
const SHUTDOWN_S: u64 = 3;

/// How to run a connector.
#[derive(Debug, Clone)]
pub struct ConnectorOptions {
    /// Where to listen; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Keeps credentials and waiting frames across restarts.
    pub disk: Option<Arc<dyn Disk>>,
    /// Lets gateways dial without a token.
    pub open: bool,
    /// Makes its calls to gateways.
    pub post: Arc<dyn Post>,
}

/// Why no connector was made. Nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The data file is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The data file was not written by a connector.
    #[error("{} is not a connector's data file", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
}

/// Why a gateway was not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The connector has stopped or is stopping.
    #[error("the connector is not there")]
    Gone(#[from] AskError),
    /// Asking again cannot help.
    #[error(transparent)]
    Refused(#[from] GrantError),
}

/// A connector that is bound: gateways may dial, and are served once it runs.
pub struct BoundConnector {
    server: Server,
    handle: ConnectorHandle,
}

/// The ways into a connector for code in the same process. Outlives it.
#[derive(Clone)]
pub struct ConnectorHandle {
    address: SocketAddr,
    register: Port<Register>,
    stop: Port<Stop>,
    server: ServerHandle,
}

/// Binds a connector; its hub lives on the arbiter this is called on.
///
/// # Errors
/// [`ConnectorError`] when the data file or the address cannot be used.
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
        App::new().app_data(ports.clone()).wrap(from_fn(guard::own_site_only)).configure(routes::configure)
    })
    .workers(1) // It waits, it does not compute.
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
    /// A way in that stays good while the connector runs.
    #[must_use]
    pub fn handle(&self) -> ConnectorHandle {
        self.handle.clone()
    }

    /// Serves until [`ConnectorHandle::stop`].
    ///
    /// # Errors
    /// What ended the listener against our will.
    pub async fn run(self) -> io::Result<()> {
        self.server.await
    }
}

impl ConnectorHandle {
    /// Base of every address: what a gateway is given, and what a person opens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Registers a gateway, or gives the credentials of one that is known by this name.
    ///
    /// # Errors
    /// [`RegisterError`]: nothing was registered.
    pub async fn register(&self, gateway_id: Option<String>) -> Result<Credentials, RegisterError> {
        Ok(self.register.ask(Register { gateway_id }, TIMEOUT).await??)
    }

    /// Closes every link, brings the data file up to date, and ends [`BoundConnector::run`].
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
        say: hub.clone().into(),
        endpoint: hub.clone().into(),
        set_faults: hub.clone().into(),
        account: hub.clone().into(),
        watch_chat: hub.clone().into(),
        watch_frames: hub.clone().into(),
        hub: HubPorts { opened: hub.clone().into(), received: hub.clone().into(), closed: hub.clone().into() },
    }
}

/// A file that is not there yet is an empty one.
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
