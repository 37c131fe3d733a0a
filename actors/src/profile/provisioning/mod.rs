//! How the default profile gets the relay's credentials for itself: in memory, and never anywhere else.

mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use secrecy::SecretString;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use self::plan::{ProvisionPlan, ProvisionStep};
use super::actor::ProfileActor;
use super::dial;
use crate::relay::identity::{NoIdentity, Source};
use crate::relay::messages::Wake;
use crate::relay::provision::{Order, Provisioned, Refused};
use caduceus_supervision::Backoff;

/// Upper end of the first wait.
const FLOOR: Duration = Duration::from_secs(1);
/// Upper end of the later waits: someone who has just logged in does not wait longer.
const CEILING: Duration = Duration::from_mins(1);

/// Where the profile stands with its connector.
#[derive(Debug)]
pub(super) struct Provisioning {
    plan: ProvisionPlan,
    /// What is asked for, or was given.
    order: Option<Order>,
    attempt: Option<SpawnHandle>,
    timer: Option<SpawnHandle>,
    /// Whether an attempt is under way; a dial waits for its end.
    under_way: watch::Sender<bool>,
    given: BTreeMap<String, SecretString>,
    /// What was said last of why there is nothing; it is said once.
    said: Option<String>,
    /// It was said that the pair is pinned.
    pinned: bool,
}

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Identity(#[from] NoIdentity),
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Default for Provisioning {
    fn default() -> Self {
        Self {
            plan: ProvisionPlan::new(Backoff::new(FLOOR, CEILING).expect("the floor is below the ceiling")),
            order: None,
            attempt: None,
            timer: None,
            under_way: watch::Sender::new(false),
            given: BTreeMap::new(),
            said: None,
            pinned: false,
        }
    }
}

impl Provisioning {
    /// Ends once no attempt is under way.
    pub(super) fn settled(&self) -> impl Future<Output = ()> + use<> {
        let mut under_way = self.under_way.subscribe();
        async move {
            // The sender lives in the actor; without it nobody waits.
            let _ = under_way.wait_for(|under_way| !under_way).await;
        }
    }
}

impl ProfileActor {
    /// The scope has just been read: decides whether there is something to ask for, and puts in what was given.
    pub(super) fn provision(&mut self, ctx: &mut Context<Self>) {
        if !self.is_home() {
            return;
        }
        let order = dial::provision(&self.scope);
        let pinned = order.is_none() && self.scope.setting("GATEWAY_RELAY_SECRET").is_some();
        if pinned && !std::mem::replace(&mut self.provisioning.pinned, pinned) {
            info!("relay self-provision skipped: id and secret are set");
        }
        let step = self.provisioning.plan.wanted(order.as_ref().map(Order::fingerprint));
        self.provisioning.order = order;
        self.take(step, ctx);
        self.scope.provision(self.provisioning.given.clone());
    }

    fn take(&mut self, step: ProvisionStep, ctx: &mut Context<Self>) {
        if step == ProvisionStep::Nothing {
            return;
        }
        let handles = [self.provisioning.attempt.take(), self.provisioning.timer.take()];
        handles.into_iter().flatten().for_each(|handle| {
            ctx.cancel_future(handle);
        });
        let Some(order) = self.provisioning.order.clone() else {
            self.provisioning.given.clear();
            self.provisioning.under_way.send_replace(false);
            return;
        };
        let fingerprint = order.fingerprint();
        match step {
            ProvisionStep::Ask => {
                self.provisioning.given.clear();
                self.provisioning.under_way.send_replace(true);
                let source = Source::of(&|name| self.scope.setting(name), &self.terms.profile.home);
                let (trust, redactor) = (self.ports.trust.clone(), self.redactor.clone());
                let attempt = async move {
                    let now_s = jiff::Timestamp::now().as_second();
                    let token = source.token(&trust, now_s).await?;
                    let _held = redactor.hold("GATEWAY_RELAY_ACCESS_TOKEN", &token);
                    let provisioned = order.carry_out(&trust, &token).await?;
                    Ok((order, provisioned))
                };
                let attempt = attempt.into_actor(self).map(move |outcome, actor, ctx| {
                    actor.provisioning.attempt = None;
                    actor.provisioned(fingerprint, outcome, ctx);
                    actor.provisioning.under_way.send_replace(false);
                });
                self.provisioning.attempt = Some(ctx.spawn(attempt));
            }
            ProvisionStep::AskAfter(wait) => {
                self.provisioning.timer = Some(ctx.run_later(wait, move |actor, ctx| {
                    actor.provisioning.timer = None;
                    let step = actor.provisioning.plan.due(fingerprint);
                    actor.take(step, ctx);
                }));
            }
            ProvisionStep::Forget | ProvisionStep::Nothing => {}
        }
    }

    fn provisioned(&mut self, order: u64, outcome: Result<(Order, Provisioned), Failed>, ctx: &mut Context<Self>) {
        let (order, provisioned) = match outcome {
            Ok((granted, provisioned)) if self.provisioning.plan.granted(order) => (granted, provisioned),
            Ok(_) => return,
            Err(reason) => {
                self.say_why_not(&reason);
                let step = self.provisioning.plan.failed(order, fastrand::f64());
                return self.take(step, ctx);
            }
        };
        let Provisioned { granted, platforms } = provisioned;
        info!(
            gateway = granted.gateway_id,
            tenant = granted.tenant.as_deref().unwrap_or("?"),
            platforms = platforms.join(","),
            routes = order.route_keys.len(),
            inbound = if order.endpoint.is_some() { "yes" } else { "outbound-only" },
            instance = order.instance_id.as_deref().unwrap_or("unbound"),
            wake = if order.wake_url.is_some() { "yes" } else { "none" },
            "relay self-provisioned"
        );
        let named = |name: &str, value: SecretString| (name.to_owned(), value);
        let pair =
            [named("GATEWAY_RELAY_ID", granted.gateway_id.into()), named("GATEWAY_RELAY_SECRET", granted.secret)];
        let key = granted.delivery_key.map(|key| named("GATEWAY_RELAY_DELIVERY_KEY", key));
        self.provisioning.given = pair.into_iter().chain(key).collect();
        self.provisioning.said = None;
        self.scope.provision(self.provisioning.given.clone());
        self.declare_gateway();
        self.feed_redactor();
        if let Some(Err(error)) = self.ports.link.as_ref().map(|link| link.tell(Wake)) {
            debug!(%error, "the link was not told of its credentials; it asks by itself");
        }
    }

    /// Once for each reason, however often it is tried.
    fn say_why_not(&mut self, reason: &Failed) {
        let text = reason.to_string();
        if self.provisioning.said.as_ref() != Some(&text) {
            let none = matches!(reason, Failed::Identity(_));
            let what = if none {
                "relay self-provision skipped for want of an identity"
            } else {
                "relay self-provision failed"
            };
            warn!(reason = text, "{what}; it is tried again");
            self.provisioning.said = Some(text);
        }
    }
}
