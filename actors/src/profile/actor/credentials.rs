//! Carries out the steps of [`Provisioning`](crate::profile::provisioning::Provisioning) for the default profile's credentials.

use actix::prelude::*;
use actix::{ActorFutureExt, WrapFuture};
use tracing::debug;

use super::ProfileActor;
use crate::profile::dial;
use crate::profile::provisioning::{self, AttemptEnd, Attempted, ProvisionTask};
use crate::relay::identity::IdentitySource;
use caduceus_contract::messages::relay::Wake;

impl ProfileActor {
    /// The scope has just been read: decides whether credentials are needed, and adds provisioned ones.
    pub(super) fn provision(&mut self, ctx: &mut Context<Self>) {
        if !self.is_home() {
            return;
        }
        let order = dial::provision(&self.scope);
        let pinned = order.is_none() && self.scope.setting("GATEWAY_RELAY_SECRET").is_some();
        let task = self.provisioning.wanted(order, pinned);
        self.carry_out(task, ctx);
        self.scope.provision(self.provisioning.credentials());
    }

    fn carry_out(&mut self, task: Option<ProvisionTask>, ctx: &mut Context<Self>) {
        let Some(task) = task else { return };
        if let Some(former) = self.provision_task.take() {
            ctx.cancel_future(former);
        }
        self.provision_task = match task {
            ProvisionTask::Stop => None,
            ProvisionTask::Ask(order) => {
                let fingerprint = order.fingerprint();
                let source = IdentitySource::of(&|name| self.scope.setting(name), &self.profile().home);
                let attempt = provisioning::attempt(order, source, self.ports.client.clone(), self.redactor.clone());
                Some(ctx.spawn(attempt.into_actor(self).map(move |outcome, actor, ctx| {
                    actor.provision_task = None;
                    actor.attempt_ended(fingerprint, outcome, ctx);
                })))
            }
            ProvisionTask::AskAfter(fingerprint, wait) => Some(ctx.run_later(wait, move |actor, ctx| {
                actor.provision_task = None;
                let task = actor.provisioning.due(fingerprint);
                actor.carry_out(task, ctx);
            })),
        };
    }

    fn attempt_ended(&mut self, fingerprint: u64, outcome: Attempted, ctx: &mut Context<Self>) {
        match self.provisioning.ended(fingerprint, outcome) {
            AttemptEnd::Granted => {
                self.scope.provision(self.provisioning.credentials());
                self.declare_gateway();
                self.update_redactor();
                if let Some(Err(error)) = self.ports.link.as_ref().map(|link| link.tell(Wake)) {
                    debug!(%error, "link not notified of its credentials; it requests them at its next dial");
                }
            }
            AttemptEnd::Failed(task) => self.carry_out(task, ctx),
            AttemptEnd::Outdated => {}
        }
    }
}
