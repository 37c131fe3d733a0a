//! The only client of awc: for the WebSocket of a link, on connections of `http_client`.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_rt::net::{ActixStream, Ready};
use actix_service::Service;
use actix_tls::connect::{ConnectError as DialError, ConnectInfo, Connection};
use awc::http::Uri;
use awc::ws::WebsocketsRequest;
use awc::{Client, Connector as AwcConnector};
use futures_util::future::LocalBoxFuture;

use super::HttpClient;
use super::connect::{Transport, TransportConnector};
use super::refusals::ReportRefusals;

/// Timeout of the connection and of the TLS handshake. The caller has a separate timeout.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Opens the WebSocket of each link: only HTTP/1.1, no redirect is followed, no timeout except for the connection, no limit on the number of
/// links.
#[derive(Debug, Clone, Copy)]
pub struct SocketClient<'c>(&'c HttpClient);

impl HttpClient {
    /// The client for the WebSocket of a link, with connections of this thread.
    #[must_use]
    pub fn websocket(&self) -> SocketClient<'_> {
        SocketClient(self)
    }
}

impl SocketClient<'_> {
    /// A request to `url`. The first one with TLS reads the root certificates of the system, hundreds of files; one without reads none.
    #[must_use]
    pub fn ws(self, url: String) -> WebsocketsRequest {
        type Last = Option<(HttpClient, Client)>;
        thread_local!(static LAST: RefCell<[Last; 2]> = const { RefCell::new([None, None]) });
        let is_plain = url.parse::<Uri>().is_ok_and(|url| matches!(url.scheme_str(), Some("ws" | "http")));
        let client = LAST.with_borrow_mut(|last| match &mut last[usize::from(is_plain)] {
            Some((of, client)) if of.is(self.0) => client.clone(),
            last => last.insert((self.0.clone(), self.fresh(is_plain))).1.clone(),
        });
        client.ws(url)
    }

    fn fresh(self, is_plain: bool) -> Client {
        let connector = AwcConnector::new().connector(SocketConnector { connector: self.0.connector(CONNECT_LIMIT) });
        let connector = if is_plain { connector } else { connector.rustls_0_23(self.0.roots().config()) };
        let connector = connector.timeout(CONNECT_LIMIT).handshake_timeout(CONNECT_LIMIT).limit(0);
        Client::builder().connector(connector).disable_timeout().disable_redirects().wrap(ReportRefusals).finish()
    }
}

/// Makes awc's connections.
#[derive(Debug, Clone)]
struct SocketConnector {
    connector: TransportConnector,
}

impl Service<ConnectInfo<Uri>> for SocketConnector {
    type Response = Connection<Uri, Transport>;
    type Error = DialError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let connector = self.connector.clone();
        Box::pin(async move {
            let uri = info.request().clone();
            let address = uri.to_string().parse().map_err(|_| DialError::InvalidInput)?;
            let transport = connector.open(&address).await.map_err(|error| DialError::Io(io::Error::other(error)))?;
            Ok(Connection::new(uri, transport))
        })
    }
}

impl ActixStream for Transport {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(self.tcp(), cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(self.tcp(), cx)
    }
}
