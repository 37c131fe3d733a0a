//! `caduceus demo`: gateway, connector, web chat and two profiles on loopback, in a temporary home.

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::Context as _;
use caduceus_actors::drain::store;
use caduceus_actors::files::own;
use caduceus_actors::honcho::steps::StepHook;
use caduceus_actors::http_client::HttpClient;
use caduceus_actors::profile::Redactor;
use caduceus_actors::settings::{Environment, Settings};
use tokio::sync::oneshot;
use tracing_subscriber::filter::LevelFilter;

use super::connector::ClientPost;
use super::life::{self, GatewayLaunch};
use super::log::{self, LogFormat};
use super::signals::{self, Signals};
use crate::out;
use caduceus_connector::{ConnectorHandle, ConnectorOptions, Credentials};

/// The agent of both profiles.
const AGENT: &str = include_str!("demo_agent.sh");
/// A free port.
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Run a gateway, a connector and a web chat on loopback, in a temporary home that is removed at the end.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArguments {
    /// Address of the gateway; a free port by default.
    #[arg(long, value_name = "ADDRESS", default_value_t = ANY_PORT)]
    bind: SocketAddr,
    /// Address of the web chat; a free port by default.
    #[arg(long, value_name = "ADDRESS", default_value_t = ANY_PORT)]
    chat_bind: SocketAddr,
    /// Log from level `info` on, not only errors.
    #[arg(long)]
    verbose: bool,
}

pub(crate) fn run(arguments: &DemoArguments) -> ExitCode {
    let redactor = Redactor::default();
    let environment = Environment::capture();
    let level = if arguments.verbose { LevelFilter::INFO } else { LevelFilter::ERROR };
    log::init(&redactor, &environment, level, LogFormat::Text);
    signals::catch_unused();
    match run_demo(arguments, redactor, environment) {
        Ok(code) => code,
        Err(error) => {
            out::print_error(&format!("{error:#}"));
            ExitCode::from(super::TRY_AGAIN)
        }
    }
}

fn run_demo(arguments: &DemoArguments, redactor: Redactor, environment: Environment) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    // Before there is a home, which must be removed.
    let signals = Signals::listen_early().context("signals cannot be handled")?;
    let home = tempfile::Builder::new().prefix("caduceus-demo-").tempdir().context("no temporary home")?;
    let connector = DemoConnector::start(arguments.chat_bind)?;
    write_home(home.path(), &connector).context("the files of the temporary home cannot be written")?;

    let settings = Settings::load(home.path(), environment)?;
    let chat = connector.handle.url();
    let launch = GatewayLaunch {
        settings,
        bind: arguments.bind,
        redactor,
        started,
        allow_faults: true,
        insecure_loopback_drain: true,
        refresh_steps: StepHook::default(),
        signals: Some(signals),
    };
    let code = life::run(launch, |address| announce_demo(&chat, address, home.path()));
    connector.stop();
    out::print_briefly("The temporary home is removed.\n");
    Ok(code)
}

/// The connector, on a separate thread.
struct DemoConnector {
    handle: ConnectorHandle,
    credentials: Credentials,
    thread: thread::JoinHandle<()>,
}

impl DemoConnector {
    fn start(bind: SocketAddr) -> anyhow::Result<Self> {
        let (started, start) = oneshot::channel();
        let thread = thread::Builder::new().name("connector".to_owned()).spawn(move || {
            actix_web::rt::System::new().block_on(serve_connector(bind, started));
        })?;
        let (connector, credentials) = start.blocking_recv().context("the connector did not come up")??;
        Ok(Self { handle: connector, credentials, thread })
    }

    /// Ends the connector and waits for its thread.
    fn stop(self) {
        actix_web::rt::System::new().block_on(self.handle.stop());
        if self.thread.join().is_err() {
            out::print_error("the connector's thread panicked");
        }
    }
}

type DemoStart = anyhow::Result<(ConnectorHandle, Credentials)>;

async fn serve_connector(bind: SocketAddr, started: oneshot::Sender<DemoStart>) {
    let post = Arc::new(ClientPost(HttpClient::default()));
    let connector = match caduceus_connector::bind(ConnectorOptions { bind, disk: None, open: false, post }).await {
        Ok(connector) => connector,
        Err(error) => {
            let _ = started.send(Err(error.into()));
            return;
        }
    };
    let handle = connector.handle();
    let credentials = handle.register(Some("demo".to_owned())).await;
    let _ = started.send(credentials.map(|credentials| (handle, credentials)).map_err(Into::into));
    if let Err(error) = connector.run().await {
        tracing::error!(%error, "the connector ended");
    }
}

/// Two profiles with different secrets and the same agent.
fn write_home(home: &Path, connector: &DemoConnector) -> io::Result<()> {
    let work = home.join("profiles").join("work");
    fs::create_dir_all(&work)?;
    let agent = home.join("agent.sh");
    write_new(&agent, AGENT)?;
    write_new(&home.join("config.yaml"), "gateway:\n  multiplex_profiles: true\n")?;
    let ours = format!(
        "agent:\n  backend: exec\n  command: [sh, {agent:?}]\n  timeout_s: 600\ndrain:\n  timeout_s: 20\n",
        agent = agent.display().to_string()
    );
    write_new(&home.join("caduceus.yaml"), &ours)?;
    let relay = format!(
        "GATEWAY_RELAY_URL={}/relay\nGATEWAY_RELAY_ID={}\nGATEWAY_RELAY_SECRET={}\nGATEWAY_RELAY_PLATFORMS=discord,telegram\n",
        connector.handle.url(),
        connector.credentials.gateway_id,
        connector.credentials.secret,
    );
    let secret = || uuid::Uuid::new_v4().simple().to_string();
    write_new(&home.join(".env"), &format!("{relay}DEMO_DEFAULT_KEY={}\n", secret()))?;
    write_new(&work.join(".env"), &format!("DEMO_WORK_KEY={}\n", secret()))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    own::create_new(path, own::OpenMode::ReadWrite, 0o600).map_err(std::io::Error::from)?.write_all(text.as_bytes())
}

fn announce_demo(chat: &str, gateway: SocketAddr, home: &Path) {
    let marker = store::path(home);
    out::announce(format!(
        "Caduceus is up. Open

  chat:    {chat}/
  status:  http://{gateway}/

and try
  - write something in the chat; write `whoami` as profile `default` and as `work`
  - write `sleep 20`, press Begin drain on the status page, write again: the message is held, the long turn finishes
  - press Cancel drain: the held message is answered
  - the same by file:  touch {marker}   and   rm {marker}
  - press Crash beside an actor: its supervisor restarts it; write `/status` or `/stop` in the chat

The home is {home}. Ctrl-C ends everything and removes it.
",
        marker = marker.display(),
        home = home.display(),
    ));
}
