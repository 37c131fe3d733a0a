//! The homes of the gate, as profiles are added and removed.

use actix::{Context, Handler};

use caduceus_supervision::ResponseFuture;
use tokio::sync::oneshot;
use tracing::info;

use super::actor::{DrainActor, DrainSettings};
use super::plan::{Change, DrainScope, GatePlan};
use crate::config::messages::SettingsChanged;

impl DrainActor {
    pub(super) fn watch_homes(&mut self) {
        let homes = self.homes();
        self.markers.set_homes(homes.iter().map(|(scope, _)| scope.clone()));
        self.publish_unread();
        if let Some(watch) = &mut self.watch {
            watch.set_homes(&homes);
        }
    }

    /// Answers the callers that wait until every marker of a set of homes has been read, or cannot be.
    pub(super) fn answer_homes_waiters(&mut self) {
        for (wanted, waiter) in std::mem::take(&mut self.homes_waiters) {
            if self.markers.is_settled(wanted) {
                // The caller may have timed out.
                let _ = waiter.send(());
            } else {
                self.homes_waiters.push((wanted, waiter));
            }
        }
    }

    /// Drops the drain requests of a removed profile: if one of its name is added again, its own marker counts.
    fn remove_missing(&mut self) {
        let gone = |scope: &DrainScope| matches!(scope, DrainScope::Profile(name) if !self.settings.profiles.contains_key(name));
        let drained = self.gate.read(GatePlan::profiles).into_iter().map(DrainScope::Profile).filter(gone);
        for scope in drained.collect::<Vec<_>>() {
            let ended = self.gate.change(self.owner(), |plan| plan.removed(&scope, plan.orders()));
            if ended == Some(Change::Ended) {
                info!(?scope, by = "removal of the profile", "drain.ended");
                self.notify_change();
            }
        }
    }
}

impl Handler<SettingsChanged> for DrainActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, SettingsChanged(in_force): SettingsChanged, ctx: &mut Context<Self>) -> Self::Result {
        self.settings = DrainSettings::of(&in_force, self.settings.events.clone());
        self.homes_version += 1;
        let (waiter, read) = oneshot::channel();
        self.homes_waiters.push((self.homes_version, waiter));
        self.watch_homes();
        self.remove_missing();
        self.reread(ctx);
        ResponseFuture::new(async move {
            // A gate that restarts meanwhile reads them all at its start.
            let _ = read.await;
        })
    }
}
