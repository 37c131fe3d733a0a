//! The gate's work on the markers on disk: its orders, one at a time in each home, and the readings between them.

use std::io;
use std::path::Path;
use std::time::Instant;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use jiff::Timestamp;
use tracing::{error, info, warn};

use super::super::epoch;
use super::super::plan::{Change, DrainScope, GatePlan};
use super::super::queue::GateStep;
use super::super::store;
use super::{DiskOrder, DrainActor};
use crate::files::workers::Owner;
use crate::files::{FileWorker, Purpose};

impl DrainActor {
    /// Queues this order after all earlier ones in this home: its place in the queue is taken here, not at the first
    /// poll of some future.
    pub(super) fn order(
        &mut self,
        scope: &DrainScope,
        work: impl FnOnce(&Path) -> io::Result<bool> + Send + 'static,
        then: impl FnOnce(&mut Self, io::Result<bool>) + Send + 'static,
        ctx: &mut Context<Self>,
    ) {
        let home = self.home(scope);
        self.markers.push(scope, DiskOrder { home, work: Box::new(work), then: Box::new(then) });
        self.run_next(scope, ctx);
    }

    /// Begins the next work on the marker, if none is running there.
    pub(super) fn run_next(&mut self, scope: &DrainScope, ctx: &mut Context<Self>) {
        match self.markers.next(scope) {
            Some(GateStep::Order(order)) => self.carry_out(scope.clone(), order, ctx),
            Some(GateStep::Read) => self.read(scope.clone(), ctx),
            None => {}
        }
    }

    fn carry_out(&mut self, scope: DrainScope, order: DiskOrder, ctx: &mut Context<Self>) {
        let DiskOrder { home, work, then } = order;
        let place = home.map(|home| (worker(&scope, &home), home));
        let working = async move {
            // No home has that name.
            let Some((worker, home)) = place else { return Ok(false) };
            let done = worker.run_to_end(move || work(&home)).await;
            done.unwrap_or_else(|error| Err(io::Error::other(error)))
        };
        ctx.spawn(working.into_actor(self).map(move |done, actor, ctx| {
            then(actor, done);
            actor.markers.done(&scope, false);
            actor.run_next(&scope, ctx);
        }));
    }

    fn read(&mut self, scope: DrainScope, ctx: &mut Context<Self>) {
        let Some(home) = self.home(&scope) else { return };
        self.markers.begin_reading(&scope, self.homes_version, Instant::now());
        let orders = self.gate.read(GatePlan::orders);
        let (known, place) = (self.epoch.clone(), home.clone());
        let worker = worker(&scope, &home);
        let reading = async move {
            let read = worker.run_to_end(move || {
                let epoch = known.or_else(epoch::current);
                let found = store::read(&place, epoch.as_ref());
                (epoch, found)
            });
            read.await
        };
        ctx.spawn(reading.into_actor(self).map(move |read, actor, ctx| {
            // The profile may have been removed, or moved, while its marker was read; and an order may have arrived meanwhile.
            let answered = read.is_ok();
            let counts = answered && actor.home(&scope) == Some(home) && orders == actor.gate.read(GatePlan::orders);
            match read {
                Ok((epoch, found)) => {
                    actor.epoch = epoch;
                    if counts {
                        actor.apply_reading(&scope, orders, found.as_ref());
                    }
                }
                Err(error) => warn!(?scope, %error, "drain marker not read"),
            }
            if actor.markers.done(&scope, counts) {
                info!(?scope, "disk of a home answers again; its drain marker was read");
            }
            if answered && !counts {
                actor.markers.request_reading(&scope);
            }
            actor.after_reading(&scope);
            actor.end_overdue(&scope, ctx);
            actor.run_next(&scope, ctx);
        }));
    }

    /// Ends overdue drains; after a reading, so that a marker of another writer, which may have no deadline, counts.
    fn end_overdue(&mut self, read: &DrainScope, ctx: &mut Context<Self>) {
        if self.markers.has_orders(read) {
            // The removal may itself be queued behind a slow disk: the next poll tries again.
            return;
        }
        for scope in self.gate.read(|plan| plan.overdue(Timestamp::now())).into_iter().filter(|scope| scope == read) {
            let ended = scope.clone();
            let then = move |actor: &mut Self, removed: io::Result<u64>| match removed {
                Ok(ordered) => {
                    let change = actor.gate.change(actor.owner(), |plan| plan.removed(&scope, ordered));
                    actor.overdue_logged.remove(&scope);
                    if change == Some(Change::Ended) {
                        info!(?scope, by = "deadline", "drain.ended");
                        actor.notify_change();
                    }
                }
                Err(error) if actor.overdue_logged.insert(scope.clone()) => {
                    error!(?scope, %error, "drain past its deadline, but its marker cannot be removed: it continues");
                }
                Err(_) => {}
            };
            self.remove(&ended, then, ctx);
        }
    }

    /// Removes the marker of `scope`, after every earlier order. `then` receives the timestamp of the request.
    pub(super) fn remove(
        &mut self,
        scope: &DrainScope,
        then: impl FnOnce(&mut Self, io::Result<u64>) + Send + 'static,
        ctx: &mut Context<Self>,
    ) {
        let ordered = self.gate.read(GatePlan::orders);
        self.order(scope, store::remove, move |actor, removed| then(actor, removed.map(|_| ordered)), ctx);
    }
}

/// The worker for the marker of this home.
fn worker(scope: &DrainScope, home: &Path) -> FileWorker {
    let owner = if *scope == DrainScope::Gateway { Owner::Gateway } else { Owner::Profile };
    FileWorker::of(home, Purpose::Marker, owner)
}
