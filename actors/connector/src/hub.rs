//! The owner of the connector's state: carries out the steps of [`ConnectorPlan`].
//!
//! Owns the plan, the address of every socket, the event streams and the data file. Receives messages from the sockets and
//! the HTTP routes; sends to sockets and streams. A restart loses the rooms and the counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use caduceus_contract::wire::provisioning::GatewayGrant;
use caduceus_supervision::{Port, ResponseFuture};
use tracing::{debug, warn};

use super::credentials::{Credentials, DialRefusal, GrantError};
use super::faults::Faults;
use super::inbound::{PushError, Pushed};
use super::messages::{
    Admit, Deprovision, Enroll, GetEndpoint, GetTraffic, LineReceived, ProvisionGateway, PushChat, PushTo, Register,
    Rotate, SetFaults, SetPolicy, SocketClosed, SocketCommand, SocketOpened, Stop, WatchChat, WatchFrames,
};
use super::plan::{ConnectorPlan, REORDER_TIMEOUT};
use super::ports::{Disk, GatewayCall, Post};
use super::steps::{ConnectorStep, DialDecision};
use super::streams::EventStreams;

/// Capacity of the hub's mailbox: a burst of frames from every socket at once.
const MAILBOX_LIMIT: usize = 65_536;
/// Minimum time between two status events; changes within it are sent as one.
const STATUS_INTERVAL: Duration = Duration::from_millis(50);
/// Minimum time between two writes of the data file.
const SAVE_INTERVAL: Duration = Duration::from_millis(100);
/// Timeout of a call to a gateway's wake address.
const WAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Carries out the steps of [`ConnectorPlan`].
pub(super) struct Hub {
    post: Arc<dyn Post>,
    plan: ConnectorPlan,
    sockets: HashMap<u64, Port<SocketCommand>>,
    streams: EventStreams,
    status_due: bool,
    disk: Option<Arc<dyn Disk>>,
    save: SaveState,
    stopping: bool,
}

/// Whether the data file has the current state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SaveState {
    /// The file has the current state.
    Clean,
    /// A write is scheduled or runs.
    Writing,
    /// A write runs, and the state has changed since it began.
    Dirty,
}

impl Hub {
    pub(super) fn new(plan: ConnectorPlan, disk: Option<Arc<dyn Disk>>, post: Arc<dyn Post>) -> Self {
        Self {
            post,
            plan,
            sockets: HashMap::new(),
            streams: EventStreams::default(),
            status_due: false,
            disk,
            save: SaveState::Clean,
            stopping: false,
        }
    }

    fn carry_out(&mut self, steps: Vec<ConnectorStep>, ctx: &mut Context<Self>) {
        for step in steps {
            match step {
                ConnectorStep::Write { connection, text, after } => {
                    self.command(connection, SocketCommand::Write { text, after });
                }
                ConnectorStep::Close { connection, code, reason } => {
                    self.command(connection, SocketCommand::Close { code, reason });
                }
                ConnectorStep::Cut { connection } => self.command(connection, SocketCommand::Cut),
                ConnectorStep::Freeze { connection } => self.command(connection, SocketCommand::Freeze),
                ConnectorStep::ReleaseLater { connection } => {
                    ctx.run_later(REORDER_TIMEOUT, move |hub, ctx| {
                        let steps = hub.plan.release(connection);
                        hub.carry_out(steps, ctx);
                    });
                }
                ConnectorStep::Frame { gateway_id, frame } => self.streams.send_frame(&gateway_id, &frame),
                ConnectorStep::Chat(change) => self.streams.send_chat(&change),
                ConnectorStep::Status => self.send_status_soon(ctx),
                ConnectorStep::Wake { url } => wake(&*self.post, url, ctx),
                ConnectorStep::Save => self.save_soon(ctx),
            }
        }
    }

    fn command(&mut self, connection: u64, command: SocketCommand) {
        let Some(socket) = self.sockets.get(&connection) else {
            return;
        };
        if let Err(error) = socket.tell(command) {
            // The socket's own timer ends it if its peer no longer reads; its frames wait for the next connection.
            warn!(connection, %error, "socket mailbox full or closed");
            self.sockets.remove(&connection);
        }
    }

    fn send_status_soon(&mut self, ctx: &mut Context<Self>) {
        if self.status_due || !self.streams.has_chat_windows() {
            return;
        }
        self.status_due = true;
        ctx.run_later(STATUS_INTERVAL, |hub, _| {
            hub.status_due = false;
            let status = hub.plan.status();
            hub.streams.send_chat(&status);
        });
    }

    fn save_soon(&mut self, ctx: &mut Context<Self>) {
        let Some(disk) = self.disk.clone() else {
            return;
        };
        if self.save != SaveState::Clean {
            self.save = SaveState::Dirty;
            return;
        }
        self.save = SaveState::Writing;
        ctx.run_later(SAVE_INTERVAL, move |hub, ctx| {
            // The bytes include the changes made since the write was scheduled.
            hub.save = SaveState::Writing;
            let written = write_data(disk, hub.encoded());
            ctx.spawn(written.into_actor(hub).map(|(), hub, ctx| {
                let changed = hub.save == SaveState::Dirty;
                hub.save = SaveState::Clean;
                if changed {
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
            return MessageResult(DialDecision::Status(503));
        }
        let admission = self.plan.admit(token.as_deref(), now_ms());
        self.save_soon(ctx);
        MessageResult(admission)
    }
}

impl Handler<SocketOpened> for Hub {
    type Result = ();

    fn handle(&mut self, SocketOpened { connection, gateway_id, socket }: SocketOpened, ctx: &mut Self::Context) {
        self.sockets.insert(connection, socket);
        let steps = self.plan.opened(connection, &gateway_id, now_ms());
        self.carry_out(steps, ctx);
    }
}

impl Handler<LineReceived> for Hub {
    type Result = ();

    fn handle(&mut self, LineReceived { connection, line }: LineReceived, ctx: &mut Self::Context) {
        let steps = self.plan.received(connection, &line, now_ms());
        self.carry_out(steps, ctx);
    }
}

impl Handler<SocketClosed> for Hub {
    type Result = ();

    fn handle(&mut self, SocketClosed { connection, gateway_id }: SocketClosed, ctx: &mut Self::Context) {
        self.sockets.remove(&connection);
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
    type Result = Result<GatewayGrant, GrantError>;

    fn handle(&mut self, Enroll { access_token, request }: Enroll, ctx: &mut Self::Context) -> Self::Result {
        let grant = self.plan.enroll(access_token.as_deref(), &request, now_ms())?;
        self.carry_out(vec![ConnectorStep::Save, ConnectorStep::Status], ctx);
        Ok(grant)
    }
}

impl Handler<ProvisionGateway> for Hub {
    type Result = Result<GatewayGrant, GrantError>;

    fn handle(
        &mut self,
        ProvisionGateway { access_token, request }: ProvisionGateway,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        let grant = self.plan.provision(access_token.as_deref(), request, now_ms())?;
        self.carry_out(vec![ConnectorStep::Save, ConnectorStep::Status], ctx);
        Ok(grant)
    }
}

impl Handler<Rotate> for Hub {
    type Result = Result<GatewayGrant, GrantError>;

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
    type Result = Result<(), DialRefusal>;

    fn handle(&mut self, SetPolicy { token, policy }: SetPolicy, ctx: &mut Self::Context) -> Self::Result {
        self.plan.set_policy(token.as_deref(), &policy, now_ms())?;
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

impl Handler<PushChat> for Hub {
    type Result = Result<(String, Pushed), PushError>;

    fn handle(&mut self, PushChat(input): PushChat, ctx: &mut Self::Context) -> Self::Result {
        let (message_id, pushed, steps) = self.plan.push_chat(input, now_ms())?;
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
        let (in_force, steps) = self.plan.set_faults(faults)?;
        self.carry_out(steps, ctx);
        Ok(in_force)
    }
}

impl Handler<GetTraffic> for Hub {
    type Result = MessageResult<GetTraffic>;

    fn handle(&mut self, _: GetTraffic, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.plan.traffic())
    }
}

impl Handler<WatchChat> for Hub {
    type Result = MessageResult<WatchChat>;

    fn handle(&mut self, _: WatchChat, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.streams.watch_chat([self.plan.chat_snapshot(), self.plan.status()]))
    }
}

impl Handler<WatchFrames> for Hub {
    type Result = MessageResult<WatchFrames>;

    fn handle(&mut self, WatchFrames { after }: WatchFrames, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.streams.watch_frames(after))
    }
}

impl Handler<Stop> for Hub {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) -> Self::Result {
        self.stopping = true;
        let closings = self.plan.connections().into_iter().map(|connection| ConnectorStep::Close {
            connection,
            code: 1_001,
            reason: "the connector is shutting down".to_owned(),
        });
        self.carry_out(closings.collect(), ctx);
        self.streams.close();
        match self.disk.clone() {
            Some(disk) => ResponseFuture::new(write_data(disk, self.encoded())),
            None => ResponseFuture::ready(()),
        }
    }
}

fn wake(post: &dyn Post, url: String, ctx: &mut Context<Hub>) {
    let called = post.send(GatewayCall { url, timeout: WAKE_TIMEOUT, delivery: None });
    let waking = async move {
        match called.await {
            Ok(status) => debug!(status, "gateway woken"),
            Err(error) => warn!(%error, "gateway wake call failed"),
        }
    };
    ctx.spawn(fut::wrap_future(waking));
}

/// Writes the data file on a thread for blocking calls.
async fn write_data(disk: Arc<dyn Disk>, bytes: Vec<u8>) {
    let written = {
        let disk = Arc::clone(&disk);
        tokio::task::spawn_blocking(move || disk.replace(&bytes)).await
    };
    let path = disk.path().display();
    match written {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%path, %error, "data file not written"),
        Err(error) => warn!(%path, %error, "write of the data file panicked"),
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
