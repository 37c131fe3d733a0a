//! A server on a free port, a stub behind it, and clients.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, ActorContext as _, Addr, Context, Handler, MessageResult};
use actix_web::http::Method;
use awc::ClientRequest;
use bytes::Bytes;
use caduceus_actors::settings::{DrainAuth, HttpValues, InboundSettings};
use caduceus_actors::status::changes::StatusChanges;
use caduceus_contract::messages::dispatch::{StopTurnById, UnknownTurn};
use caduceus_contract::messages::drain::{
    AwaitDrained, BeginDrain, CancelDrain, CancelError, DrainBegun, DrainCancelled, DrainControlPorts, DrainView,
    GetDrain,
};
use caduceus_contract::messages::status::{GetSnapshot, RefreshSnapshot, SnapshotChanged, StatusTouched, Subscribe};
use caduceus_contract::status::lifecycle::GatewayState;
use caduceus_contract::status::snapshot::Snapshot;
use caduceus_supervision::{InjectFault, Operate, OperateError, OperatorCommand, Port};
use serde_json::Value;

use super::ledger;
use super::sample::snapshot;
use crate::http::{
    self, AlreadyStopping, Healthy, HttpOptions, HttpPorts, HttpRelayPorts, HttpServerHandle, RestartProcess,
};

/// A strong secret.
pub(super) const SECRET: &str = "kQ7vXw2mZr9TbN4cLp8sYd1fGh6jKa3eUo5iRt0WqEx";
/// Ceiling of every wait.
pub(super) const CEILING: Duration = Duration::from_secs(10);

/// The messages that the stub received, as text, in order.
#[derive(Clone, Default)]
pub(super) struct ReceivedMessages(Arc<Mutex<Vec<String>>>);

/// All actors in one. Its answer depends on the request, so that a test need not prepare it.
pub(super) struct Stub {
    snapshot: Arc<Snapshot>,
    listeners: Vec<Port<SnapshotChanged>>,
    pub(super) received: ReceivedMessages,
}

/// Ends the stub, as if the actor were lost.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct StopStub;

/// Replaces the status and notifies the listeners.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct ReplaceStatus(Snapshot);

/// Loses its listeners, as a restarted status actor does.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct ForgetListeners;

/// A running server.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    pub(super) received: ReceivedMessages,
    pub(super) home: tempfile::TempDir,
    pub(super) alive: Arc<AtomicBool>,
    pub(super) changes: StatusChanges,
    handle: HttpServerHandle,
    stub: Addr<Stub>,
    client: awc::Client,
}

/// A parsed answer.
#[derive(Debug)]
pub(super) struct TestAnswer {
    pub(super) status: u16,
    pub(super) body: Bytes,
    headers: BTreeMap<String, String>,
}

/// How a test's server differs from the common one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) secret: Option<&'static str>,
    pub(super) scope: &'static str,
    pub(super) insecure: bool,
    pub(super) faults: bool,
    pub(super) bind: &'static str,
    pub(super) proxies: &'static [&'static str],
}

impl Default for Setting {
    fn default() -> Self {
        Self { secret: Some(SECRET), scope: "drain", insecure: false, faults: false, bind: "127.0.0.1:0", proxies: &[] }
    }
}

impl TestServer {
    pub(super) async fn start() -> Self {
        Self::with(Setting::default()).await
    }

    pub(super) async fn with(setting: Setting) -> Self {
        // A second test of the same process finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (received, home) = (ReceivedMessages::default(), tempfile::tempdir().unwrap());
        let stub = Stub { snapshot: Arc::new(snapshot()), listeners: Vec::new(), received: received.clone() }.start();
        let alive = Arc::new(AtomicBool::new(true));
        let watched = Arc::clone(&alive);
        let bind = setting.bind.parse().unwrap();
        let healthy = Healthy(Arc::new(move || watched.load(Ordering::SeqCst)));
        let options = HttpOptions { healthy, ..Self::options(setting, bind, home.path()) };
        let ports = ports(&stub);
        let changes = ports.changes.clone();
        let bound = http::bind(options, ports).unwrap();
        let address = bound.address();
        let running = bound.run().unwrap();
        let handle = running.handle();
        caduceus_supervision::spawn(async move { running.ended().await.unwrap() });
        let server = Self { address, received, home, alive, changes, handle, stub, client: awc::Client::default() };
        let known = || async { server.request(Method::GET, "/api/status").send().await.unwrap().status() == 200 };
        server.until("the status to come", known).await;
        server
    }

    pub(super) fn options(setting: Setting, bind: SocketAddr, home: &Path) -> HttpOptions {
        let secret = setting.secret.map(Into::into);
        HttpOptions {
            values: HttpValues {
                bind,
                names: vec!["server.example".to_owned()],
                trusted_proxies: setting.proxies.iter().map(|network| network.parse().unwrap()).collect(),
            },
            drain_auth: DrainAuth { secret, scope: setting.scope.to_owned(), min_chars: 43 },
            insecure_loopback_drain: setting.insecure,
            allow_faults: setting.faults,
            home: home.to_owned(),
            healthy: Healthy(Arc::new(|| true)),
            log_dropped: || 7,
            redactor: ledger::redactor(),
            inbound: InboundSettings::default(),
        }
    }

    pub(super) fn ports(&self) -> HttpPorts {
        ports(&self.stub)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn request(&self, method: Method, path: &str) -> ClientRequest {
        self.client.request(method, self.url(path)).timeout(CEILING)
    }

    pub(super) async fn get(&self, path: &str) -> TestAnswer {
        TestAnswer::of(self.request(Method::GET, path), "").await
    }

    /// A POST with the drain secret.
    pub(super) async fn post(&self, path: &str, body: &str) -> TestAnswer {
        TestAnswer::of(self.request(Method::POST, path).bearer_auth(SECRET), body).await
    }

    /// Stops all actors.
    pub(super) fn lose_actors(&self) {
        Port::<StopStub>::from(self.stub.clone()).tell(StopStub).unwrap();
    }

    pub(super) fn set_status(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut next = snapshot();
        change(&mut next);
        Port::<ReplaceStatus>::from(self.stub.clone()).tell(ReplaceStatus(next)).unwrap();
    }

    pub(super) fn forget_listeners(&self) {
        Port::<ForgetListeners>::from(self.stub.clone()).tell(ForgetListeners).unwrap();
    }

    pub(super) async fn stop(self) {
        self.handle.stop().await;
    }

    /// Polls until `holds` is true.
    pub(super) async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let poll = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(CEILING, poll).await.is_ok(), "timeout: {what}");
    }

    /// The audit log, one value a line, once it has at least `lines`.
    pub(super) async fn audit(&self, lines: usize) -> Vec<Value> {
        let path = self.home.path().join("logs/dashboard-auth.log");
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        self.until("the audit log to be written", || async { read().lines().count() >= lines }).await;
        read().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl TestAnswer {
    pub(super) async fn of(request: ClientRequest, body: &str) -> Self {
        let (method, path) = (request.get_method().to_string(), request.get_uri().path().to_owned());
        let mut response = request.send_body(body.to_owned()).await.unwrap();
        let text = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap().to_owned();
        let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let answer = Self { status: response.status().as_u16(), body: response.body().await.unwrap(), headers };
        super::document::allows(&method, &path, answer.status, &answer.body);
        answer
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Status and code of an error, after a poll at what every error has.
    pub(super) fn error(&self) -> (u16, String) {
        let body = self.json();
        let fields: Vec<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["error", "detail"], "{self:?}");
        assert!(!body["detail"].as_str().unwrap().is_empty());
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        assert_eq!(self.header("x-request-id").map(str::len), Some(36), "{self:?}");
        (self.status, body["error"].as_str().unwrap().to_owned())
    }
}

impl ReceivedMessages {
    pub(super) fn note(&self, message: &impl std::fmt::Debug) {
        self.0.lock().unwrap().push(format!("{message:?}"));
    }

    /// Whether the text of any received message has all `parts`.
    pub(super) fn has(&self, parts: &[&str]) -> bool {
        self.0.lock().unwrap().iter().any(|message| parts.iter().all(|part| message.contains(part)))
    }

    /// Whether no command was received; queries of the status are not recorded.
    pub(super) fn no_command(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

fn ports(stub: &Addr<Stub>) -> HttpPorts {
    HttpPorts {
        snapshot: stub.clone().into(),
        refresh: stub.clone().into(),
        changes: StatusChanges::new(stub.clone().into()),
        subscribe: stub.clone().into(),
        drain: DrainControlPorts::of(stub),
        operate: stub.clone().into(),
        inject_fault: stub.clone().into(),
        stop_turn: stub.clone().into(),
        ledger: ledger::ports(stub),
        relay: HttpRelayPorts::default(),
        restart: stub.clone().into(),
    }
}

impl Actor for Stub {
    type Context = Context<Self>;
}

impl Handler<StopStub> for Stub {
    type Result = ();
    fn handle(&mut self, _: StopStub, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<ReplaceStatus> for Stub {
    type Result = ();
    fn handle(&mut self, ReplaceStatus(next): ReplaceStatus, _: &mut Self::Context) {
        self.snapshot = Arc::new(next);
        let changed = || SnapshotChanged(Arc::clone(&self.snapshot));
        self.listeners.retain(|listener| listener.tell(changed()).is_ok());
    }
}

impl Handler<ForgetListeners> for Stub {
    type Result = ();
    fn handle(&mut self, _: ForgetListeners, _: &mut Self::Context) {
        self.listeners.clear();
    }
}

impl Handler<GetSnapshot> for Stub {
    type Result = MessageResult<GetSnapshot>;
    fn handle(&mut self, _: GetSnapshot, _: &mut Self::Context) -> Self::Result {
        MessageResult(Arc::clone(&self.snapshot))
    }
}

impl Handler<RefreshSnapshot> for Stub {
    type Result = MessageResult<RefreshSnapshot>;
    fn handle(&mut self, _: RefreshSnapshot, _: &mut Self::Context) -> Self::Result {
        MessageResult(Arc::clone(&self.snapshot))
    }
}

impl Handler<StatusTouched> for Stub {
    type Result = ();
    fn handle(&mut self, _: StatusTouched, _: &mut Self::Context) {}
}

impl Handler<Subscribe> for Stub {
    type Result = MessageResult<Subscribe>;
    fn handle(&mut self, message: Subscribe, _: &mut Self::Context) -> Self::Result {
        self.listeners.push(message.to);
        MessageResult(Arc::clone(&self.snapshot))
    }
}

impl Handler<GetDrain> for Stub {
    type Result = MessageResult<GetDrain>;
    fn handle(&mut self, _: GetDrain, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.snapshot.drain.clone())
    }
}

impl Handler<AwaitDrained> for Stub {
    type Result = MessageResult<AwaitDrained>;
    fn handle(&mut self, message: AwaitDrained, _: &mut Self::Context) -> Self::Result {
        self.received.note(&message);
        MessageResult(DrainView { draining: true, ..DrainView::default() })
    }
}

impl Handler<BeginDrain> for Stub {
    type Result = MessageResult<BeginDrain>;
    fn handle(&mut self, message: BeginDrain, _: &mut Self::Context) -> Self::Result {
        self.received.note(&message);
        // A disk that is full for one profile.
        let durable = message.profile.is_none();
        MessageResult(DrainBegun { requested_at: "2026-11-22T03:00:00Z".into(), active_agents: 2, durable })
    }
}

impl Handler<CancelDrain> for Stub {
    type Result = Result<DrainCancelled, CancelError>;
    fn handle(&mut self, message: CancelDrain, _: &mut Self::Context) -> Self::Result {
        self.received.note(&message);
        match &message.profile {
            Some(profile) if profile.as_str() == "stuck" => Err(CancelError::MarkerNotRemoved("EROFS".into())),
            Some(_) => Err(CancelError::Stopping),
            None => Ok(DrainCancelled { was_draining: true }),
        }
    }
}

impl Handler<Operate> for Stub {
    type Result = Result<(), OperateError>;
    fn handle(&mut self, message: Operate, _: &mut Self::Context) -> Self::Result {
        self.received.note(&message);
        match message.command {
            OperatorCommand::Restart | OperatorCommand::Reset if message.path == "missing" => {
                Err(OperateError::NoSuchChild(message.path))
            }
            OperatorCommand::Restart | OperatorCommand::Reset | OperatorCommand::Stop => Ok(()),
        }
    }
}

impl Handler<InjectFault> for Stub {
    type Result = Result<(), OperateError>;
    fn handle(&mut self, message: InjectFault, _: &mut Self::Context) -> Self::Result {
        self.received.note(&message);
        if message.path == "down" { Err(OperateError::NotRunning(message.path)) } else { Ok(()) }
    }
}

impl Handler<RestartProcess> for Stub {
    type Result = Result<(), AlreadyStopping>;
    fn handle(&mut self, message: RestartProcess, _: &mut Self::Context) -> Self::Result {
        self.received.note(&message);
        let stopping = self.snapshot.gateway_state == GatewayState::Stopping;
        if stopping { Err(AlreadyStopping) } else { Ok(()) }
    }
}

impl Handler<StopTurnById> for Stub {
    type Result = Result<(), UnknownTurn>;
    fn handle(&mut self, message: StopTurnById, _: &mut Self::Context) -> Self::Result {
        self.received.note(&message);
        let known = self.snapshot.drain.turns.iter().any(|turn| turn.turn_id == message.turn);
        if known { Ok(()) } else { Err(UnknownTurn(message.turn)) }
    }
}
