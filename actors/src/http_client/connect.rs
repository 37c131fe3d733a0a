//! Connections: direct or through a proxy, for requests and for the WebSocket.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustix::net::{Shutdown, shutdown};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::proxy::{Proxies, Proxy};
use super::roots::TlsRoots;
use crate::error_chain::error_chain;

/// When the addresses of the other family are tried as well.
const OTHER_FAMILY_AFTER: Duration = Duration::from_millis(300);
/// Headers of a proxy's answer.
const MAX_PROXY_HEADERS: usize = 128;

/// Why there is no connection. Nothing of a request was sent. No text in here contains the secret parts of an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("not an http or https address with a host")]
    Address,
    #[error("{0}")]
    Unreachable(String),
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("{proxy}: {why}")]
    Proxy { proxy: String, why: String },
    #[error("no connection within {} ms", .0.as_millis())]
    TooSlow(Duration),
}

/// A connection, with its layers.
#[derive(Debug)]
pub(super) enum Transport {
    /// TCP.
    Tcp(OwnSocket),
    /// TLS over another transport.
    Tls(Box<TlsStream<Transport>>),
}

/// A connected socket, whose connection ends when it is dropped. Closing alone would not end it while a child that another thread has
/// forked has the socket open, which it does until it executes its program: the next link would be dialled beside this one.
#[derive(Debug)]
pub(super) struct OwnSocket(TcpStream);

impl Drop for OwnSocket {
    fn drop(&mut self) {
        // Fails only if the connection has ended already.
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

/// How connections are made. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct TransportConnector {
    pub(super) roots: TlsRoots,
    pub(super) proxies: Arc<Proxies>,
    /// Timeout of a connection, from the name lookup to the end of the TLS handshake.
    pub(super) limit: Duration,
}

/// A connection in the form that hyper expects.
#[derive(Debug)]
pub(super) struct HttpStream {
    io: TokioIo<Transport>,
    /// Requests contain the whole address, because a proxy reads them.
    forward: bool,
}

impl TransportConnector {
    /// A connection to the host of `uri`, through its proxy if any; without TLS to the host itself.
    pub(super) async fn open(&self, uri: &Uri) -> Result<Transport, ConnectError> {
        let target = Destination::of(uri)?;
        match self.proxies.of(target.secure, &target.host, target.port) {
            None => tcp(&target.host, target.port).await.map(Transport::of),
            Some(proxy) => self.tunnel(proxy, &target).await,
        }
    }

    /// A connection for requests to `uri`, with TLS if its scheme requires that.
    async fn wire(&self, uri: &Uri) -> Result<HttpStream, ConnectError> {
        let target = Destination::of(uri)?;
        let plain_proxy = self.proxies.of(target.secure, &target.host, target.port).filter(|_| !target.secure);
        if let Some(proxy) = plain_proxy {
            return Ok(HttpStream { io: TokioIo::new(self.to_proxy(proxy).await?), forward: true });
        }
        let transport = self.open(uri).await?;
        let transport = if target.secure { self.secured(transport, &target.host).await? } else { transport };
        Ok(HttpStream { io: TokioIo::new(transport), forward: false })
    }

    /// The credentials for the proxy that reads requests to `uri`, if one does.
    pub(super) fn forward_login(&self, uri: &Uri) -> Option<http::HeaderValue> {
        let target = Destination::of(uri).ok().filter(|target| !target.secure)?;
        self.proxies.of(false, &target.host, target.port)?.login.clone()
    }

    async fn secured(&self, transport: Transport, host: &str) -> Result<Transport, ConnectError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| ConnectError::Address)?;
        let connected = TlsConnector::from(self.roots.config()).connect(name, transport).await;
        connected.map(|stream| Transport::Tls(Box::new(stream))).map_err(|error| ConnectError::Tls(error_chain(&error)))
    }

    async fn to_proxy(&self, proxy: &Proxy) -> Result<Transport, ConnectError> {
        let failed = |error: ConnectError| failed(proxy, error.to_string());
        let transport = Transport::of(tcp(&proxy.host, proxy.port).await.map_err(failed)?);
        if proxy.tls { self.secured(transport, &proxy.host).await.map_err(failed) } else { Ok(transport) }
    }

    async fn tunnel(&self, proxy: &Proxy, target: &Destination) -> Result<Transport, ConnectError> {
        let transport = self.to_proxy(proxy).await?;
        let bad = |error: hyper::Error| failed(proxy, error_chain(&error));
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_headers(MAX_PROXY_HEADERS)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(transport))
            .await
            .map_err(bad)?;
        // Ends with this call in any case.
        let mut driver = JoinSet::new();
        #[expect(clippy::disallowed_methods, reason = "it drives a connection, and sends through no port")]
        driver.spawn(connection.with_upgrades());
        let authority = format!("{}:{}", target.host, target.port);
        let mut request = Request::connect(&authority).header(HOST, &authority);
        if let Some(login) = &proxy.login {
            request = request.header(PROXY_AUTHORIZATION, login);
        }
        let request = request.body(Empty::new()).map_err(|_| ConnectError::Address)?;
        let answer = sender.send_request(request).await.map_err(bad)?;
        match answer.status() {
            status if status.is_success() => {}
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                return Err(failed(proxy, "it requires other credentials (407)".to_owned()));
            }
            status => return Err(failed(proxy, format!("it answered CONNECT with {}", status.as_u16()))),
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(bad)?;
        let parts = upgraded.downcast::<TokioIo<Transport>>().expect("the connection was made of this");
        if parts.read_buf.is_empty() {
            Ok(parts.io.into_inner())
        } else {
            Err(failed(proxy, "it sent more than an answer".to_owned()))
        }
    }
}

fn failed(proxy: &Proxy, why: String) -> ConnectError {
    ConnectError::Proxy { proxy: format!("the proxy {proxy}"), why }
}

/// The destination of a call.
struct Destination {
    secure: bool,
    /// IPv6 in brackets.
    host: String,
    port: u16,
}

impl Destination {
    fn of(uri: &Uri) -> Result<Self, ConnectError> {
        let secure = match uri.scheme_str() {
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            _ => return Err(ConnectError::Address),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(ConnectError::Address)?;
        Ok(Self { secure, host: host.to_owned(), port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }) })
    }
}

/// All addresses of the name are tried, those of the other family after a short delay.
async fn tcp(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let uri: Uri = format!("http://{host}:{port}").parse().map_err(|_| ConnectError::Address)?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_happy_eyeballs_timeout(Some(OTHER_FAMILY_AFTER));
    connector.call(uri).await.map(TokioIo::into_inner).map_err(|error| ConnectError::Unreachable(error_chain(&error)))
}

impl Service<Uri> for TransportConnector {
    type Response = HttpStream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpStream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let late = ConnectError::TooSlow(connector.limit);
            timeout(connector.limit, connector.wire(&uri)).await.unwrap_or(Err(late))
        })
    }
}

impl Connection for HttpStream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.forward)
    }
}

impl hyper::rt::Read for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for HttpStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}

impl Transport {
    fn of(stream: TcpStream) -> Self {
        Self::Tcp(OwnSocket(stream))
    }

    /// The transport below all layers.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(socket) => &socket.0,
            Self::Tls(stream) => stream.get_ref().0.tcp(),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(&mut socket.0).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(&mut socket.0).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(&mut socket.0).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(&mut socket.0).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.0.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(&mut socket.0).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }
}
