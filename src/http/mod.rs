//! The HTTP layer: parses requests, sends typed messages, maps errors by one table.
//!
//! Owns sockets and a rendered copy of the last status; no state of the domain. A restart loses open connections;
//! clients reconnect.

mod actor;
mod actors;
mod admission;
mod ask;
mod auth;
mod body;
mod caller;
mod code;
mod connection;
mod drain;
mod error;
mod feed;
mod health;
mod ledger;
mod messages;
mod metrics;
mod names;
mod openapi;
mod operation_doc;
mod page;
mod ports;
mod proxies;
mod registry;
mod relay;
mod request_guard;
mod restart;
pub(crate) mod server;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod turns;
mod viewers;
mod views;
mod ws;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::{App, web};
use caduceus_actors::profile::Redactor;
use caduceus_actors::settings::{DrainAuth, HttpValues, InboundSettings};
use tracing::{info, warn};

pub(crate) use actor::HttpActor;
use admission::Admission;
use auth::Authenticator;
use error::ApiError;
use feed::Feed;
pub(crate) use messages::{AlreadyStopping, RestartProcess};
use names::HostNames;
use openapi::ApiDocument;
use page::document::StatusPage;
pub(crate) use ports::{Healthy, HttpLedgerPorts, HttpPorts};
use proxies::TrustedProxies;
use registry::RouteRegistry;
use relay::inbound::RelayInbound;
pub(crate) use relay::ports::{Deliveries, DeliveryRoute, HttpRelayPorts, LinkControls};
use state::{ServerState, SharedState};
use viewers::Viewers;

/// The settings and ports of the HTTP layer.
#[derive(Debug)]
pub(crate) struct HttpOptions {
    /// The `http` settings of `caduceus.yaml`. Port 0 takes a free one.
    pub(crate) values: HttpValues,
    /// The drain secret.
    pub(crate) drain_auth: DrainAuth,
    /// Whether clients on loopback may drain while no secret is configured. For local trials.
    pub(crate) insecure_loopback_drain: bool,
    /// Whether faults may be injected into actors, from loopback.
    pub(crate) allow_faults: bool,
    /// The gateway's home; decisions on tokens are written to `logs/` in it.
    pub(crate) home: PathBuf,
    /// Whether all supervised threads respond.
    pub(crate) healthy: Healthy,
    /// Lines of the log that were lost.
    pub(crate) log_dropped: fn() -> u64,
    /// Redacts secrets in the log of decisions on tokens.
    pub(crate) redactor: Redactor,
    /// The paths and listener for signed deliveries.
    pub(crate) inbound: InboundSettings,
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub(crate) struct BindError {
    /// Which address; another may be free.
    pub(crate) address: SocketAddr,
    source: io::Error,
}

impl BindError {
    /// Whether the failure is temporary: another try may succeed without a changed setting or permission.
    pub(crate) fn is_temporary(&self) -> bool {
        caduceus_actors::system_error::is_temporary(&self.source)
    }
}

/// A listening socket that is not served yet. Cheap to clone.
#[derive(Clone)]
pub(crate) struct BoundServer {
    address: SocketAddr,
    /// The state that successive servers share; each server has a separate feed, which ends with it.
    state: ServerState,
    start: Arc<dyn Fn(SharedState) -> io::Result<Server> + Send + Sync>,
}

/// A running server.
pub(crate) struct RunningServer {
    server: Server,
    handle: HttpServerHandle,
}

/// Stops a server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct HttpServerHandle {
    server: ServerHandle,
    feed: Arc<Feed>,
}

/// Binds; the server answers once [`BoundServer::run`] was called.
///
/// # Errors
/// [`BindError`] when the address is taken or not an address of this machine.
pub(crate) fn bind(options: HttpOptions, ports: HttpPorts) -> Result<BoundServer, BindError> {
    let (listener, address) = listen(options.values.bind)?;
    let inbound = options.inbound.bind.map(listen).transpose()?;
    if let Some((_, address)) = &inbound {
        info!(%address, "separate listener for signed deliveries");
    }
    let admission = Admission::default();
    let state = ServerState {
        ports,
        feed: Arc::default(),
        authenticator: Arc::new(Authenticator::new(
            &options.drain_auth,
            options.insecure_loopback_drain,
            &options.home,
            options.redactor.clone(),
        )),
        redactor: options.redactor,
        continuations: Arc::default(),
        names: HostNames::new(address, options.values.names),
        proxies: TrustedProxies::new(options.values.trusted_proxies),
        page: StatusPage::new(options.allow_faults),
        document: ApiDocument::default(),
        viewers: Viewers::new(admission.sockets.clone()),
        healthy: options.healthy,
        log_dropped: options.log_dropped,
        relay: RelayInbound::new(options.inbound, inbound.as_ref().map(|(_, address)| *address)),
        admission,
        allow_faults: options.allow_faults,
    };
    let app = |state: SharedState| {
        App::new()
            .app_data(state.clone())
            // Separate, for code that cannot reach the state.
            .app_data(state.proxies.clone())
            .app_data(state.admission.clone())
            .app_data(Arc::clone(&state.authenticator))
            .app_data(web::PathConfig::default().error_handler(|_, _| ApiError::UnknownPath.into()))
            .wrap(from_fn(request_guard::pass))
            .configure(|config| routes(RouteRegistry::new(config), &state))
            .default_service(web::to(|| async { Err::<&str, _>(ApiError::UnknownPath) }))
    };
    let start = move |state: SharedState| {
        let mut listeners = vec![listener.try_clone()?];
        if let Some((inbound, _)) = &inbound {
            listeners.push(inbound.try_clone()?);
        }
        let (admission, proxies) = (state.admission.clone(), state.proxies.clone());
        server::serve(listeners, &admission, move |peer| proxies.trusts(peer), move || app(state.clone()))
    };
    Ok(BoundServer { address, state, start: Arc::new(start) })
}

fn listen(bind: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError { address: bind, source };
    let listener = TcpListener::bind(bind).map_err(failed)?;
    server::deepen_backlog(&listener).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn routes(mut registry: RouteRegistry<'_>, state: &ServerState) {
    page::routes(&mut registry);
    health::routes(&mut registry);
    status::routes(&mut registry);
    ws::routes(&mut registry);
    actors::routes(&mut registry, state.allow_faults);
    drain::routes(&mut registry);
    restart::routes(&mut registry);
    turns::routes(&mut registry);
    ledger::routes(&mut registry);
    relay::routes(&mut registry, &state.relay);
    metrics::routes(&mut registry);
    registry.close(&state.document);
}

impl BoundServer {
    /// Where it listens, with the port it got.
    #[must_use]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts to serve. Called on an arbiter, which from then on updates the copy of the status.
    ///
    /// # Errors
    /// The error of the system when there was no descriptor left for it.
    pub(crate) fn run(&self) -> io::Result<RunningServer> {
        // A replaced server closes its feed late: each server has a separate one, so that of its successor stays open.
        let feed = Arc::new(Feed::default());
        let server = (self.start)(SharedState::new(ServerState { feed: Arc::clone(&feed), ..self.state.clone() }))?;
        caduceus_supervision::spawn(Arc::clone(&feed).keep(self.state.ports.clone()));
        Ok(RunningServer { handle: HttpServerHandle { server: server.handle(), feed }, server })
    }
}

impl RunningServer {
    /// Stops the server.
    #[must_use]
    pub(crate) fn handle(&self) -> HttpServerHandle {
        self.handle.clone()
    }

    /// Waits until there is a status for the first client; at most `timeout`.
    pub(crate) fn first_status(&self, timeout: Duration) -> impl Future<Output = ()> + use<> {
        let feed = Arc::clone(&self.handle.feed);
        async move {
            if tokio::time::timeout(timeout, feed.available()).await.is_err() {
                warn!("no status yet; it is served as soon as it is available");
            }
        }
    }

    /// Serves until stopped.
    ///
    /// # Errors
    /// The error of the system when the listener broke.
    pub(crate) async fn ended(self) -> io::Result<()> {
        let ended = self.server.await;
        self.handle.feed.close();
        ended
    }
}

impl HttpServerHandle {
    /// Accepts nothing more, closes the sockets of watching clients, and gives requests in progress 5 s.
    pub(crate) async fn stop(&self) {
        self.feed.close();
        self.server.stop(true).await;
    }
}

impl HttpServerHandle {
    /// Ends it at once, without waiting for requests.
    pub(crate) fn kill(&self) {
        self.feed.close();
        // The call sends the command; the future only waits for its end.
        drop(self.server.stop(false));
    }
}
