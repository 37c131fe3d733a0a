//! The server as a child of the tree: last to start, first to stop.
//!
//! Owns the running server; the socket that listens outlives it, so a restart refuses no connection. Receives no
//! messages; its workers send for it. A restart loses open connections.

use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Running, WrapFuture};
use caduceus_supervision::{ChildSpec, ExitReason, Incarnation, Mailbox, Readiness, RestartPolicy, WorkerThread};

use super::{BoundServer, HttpServerHandle};

/// Longest time to start; only threads are started.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the first status; without one the server starts anyway, because a drain must be possible.
const FIRST_STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests in progress get 5 s; then the workers stop.
const GRACE: Duration = Duration::from_secs(7);

/// Owns the server.
pub(crate) struct HttpActor {
    bound: BoundServer,
    incarnation: Incarnation,
    handle: Option<HttpServerHandle>,
    stopping: bool,
}

impl HttpActor {
    /// The server of `bound` as a child on a separate thread, so that no other actor can block it.
    pub(crate) fn child(bound: BoundServer, policy: RestartPolicy) -> ChildSpec {
        let factory = move |start: &caduceus_supervision::StartContext<Self>| Self {
            bound: bound.clone(),
            incarnation: start.incarnation().clone(),
            handle: None,
            stopping: false,
        };
        ChildSpec::worker("http", &Mailbox::new(), factory)
            .on(&WorkerThread::new("http"))
            .policy(policy)
            .grace(GRACE)
            .readiness(Readiness::Reported { within: READY_TIMEOUT })
    }

    fn end(&mut self, reason: ExitReason, ctx: &mut Context<Self>) {
        self.incarnation.end_with(reason);
        self.handle = None;
        ctx.stop();
    }
}

impl Actor for HttpActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let running = match self.bound.run() {
            Ok(running) => running,
            Err(error) => return self.end(ExitReason::Error(error.to_string()), ctx),
        };
        self.handle = Some(running.handle());
        let first_status = running.first_status(FIRST_STATUS_TIMEOUT);
        ctx.spawn(first_status.into_actor(self).map(|(), actor, _| actor.incarnation.ready()));
        ctx.spawn(running.ended().into_actor(self).map(|ended, actor, ctx| match ended {
            Ok(()) if actor.stopping => {}
            Ok(()) => actor.end(ExitReason::Error("the server ended unexpectedly".to_owned()), ctx),
            Err(error) => actor.end(ExitReason::Error(error.to_string()), ctx),
        }));
    }

    fn stopping(&mut self, ctx: &mut Self::Context) -> Running {
        let Some(handle) = self.handle.take() else { return Running::Stop };
        self.stopping = true;
        let stop = async move { handle.stop().await };
        ctx.spawn(stop.into_actor(self).map(|(), _, ctx| ctx.stop()));
        Running::Continue
    }
}

impl Drop for HttpActor {
    // A server that failed leaves no workers behind.
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.kill();
        }
    }
}
