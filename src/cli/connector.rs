//! `caduceus connector`: the other end of the relay wire, for trials, demonstrations and tests.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use caduceus_actors::atomic;
use caduceus_actors::files::{Symlinks, small};
use caduceus_actors::http_client::{HttpCall, HttpClient, HttpError, HttpLimits};
use caduceus_actors::settings::{Environment, client_of_command};
use caduceus_contract::wire::delivery::{SIGNATURE_HEADER, TIMESTAMP_HEADER};
use futures_util::FutureExt as _;
use futures_util::future::{Either, LocalBoxFuture, select};
use tracing_subscriber::filter::LevelFilter;
use zeroize::Zeroizing;

use super::signals::{SignalAction, Signals};
use crate::out;
use caduceus_connector::{ConnectorOptions, Disk, GatewayCall, GatewayCallError, Post};

/// Longest data file: the waiting messages of a thousand gateways.
const MAX_DATA: u64 = 256 * 1024 * 1024;

/// Run a development connector with a web chat.
#[derive(Debug, clap::Args)]
pub(crate) struct ConnectorArguments {
    /// Address to listen on; port 0 takes a free one, printed in the first line on standard output.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// File that keeps credentials and waiting messages across restarts.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Accept gateways without a token.
    #[arg(long)]
    open: bool,
}

/// Serves until SIGINT, SIGTERM or SIGQUIT; if started from a terminal, also until that hangs up.
pub(crate) fn run(arguments: ConnectorArguments) -> ExitCode {
    let redactor = caduceus_actors::profile::Redactor::default();
    let environment = Environment::capture();
    super::log::init(&redactor, &environment, LevelFilter::INFO, super::log::LogFormat::Text);
    super::signals::catch_unused();
    match actix_web::rt::System::new().block_on(serve(arguments, &environment)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::print_error(&format!("{error:#}"));
            ExitCode::from(super::TRY_AGAIN)
        }
    }
}

async fn serve(arguments: ConnectorArguments, environment: &Environment) -> anyhow::Result<()> {
    let ConnectorArguments { bind, data, open } = arguments;
    let mut signals = Signals::listen().context("cannot await signals")?;
    let mut warnings = Vec::new();
    let http = client_of_command(environment, &mut warnings);
    for warning in warnings {
        tracing::warn!(warning, "configuration warning");
    }
    let disk = data.map(|path| Arc::new(DataFile(path)) as Arc<dyn Disk>);
    let options = ConnectorOptions { bind, disk, open, post: Arc::new(ClientPost(http)) };
    let connector = caduceus_connector::bind(options).await?;
    let handle = connector.handle();
    out::announce_address(handle.url());
    let signalled = Box::pin(async {
        while signals.next().await == SignalAction::Reload {
            tracing::info!("SIGHUP ignored: the connector has no files to reload");
        }
    });
    match select(Box::pin(connector.run()), signalled).await {
        Either::Left((ended, _)) => ended.context("the listener ended"),
        Either::Right(((), running)) => {
            // The server only makes progress while it is awaited.
            let ((), ended) = futures_util::future::join(handle.stop(), running).await;
            ended.context("the listener ended")
        }
    }
}

/// Makes the connector's calls with the HTTP client of this program.
#[derive(Debug)]
pub(super) struct ClientPost(pub(super) HttpClient);

impl Post for ClientPost {
    fn send(&self, call: GatewayCall) -> LocalBoxFuture<'static, Result<u16, GatewayCallError>> {
        let client = self.0.clone();
        async move {
            match send(&client, call).await {
                Ok(status) => Ok(status),
                Err(error @ HttpError::Redirect { status, .. }) => {
                    Err(GatewayCallError::Redirect { status, reason: error.to_string() })
                }
                Err(error) => Err(GatewayCallError::Failed(error.to_string())),
            }
        }
        .boxed_local()
    }
}

async fn send(client: &HttpClient, call: GatewayCall) -> Result<u16, HttpError> {
    let GatewayCall { url, timeout, delivery } = call;
    let limits = HttpLimits::within(timeout, 0);
    let call = match delivery {
        None => HttpCall::get(&url, limits),
        Some(delivery) => HttpCall::post(&url, "application/json", delivery.body, limits)
            .accept("application/json")
            .header(TIMESTAMP_HEADER, &delivery.timestamp.to_string())?
            .header(SIGNATURE_HEADER, &delivery.signature)?,
    };
    Ok(client.send(call).await?.status())
}

/// Keeps the connector's state in one file.
#[derive(Debug)]
struct DataFile(PathBuf);

impl Disk for DataFile {
    fn path(&self) -> &Path {
        &self.0
    }

    fn read(&self) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        match small::read(&self.0, MAX_DATA, Symlinks::Follow) {
            Ok(contents) => Ok(Some(contents.bytes)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.why.into()),
        }
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        atomic::replace(&self.0, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt as _;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// The result of a call that is answered with `answer`, or whose connection is closed at once.
    async fn call(answer: Option<&'static str>) -> Result<u16, GatewayCallError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/wake", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            if let Some(answer) = answer {
                let _ = stream.read(&mut [0; 4096]).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let post = ClientPost(HttpClient::default());
        let called = post.send(GatewayCall { url, timeout: Duration::from_secs(5), delivery: None }).await;
        server.join().unwrap();
        called
    }

    #[actix_web::test]
    async fn a_call_ends_with_a_status_a_redirect_or_a_failure() {
        let answer = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        assert_eq!(call(Some(answer)).await, Ok(204));
        let answer =
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert!(matches!(call(Some(answer)).await, Err(GatewayCallError::Redirect { status: 302, .. })));
        assert!(matches!(call(None).await, Err(GatewayCallError::Failed(_))));
    }

    #[test]
    fn the_data_file_is_missing_at_first_and_then_holds_what_was_written_last() {
        let home = tempfile::tempdir().unwrap();
        let file = DataFile(home.path().join("data.json"));
        assert_eq!(file.read().unwrap(), None);
        for text in ["one", "another"] {
            file.replace(text.as_bytes()).unwrap();
            assert_eq!(file.read().unwrap().unwrap().as_slice(), text.as_bytes());
        }
        let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(DataFile(home.path().to_owned()).read().is_err(), "a directory is no data file");
    }
}
