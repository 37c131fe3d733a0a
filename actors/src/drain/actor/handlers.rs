//! How the gate handles each message.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{ActorFutureExt, Handler, MessageResult, Response, ResponseActFuture, WrapFuture};
use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, info};

use super::super::epoch;
use super::super::permit::Permitted;
use super::super::permit::messages::{ListTurns, PermitAnswers, RequestPermits, RunningTurn};
use super::super::plan::{ActiveDrain, Change, DrainScope, GatePlan};
use super::super::store;
use super::super::watch::MarkerTouched;
use super::{DrainActor, TurnReleased, Waiter};
use caduceus_contract::files::marker::Marker;
use caduceus_contract::messages::drain::{
    AwaitDrained, BeginDrain, BeginShutdown, CancelDrain, CancelError, DrainBegun, DrainCancelled, DrainView, GetDrain,
    Refusal,
};
use caduceus_supervision::ResponseFuture;

/// Timeout of the disk, after which a begin is answered as not durable; below the timeout of a client.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Timeout of the removal of a marker, after which it is answered as not removed.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);

impl Handler<RequestPermits> for DrainActor {
    type Result = Response<PermitAnswers>;

    fn handle(&mut self, requests: RequestPermits, _: &mut Self::Context) -> Self::Result {
        if self.has_read_markers_of(&requests) {
            return Response::reply(self.admit(requests));
        }
        let (answer, answered) = oneshot::channel();
        let count = requests.0.len();
        self.early_requests.push((requests, answer));
        Response::fut(async move {
            answered.await.unwrap_or_else(|_| (0..count).map(|_| Err(Refusal::Superseded)).collect())
        })
    }
}

impl Handler<BeginDrain> for DrainActor {
    type Result = Response<DrainBegun>;

    fn handle(&mut self, order: BeginDrain, ctx: &mut Self::Context) -> Self::Result {
        let now = Timestamp::now();
        let scope = order.profile.map_or(DrainScope::Gateway, DrainScope::Profile);
        let deadline = order.deadline.and_then(|after| now.checked_add(after).ok());
        let mut marker = Marker {
            requested_at: now,
            principal: order.principal.clone(),
            epoch: self.epoch.clone(),
            suppress_notification: order.suppress_notification,
            deadline,
        };
        let requested_at = now.to_string();
        let drain = ActiveDrain {
            since: self.gate.now(),
            requested_at: Some(requested_at.clone()),
            principal: Some(order.principal.clone()),
            suppressed: order.suppress_notification,
            deadline,
            requesters: order.turn.into_iter().collect(),
            durable: false,
            order: 0,
        };
        // The gate closes here; the marker is written afterwards, and may fail.
        self.gate.change(self.owner(), |plan| plan.begin(scope.clone(), drain));
        info!(?scope, principal = %order.principal, by = "message", "drain.begun");
        self.notify_change();

        let ended = scope.clone();
        let (answer, answered) = oneshot::channel();
        let work = move |home: &Path| {
            // An order can arrive before the first reading of the markers, and with them of the epoch.
            marker.epoch = marker.epoch.or_else(epoch::current);
            store::write(home, &marker).map(|()| true)
        };
        let then = move |actor: &mut Self, written: io::Result<bool>| {
            let durable = written.unwrap_or_else(|error| {
                error!(?scope, %error, "drain in force, but its marker cannot be written: a restart ends the drain");
                false
            });
            if durable {
                actor.gate.change(actor.owner(), |plan| plan.written(&scope));
            }
            // The caller may have timed out; the drain applies nevertheless.
            let _ = answer.send(durable);
        };
        self.order(&ended, work, then, ctx);
        let gate = self.gate.clone();
        Response::fut(async move {
            // The gate is closed; a hung disk must not delay the answer.
            let durable = timeout(WRITE_TIMEOUT, answered).await.is_ok_and(|answered| answered == Ok(true));
            DrainBegun { requested_at, active_agents: gate.count(), durable }
        })
    }
}

impl Handler<CancelDrain> for DrainActor {
    type Result = ResponseFuture<Result<DrainCancelled, CancelError>>;

    fn handle(&mut self, order: CancelDrain, ctx: &mut Self::Context) -> Self::Result {
        let scope = order.profile.map_or(DrainScope::Gateway, DrainScope::Profile);
        let (stopping, was_draining) = self.gate.read(|plan| (plan.is_stopping(), plan.covers(&scope)));
        if stopping {
            return ResponseFuture::ready(Err(CancelError::Stopping));
        }
        let (answer, answered) = oneshot::channel();
        self.gate.change(self.owner(), |plan| plan.removing(&scope));
        let ordered = self.gate.read(GatePlan::orders);
        let ended = scope.clone();
        let then = move |actor: &mut Self, removed: io::Result<u64>| {
            let result = match removed {
                Ok(ordered) => {
                    if actor.gate.change(actor.owner(), |plan| plan.removed(&scope, ordered)) == Some(Change::Ended) {
                        info!(?scope, principal = %order.principal, by = "message", "drain.ended");
                        actor.notify_change();
                    }
                    Ok(DrainCancelled { was_draining })
                }
                Err(error) => {
                    actor.gate.change(actor.owner(), |plan| plan.not_removed(&scope, ordered));
                    Err(CancelError::MarkerNotRemoved(error.kind().to_string()))
                }
            };
            drop(answer.send(result));
        };
        self.remove(&ended, then, ctx);
        ResponseFuture::new(async move {
            let not_removed = |why: &str| Err(CancelError::MarkerNotRemoved(why.to_owned()));
            match timeout(REMOVE_TIMEOUT, answered).await {
                Ok(answered) => answered.unwrap_or_else(|_| not_removed("the gate was restarted")),
                Err(_) => not_removed("the disk does not answer; the drain ends when it does"),
            }
        })
    }
}

impl Handler<BeginShutdown> for DrainActor {
    type Result = MessageResult<BeginShutdown>;

    fn handle(&mut self, _: BeginShutdown, _: &mut Self::Context) -> Self::Result {
        self.gate.change(self.owner(), GatePlan::stop);
        self.notify_change();
        MessageResult(self.view())
    }
}

impl Handler<GetDrain> for DrainActor {
    type Result = MessageResult<GetDrain>;

    fn handle(&mut self, _: GetDrain, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.view())
    }
}

impl Handler<AwaitDrained> for DrainActor {
    type Result = ResponseActFuture<Self, DrainView>;

    fn handle(&mut self, order: AwaitDrained, _: &mut Self::Context) -> Self::Result {
        let (sender, woken) = oneshot::channel();
        // Before the turns are counted: one that ends after that is reported.
        self.is_awaited.store(true, Ordering::SeqCst);
        self.waiters.push(Waiter { including_requesters: order.including_requesters, woken: sender });
        self.wake_waiters();
        let wait = timeout(order.timeout, woken);
        Box::pin(wait.into_actor(self).map(|_, actor, _| {
            actor.waiters.retain(|waiter| !waiter.woken.is_closed());
            actor.wake_waiters();
            actor.view()
        }))
    }
}

impl Handler<ListTurns> for DrainActor {
    type Result = MessageResult<ListTurns>;

    fn handle(&mut self, _: ListTurns, _: &mut Self::Context) -> Self::Result {
        let running = |turn: Permitted| RunningTurn { ticket: turn.ticket, stop: turn.stop };
        MessageResult(self.gate.turns().into_iter().map(running).collect())
    }
}

impl Handler<TurnReleased> for DrainActor {
    type Result = ();

    fn handle(&mut self, _: TurnReleased, _: &mut Self::Context) {
        self.wake_waiters();
    }
}

impl Handler<MarkerTouched> for DrainActor {
    type Result = ();

    fn handle(&mut self, MarkerTouched(scope): MarkerTouched, ctx: &mut Self::Context) {
        if let Some(watch) = &self.watch {
            watch.received(&scope);
        }
        self.reread_one(&scope, ctx);
    }
}
