//! The server under the application: sockets, threads, and a slot for each connection.
//!
//! As `actix_web::HttpServer`, except for the limit of connections: that one stops accepting at its limit, so unknown peers could lock out
//! the probes. Here every connection is accepted, and an older one closed.

use std::fmt;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::{HttpService, Protocol, Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_factory, map_config};
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Server};
use actix_web::rt::net::TcpStream;
use futures_util::future::LocalBoxFuture;
use tracing::debug;

use super::admission::Admission;
use super::connection::{ClientConnection, GuardedStream};
use super::request_guard;

/// Threads that serve; the control plane has little to do.
pub(crate) const WORKERS: usize = 2;
/// Longest wait for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections are kept this long: above the interval of most probes and scrapers.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// A client that was answered before its body was read may continue to send for this long, so that it reads the answer and not a reset.
const LINGER: Duration = Duration::from_secs(1);
/// Connections a worker accepts at once; never reached, because [`Admission`] has fewer slots.
const MAX_CONNECTIONS: usize = 8_192;
/// Connections that wait to be accepted: a burst of unknown peers must not fill the queue.
const BACKLOG: i32 = 1_024;
/// Requests in progress at a stop get this long.
const STOP_GRACE_S: u64 = 5;

/// Asks the system for a longer queue than the standard library does.
///
/// # Errors
/// The error of the system.
pub(super) fn deepen_backlog(listener: &TcpListener) -> io::Result<()> {
    Ok(rustix::net::listen(listener, BACKLOG)?)
}

/// Serves the application on the listeners. `trusted` are the addresses of proxies.
///
/// # Errors
/// The error of the system when there is no descriptor left.
pub(super) fn serve<F, I, S, B>(
    listeners: Vec<TcpListener>,
    admission: &Admission,
    trusted: impl Fn(IpAddr) -> bool + Clone + Send + 'static,
    app: F,
) -> io::Result<Server>
where
    F: Fn() -> I + Clone + Send + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let mut builder = Server::build()
        .workers(WORKERS)
        .disable_signals()
        .max_concurrent_connections(MAX_CONNECTIONS)
        .shutdown_timeout(STOP_GRACE_S);
    let stopping = builder.graceful_shutdown_signal();
    for listener in listeners {
        let address = listener.local_addr()?;
        let (app, admission, trusted, stopping) = (app.clone(), admission.clone(), trusted.clone(), stopping.clone());
        let factory = move || {
            let stopping = stopping.clone();
            let app = app().into_factory().map_err(|error| error.into().error_response());
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(HEAD_TIMEOUT)
                .client_disconnect_timeout(LINGER)
                .local_addr(address)
                .on_connect_ext(request_guard::on_connect)
                .finish(map_config(app, |()| AppConfig::default()));
            let (admission, trusted) = (admission.clone(), trusted.clone());
            fn_factory(move || {
                let made = http.new_service(());
                let (admission, trusted) = (admission.clone(), trusted.clone());
                async move { Ok::<_, ()>(Guarded { serve: made.await?, admission, trusted }) }
            })
        };
        builder = builder.listen(format!("http-{address}"), listener, factory)?;
    }
    Ok(builder.run())
}

/// Gives each connection a slot before it is served.
struct Guarded<S, T> {
    serve: S,
    admission: Admission,
    trusted: T,
}

impl<S, T> Service<TcpStream> for Guarded<S, T>
where
    S: Service<(GuardedStream, Protocol, Option<std::net::SocketAddr>), Response = ()>,
    S::Future: 'static,
    T: Fn(IpAddr) -> bool,
{
    type Response = ();
    type Error = S::Error;
    type Future = LocalBoxFuture<'static, Result<(), S::Error>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.serve.poll_ready(cx)
    }

    fn call(&self, stream: TcpStream) -> Self::Future {
        let connection = ClientConnection::accept(&self.admission, &stream, &self.trusted);
        let peer = stream.peer_addr().ok();
        // An answer in two writes must not wait for a delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "answers of a connection may be delayed");
        }
        let stream = GuardedStream { stream, connection: connection.clone() };
        let serving = self.serve.call((stream, Protocol::Http1, peer));
        Box::pin(async move { connection.guard(serving).await.unwrap_or(Ok(())) })
    }
}
