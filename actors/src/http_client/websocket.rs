//! The only client of awc: for the WebSocket of a link, on connections of `http_client`.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_rt::net::{ActixStream, Ready};
use actix_service::Service;
use actix_tls::connect::{ConnectError as DialError, ConnectInfo, Connection};
use awc::http::Uri;
use awc::{Client, Connector as AwcConnector};
use futures_util::future::LocalBoxFuture;

use super::HttpClient;
use super::connect::{Transport, TransportConnector};
use super::refusals::ReportRefusals;

/// Timeout of the connection and of the TLS handshake. The caller has a separate timeout.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

impl HttpClient {
    /// A client of this thread for the WebSocket of a link: only HTTP/1.1, no redirect is followed, no timeout except for the
    /// connection, no limit on the number of links.
    #[must_use]
    pub fn websocket(&self) -> Client {
        thread_local!(static LAST: RefCell<Option<(HttpClient, Client)>> = const { RefCell::new(None) });
        LAST.with_borrow_mut(|last| match last {
            Some((of, client)) if of.is(self) => client.clone(),
            _ => last.insert((self.clone(), self.fresh_websocket())).1.clone(),
        })
    }

    fn fresh_websocket(&self) -> Client {
        let connector = AwcConnector::new()
            .connector(SocketConnector { connector: self.connector(CONNECT_LIMIT) })
            .rustls_0_23(self.roots().config())
            .timeout(CONNECT_LIMIT)
            .handshake_timeout(CONNECT_LIMIT)
            .limit(0);
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
