//! The one owner of the connector's state: carries out what [`ConnectorPlan`] decides.
//!
//! Owns the plan, the way to every socket, the event streams and the data file. Told by the sockets and the HTTP
//! routes; tells sockets and streams. A restart loses the rooms and the account.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use caduceus_actors::files::own;
use caduceus_actors::http_client::{HttpCall, HttpClient, HttpLimits};
use caduceus_supervision::{Port, ResponseFuture};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::faults::Faults;
use super::plan::{Admission, ConnectorPlan, ConnectorStep, Push, PushError, Pushed, REORDER_TIMEOUT, Said};
use super::socket::Command;
use super::store::{Credentials, Grant, GrantError, Provision, Refusal};

/// Messages that wait for the hub: a burst of frames from every socket at once.
const MAILBOX_LIMIT: usize = 65_536;
/// Events that wait for a slow reader of a stream before it is cut off.
const STREAM_LIMIT: usize = 65_536;
/// Frames a late reader of `/dev/outbound` can still ask for.
const FRAME_HISTORY: usize = 4_096;
/// Changes of the status within this time are told once.
const STATUS_PAUSE: Duration = Duration::from_millis(50);
/// Writings of the data file are at least this far apart.
const SAVE_PAUSE: Duration = Duration::from_millis(100);
/// A gateway's wake address answers at once or not at all.
const WAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Carries out what [`ConnectorPlan`] decides.
pub(super) struct Hub {
    http: HttpClient,
    plan: ConnectorPlan,
    wires: HashMap<u64, Port<Command>>,
    chat_streams: Vec<mpsc::Sender<Bytes>>,
    frame_streams: Vec<mpsc::Sender<Bytes>>,
    frames: VecDeque<(u64, Bytes)>,
    frame_count: u64,
    status_due: bool,
    data: Option<PathBuf>,
    save: Saving,
    stopping: bool,
}

/// Where the writing of the data file stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Saving {
    Clean,
    /// Being written, or soon.
    Busy,
    /// Being written, and changed meanwhile.
    Stale,
}

/// Decide on a dial.
#[derive(Message)]
#[rtype(result = "Admission")]
pub(super) struct Admit {
    pub(super) token: Option<String>,
}

/// An accepted connection is up.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Opened {
    pub(super) connection: u64,
    pub(super) gateway_id: String,
    pub(super) wire: Port<Command>,
}

/// A line came in.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Received {
    pub(super) connection: u64,
    pub(super) line: String,
}

/// An accepted connection has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Closed {
    pub(super) connection: u64,
    pub(super) gateway_id: String,
}

/// Register a gateway, or give the credentials of one that is there.
#[derive(Message)]
#[rtype(result = "Result<Credentials, GrantError>")]
pub(super) struct Register {
    pub(super) gateway_id: Option<String>,
}

/// Exchange an enrollment token for credentials.
#[derive(Message)]
#[rtype(result = "Result<Grant, GrantError>")]
pub(super) struct Enroll {
    pub(super) access_token: Option<String>,
    pub(super) enrollment_token: String,
    pub(super) gateway_id: String,
}

/// Give credentials to a gateway that proves its tenant.
#[derive(Message)]
#[rtype(result = "Result<Grant, GrantError>")]
pub(super) struct ProvisionGateway {
    pub(super) access_token: Option<String>,
    pub(super) asked: Provision,
}

/// Give a gateway a fresh secret.
#[derive(Message)]
#[rtype(result = "Result<Grant, GrantError>")]
pub(super) struct Rotate {
    pub(super) gateway_id: String,
    pub(super) window_s: i64,
}

/// Revoke a gateway's secrets and close its link.
#[derive(Message)]
#[rtype(result = "Result<(), GrantError>")]
pub(super) struct Deprovision {
    pub(super) gateway_id: String,
}

/// Keep a relevance policy.
#[derive(Message)]
#[rtype(result = "Result<(), Refusal>")]
pub(super) struct SetPolicy {
    pub(super) token: Option<String>,
    pub(super) platform: String,
    pub(super) policy: Value,
}

/// Bring something to a gateway.
#[derive(Message)]
#[rtype(result = "Result<Pushed, PushError>")]
pub(super) struct PushTo {
    pub(super) gateway_id: Option<String>,
    pub(super) push: Push,
}

/// Bring a message of the chat page to a gateway; answers its message id too.
#[derive(Message)]
#[rtype(result = "Result<(String, Pushed), PushError>")]
pub(super) struct Say(pub(super) Said);

/// Where signed deliveries go, and the key that signs them.
#[derive(Message)]
#[rtype(result = "Result<(Option<String>, String), PushError>")]
pub(super) struct GetEndpoint {
    pub(super) gateway_id: Option<String>,
}

/// Set the fault switches; answers those that stand.
#[derive(Message)]
#[rtype(result = "Result<Faults, PushError>")]
pub(super) struct SetFaults(pub(super) Faults);

/// What went over the wire so far.
#[derive(Message)]
#[rtype(result = "Value")]
pub(super) struct GetAccount;

/// The chat as it is, then every change.
#[derive(Message)]
#[rtype(result = "mpsc::Receiver<Bytes>")]
pub(super) struct WatchChat;

/// Every frame from gateways, from now on or from the one after a number that was seen.
#[derive(Message)]
#[rtype(result = "mpsc::Receiver<Bytes>")]
pub(super) struct WatchFrames {
    pub(super) after: Option<u64>,
}

/// Close every link and stream, bring the data file up to date.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

impl Hub {
    pub(super) fn new(plan: ConnectorPlan, data: Option<PathBuf>, http: HttpClient) -> Self {
        Self {
            http,
            plan,
            wires: HashMap::new(),
            chat_streams: Vec::new(),
            frame_streams: Vec::new(),
            frames: VecDeque::new(),
            frame_count: 0,
            status_due: false,
            data,
            save: Saving::Clean,
            stopping: false,
        }
    }

    fn carry_out(&mut self, steps: Vec<ConnectorStep>, ctx: &mut Context<Self>) {
        for step in steps {
            match step {
                ConnectorStep::Write { connection, text, after } => {
                    self.command(connection, Command::Write { text, after });
                }
                ConnectorStep::Close { connection, code, reason } => {
                    self.command(connection, Command::Close { code, reason });
                }
                ConnectorStep::Cut { connection } => self.command(connection, Command::Cut),
                ConnectorStep::Freeze { connection } => self.command(connection, Command::Freeze),
                ConnectorStep::ReleaseLater { connection } => {
                    ctx.run_later(REORDER_TIMEOUT, move |hub, ctx| {
                        let steps = hub.plan.release(connection);
                        hub.carry_out(steps, ctx);
                    });
                }
                ConnectorStep::Frame { gateway_id, frame } => self.tell_frame(&gateway_id, &frame),
                ConnectorStep::Chat(news) => self.tell_chat(&news),
                ConnectorStep::Status => self.tell_status_soon(ctx),
                ConnectorStep::Wake { url } => wake(self.http.clone(), url, ctx),
                ConnectorStep::Save => self.save_soon(ctx),
            }
        }
    }

    fn command(&mut self, connection: u64, command: Command) {
        let Some(wire) = self.wires.get(&connection) else {
            return;
        };
        if let Err(error) = wire.tell(command) {
            // Its own timer ends a socket whose peer no longer reads; what was meant for it waits for the next one.
            warn!(connection, %error, "socket takes nothing more");
            self.wires.remove(&connection);
        }
    }

    fn tell_frame(&mut self, gateway_id: &str, frame: &Value) {
        self.frame_count += 1;
        let data = json!({"gatewayId": gateway_id, "frame": frame});
        let event = Bytes::from(format!("id: {}\ndata: {data}\n\n", self.frame_count));
        if self.frames.len() == FRAME_HISTORY {
            self.frames.pop_front();
        }
        self.frames.push_back((self.frame_count, event.clone()));
        broadcast(&mut self.frame_streams, &event);
    }

    fn tell_chat(&mut self, news: &Value) {
        if !self.chat_streams.is_empty() {
            broadcast(&mut self.chat_streams, &Bytes::from(format!("data: {news}\n\n")));
        }
    }

    fn tell_status_soon(&mut self, ctx: &mut Context<Self>) {
        if self.status_due || self.chat_streams.is_empty() {
            return;
        }
        self.status_due = true;
        ctx.run_later(STATUS_PAUSE, |hub, _| {
            hub.status_due = false;
            let status = hub.plan.status();
            hub.tell_chat(&status);
        });
    }

    fn save_soon(&mut self, ctx: &mut Context<Self>) {
        let Some(path) = self.data.clone() else {
            return;
        };
        if self.save != Saving::Clean {
            self.save = Saving::Stale;
            return;
        }
        self.save = Saving::Busy;
        ctx.run_later(SAVE_PAUSE, move |hub, ctx| {
            // What changed while waiting is in what is written now.
            hub.save = Saving::Busy;
            let written = write_off_arbiter(path, hub.encoded());
            ctx.spawn(written.into_actor(hub).map(|(), hub, ctx| {
                let again = hub.save == Saving::Stale;
                hub.save = Saving::Clean;
                if again {
                    hub.save_soon(ctx);
                }
            }));
        });
    }

    fn encoded(&self) -> Vec<u8> {
        serde_json::to_vec(self.plan.saved()).expect("the state is strings, numbers and JSON values")
    }
}

impl Actor for Hub {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_LIMIT);
    }
}

impl Handler<Admit> for Hub {
    type Result = MessageResult<Admit>;

    fn handle(&mut self, Admit { token }: Admit, ctx: &mut Self::Context) -> Self::Result {
        if self.stopping {
            return MessageResult(Admission::Status(503));
        }
        let admission = self.plan.admit(token.as_deref(), now_ms());
        self.save_soon(ctx);
        MessageResult(admission)
    }
}

impl Handler<Opened> for Hub {
    type Result = ();

    fn handle(&mut self, Opened { connection, gateway_id, wire }: Opened, ctx: &mut Self::Context) {
        self.wires.insert(connection, wire);
        let steps = self.plan.opened(connection, &gateway_id, now_ms());
        self.carry_out(steps, ctx);
    }
}

impl Handler<Received> for Hub {
    type Result = ();

    fn handle(&mut self, Received { connection, line }: Received, ctx: &mut Self::Context) {
        let steps = self.plan.received(connection, &line, now_ms());
        self.carry_out(steps, ctx);
    }
}

impl Handler<Closed> for Hub {
    type Result = ();

    fn handle(&mut self, Closed { connection, gateway_id }: Closed, ctx: &mut Self::Context) {
        self.wires.remove(&connection);
        let steps = self.plan.closed(connection, &gateway_id, now_ms());
        self.carry_out(steps, ctx);
    }
}

impl Handler<Register> for Hub {
    type Result = Result<Credentials, GrantError>;

    fn handle(&mut self, Register { gateway_id }: Register, ctx: &mut Self::Context) -> Self::Result {
        let credentials = self.plan.register(gateway_id, now_ms())?;
        self.carry_out(vec![ConnectorStep::Save, ConnectorStep::Status], ctx);
        Ok(credentials)
    }
}

impl Handler<Enroll> for Hub {
    type Result = Result<Grant, GrantError>;

    fn handle(&mut self, asked: Enroll, ctx: &mut Self::Context) -> Self::Result {
        let access_token = asked.access_token.as_deref();
        let grant = self.plan.enroll(access_token, &asked.enrollment_token, &asked.gateway_id, now_ms())?;
        self.carry_out(vec![ConnectorStep::Save, ConnectorStep::Status], ctx);
        Ok(grant)
    }
}

impl Handler<ProvisionGateway> for Hub {
    type Result = Result<Grant, GrantError>;

    fn handle(&mut self, asked: ProvisionGateway, ctx: &mut Self::Context) -> Self::Result {
        let grant = self.plan.provision(asked.access_token.as_deref(), asked.asked, now_ms())?;
        self.carry_out(vec![ConnectorStep::Save, ConnectorStep::Status], ctx);
        Ok(grant)
    }
}

impl Handler<Rotate> for Hub {
    type Result = Result<Grant, GrantError>;

    fn handle(&mut self, Rotate { gateway_id, window_s }: Rotate, ctx: &mut Self::Context) -> Self::Result {
        let grant = self.plan.rotate(&gateway_id, window_s, now_ms())?;
        self.carry_out(vec![ConnectorStep::Save], ctx);
        Ok(grant)
    }
}

impl Handler<Deprovision> for Hub {
    type Result = Result<(), GrantError>;

    fn handle(&mut self, Deprovision { gateway_id }: Deprovision, ctx: &mut Self::Context) -> Self::Result {
        let steps = self.plan.deprovision(&gateway_id)?;
        self.carry_out(steps, ctx);
        Ok(())
    }
}

impl Handler<SetPolicy> for Hub {
    type Result = Result<(), Refusal>;

    fn handle(&mut self, SetPolicy { token, platform, policy }: SetPolicy, ctx: &mut Self::Context) -> Self::Result {
        self.plan.set_policy(token.as_deref(), &platform, policy, now_ms())?;
        self.carry_out(vec![ConnectorStep::Save], ctx);
        Ok(())
    }
}

impl Handler<PushTo> for Hub {
    type Result = Result<Pushed, PushError>;

    fn handle(&mut self, PushTo { gateway_id, push }: PushTo, ctx: &mut Self::Context) -> Self::Result {
        let (pushed, steps) = self.plan.push(gateway_id.as_deref(), push, now_ms())?;
        self.carry_out(steps, ctx);
        Ok(pushed)
    }
}

impl Handler<Say> for Hub {
    type Result = Result<(String, Pushed), PushError>;

    fn handle(&mut self, Say(said): Say, ctx: &mut Self::Context) -> Self::Result {
        let (message_id, pushed, steps) = self.plan.said(said, now_ms())?;
        self.carry_out(steps, ctx);
        Ok((message_id, pushed))
    }
}

impl Handler<GetEndpoint> for Hub {
    type Result = Result<(Option<String>, String), PushError>;

    fn handle(&mut self, GetEndpoint { gateway_id }: GetEndpoint, _: &mut Self::Context) -> Self::Result {
        self.plan.endpoint(gateway_id.as_deref())
    }
}

impl Handler<SetFaults> for Hub {
    type Result = Result<Faults, PushError>;

    fn handle(&mut self, SetFaults(faults): SetFaults, ctx: &mut Self::Context) -> Self::Result {
        let (standing, steps) = self.plan.set_faults(faults)?;
        self.carry_out(steps, ctx);
        Ok(standing)
    }
}

impl Handler<GetAccount> for Hub {
    type Result = MessageResult<GetAccount>;

    fn handle(&mut self, _: GetAccount, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.plan.account())
    }
}

impl Handler<WatchChat> for Hub {
    type Result = MessageResult<WatchChat>;

    fn handle(&mut self, _: WatchChat, _: &mut Self::Context) -> Self::Result {
        let (sender, receiver) = mpsc::channel(STREAM_LIMIT);
        for news in [self.plan.chat_snapshot(), self.plan.status()] {
            // Two events fit into any stream.
            let _ = sender.try_send(Bytes::from(format!("data: {news}\n\n")));
        }
        if !self.stopping {
            self.chat_streams.push(sender);
        }
        MessageResult(receiver)
    }
}

impl Handler<WatchFrames> for Hub {
    type Result = MessageResult<WatchFrames>;

    fn handle(&mut self, WatchFrames { after }: WatchFrames, _: &mut Self::Context) -> Self::Result {
        let (sender, receiver) = mpsc::channel(STREAM_LIMIT);
        // A comment, so that the headers go out before the first frame comes.
        let _ = sender.try_send(Bytes::from_static(b": frames from gateways\n\n"));
        if let Some(after) = after {
            for (_, event) in self.frames.iter().filter(|(number, _)| *number > after) {
                let _ = sender.try_send(event.clone());
            }
        }
        if !self.stopping {
            self.frame_streams.push(sender);
        }
        MessageResult(receiver)
    }
}

impl Handler<Stop> for Hub {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) -> Self::Result {
        self.stopping = true;
        let goodbyes = self.plan.connections().into_iter().map(|connection| ConnectorStep::Close {
            connection,
            code: 1_001,
            reason: "the connector is going away".to_owned(),
        });
        self.carry_out(goodbyes.collect(), ctx);
        self.chat_streams.clear();
        self.frame_streams.clear();
        match self.data.clone() {
            Some(path) => ResponseFuture::new(write_off_arbiter(path, self.encoded())),
            None => ResponseFuture::ready(()),
        }
    }
}

/// A stream whose reader is gone or too slow ends.
fn broadcast(streams: &mut Vec<mpsc::Sender<Bytes>>, event: &Bytes) {
    streams.retain(|stream| stream.try_send(event.clone()).is_ok());
}

fn wake(http: HttpClient, url: String, ctx: &mut Context<Hub>) {
    let waking = async move {
        match http.send(HttpCall::get(&url, HttpLimits::within(WAKE_TIMEOUT, 0))).await {
            Ok(answer) => debug!(status = answer.status(), "gateway woken"),
            Err(error) => warn!(%error, "gateway could not be woken"),
        }
    };
    ctx.spawn(fut::wrap_future(waking));
}

async fn write_off_arbiter(path: PathBuf, bytes: Vec<u8>) {
    let written = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || write_atomically(&path, &bytes)).await
    };
    match written {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(path = %path.display(), %error, "data file could not be written"),
        Err(error) => warn!(path = %path.display(), %error, "writing the data file panicked"),
    }
}

/// Readable by its owner only, and either the old content or the new, whatever happens.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    own::sync_directory(folder)
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
