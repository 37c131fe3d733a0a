//! The answers of the profile: agents and calls for turns, dials for links, its state for the status.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix::prelude::*;
use actix::{ActorFutureExt, WrapFuture};
use tracing::{debug, info, warn};

use super::ProfileActor;
use crate::profile::agent::messages::{AuthorisedCall, Call, CallError, SpawnChild, SpawnError, SpawnedChild};
use crate::profile::child_env::{ChildContext, child_env};
use crate::profile::launch::Launch;
use crate::profile::messages::{ConnectParams, NoConnectParams, PrepareDial, ProfileConfigChanged};
use crate::profile::{call, dial, env_source, plan};
use caduceus_contract::messages::honcho::FreshToken;
use caduceus_contract::messages::profile::{GetProfile, ProfileView, ReloadEnv, TokenChanged, VerifyDelivery};
use caduceus_contract::wire::delivery::{self, DeliveryError};

/// Timeout for a new token; a turn then starts with the current one. The grants' actor answers after 15 s with the token
/// in the file, which a profile that has just started does not have.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(17);
/// Timeout of a dial for credentials that are being requested; a link waits 5 s for the answer.
const PROVISION_TIMEOUT: Duration = Duration::from_secs(4);

type Later<R> = ResponseActFuture<ProfileActor, R>;

impl ProfileActor {
    /// The grant's token, fresh if the grants' actor answers in time. A turn never fails because of it.
    fn fresh_token(&mut self) -> impl ActorFuture<Self, Output = ()> + use<> {
        let profile = self.profile().name.clone();
        let answer = self.ports.fresh_token.as_ref().map(|port| port.ask(FreshToken { profile }, TOKEN_TIMEOUT));
        let answer = async move {
            match answer {
                Some(answer) => Some(answer.await),
                None => None,
            }
        };
        answer.into_actor(self).map(|answer, actor, _| match answer {
            Some(Ok(Ok(answer))) => actor.set_token(answer.map(|answer| answer.token)),
            Some(Ok(Err(error))) => warn!(%error, "no fresh token; the last one is used"),
            Some(Err(error)) => warn!(profile = %actor.profile().name, %error, "no fresh token; the last one is used"),
            None => {}
        })
    }

    /// Everything that the start of one agent needs, at present.
    fn launch(&self, order: &SpawnChild) -> Result<Launch, SpawnError> {
        let exec = order.agent.process().ok_or(SpawnError::NotACommand)?;
        if let Some(problem) = &self.health.disk {
            return Err(SpawnError::System(problem.clone()));
        }
        if self.stamp.is_none() {
            return Err(SpawnError::System("the profile's .env has not been read yet".to_owned()));
        }
        let command = plan::command(exec)?;
        let shown = exec.command.first().cloned().unwrap_or_default();
        let cwd = plan::cwd(exec, &self.profile().home, &self.scope).map_err(|name| SpawnError::CommandNotFound {
            command: shown.clone(),
            reason: format!("agent.cwd needs {name}, which is not set"),
        })?;
        let context = ChildContext {
            profile: &self.profile().name,
            home: &self.profile().home,
            turn: &order.turn.to_string(),
            session: &order.session.text(),
            attempt: order.attempt,
            token: self.token.as_ref(),
        };
        let environment = child_env(&self.config.environment, &exec.env_pass, &self.scope, &context);
        let secrets = self.redactor.lease(self.profile().name.as_str());
        let token = order.agent.receives_tokens().then(|| self.token_sender.subscribe(&secrets));
        Ok(Launch { guard: self.guard.clone(), command, shown, cwd, environment, token, secrets })
    }
}

impl Handler<SpawnChild> for ProfileActor {
    type Result = Later<Result<SpawnedChild, SpawnError>>;

    fn handle(&mut self, order: SpawnChild, _: &mut Self::Context) -> Self::Result {
        // Checked once more, so that a value written a moment ago applies to this turn.
        let ready = self.read_env().then(|(), actor: &mut Self, _| actor.fresh_token());
        let started = ready.then(move |(), actor, _| {
            let launch = actor.launch(&order);
            let starting = async move {
                let launch = launch?;
                launch.reach().await?;
                let started = tokio::task::spawn_blocking(move || launch.run()).await;
                started.unwrap_or_else(|error| Err(SpawnError::System(error.to_string())))
            };
            starting.into_actor(actor)
        });
        Box::pin(started.map(|started, actor, _| {
            match &started {
                Ok(_) => {
                    actor.ports.children.of(&actor.profile().name).one();
                    actor.ports.status.report_profile(&actor.profile().name);
                    actor.set_agent_problem(None);
                }
                Err(error @ SpawnError::CommandNotFound { .. }) => actor.set_agent_problem(Some(error.to_string())),
                Err(SpawnError::NotACommand | SpawnError::System(_)) => {}
            }
            started
        }))
    }
}

impl Handler<AuthorisedCall> for ProfileActor {
    type Result = Later<Result<Call, CallError>>;

    fn handle(&mut self, order: AuthorisedCall, _: &mut Self::Context) -> Self::Result {
        // Checked once more, so that a key written a moment ago applies to this turn.
        Box::pin(self.read_env().map(move |(), actor, _| {
            if actor.stamp.is_none() {
                return Err(CallError::NotNow("the profile's .env has not been read yet".to_owned()));
            }
            let prepared = call::prepare(&order.agent, &actor.scope, order.body);
            match &prepared {
                Ok(_) => actor.set_agent_problem(None),
                // The missing name is already reported with its key.
                Err(CallError::Unusable(problem)) if actor.health.missing.is_empty() => {
                    actor.set_agent_problem(Some(problem.clone()));
                }
                Err(_) => {}
            }
            debug!(profile = %actor.profile().name, turn = %order.turn, ready = prepared.is_ok(), "call requested");
            let secrets = actor.redactor.lease(actor.profile().name.as_str());
            actor.ports.caller.call(prepared?, secrets)
        }))
    }
}

impl Handler<PrepareDial> for ProfileActor {
    type Result = Later<Result<ConnectParams, NoConnectParams>>;

    fn handle(&mut self, _: PrepareDial, _: &mut Self::Context) -> Self::Result {
        // Waits for credentials that are being requested.
        let settled = self.read_env().then(|(), actor: &mut Self, _| {
            let settled = tokio::time::timeout(PROVISION_TIMEOUT, actor.provisioning.settled());
            settled.into_actor(actor)
        });
        Box::pin(settled.map(|_, actor, _| {
            // A clock before 1970 makes tokens that have expired, which the connector reports.
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            actor.minted_s = dial::mint_at(now.as_secs(), actor.minted_s);
            dial::prepare(&actor.scope, actor.link(), &actor.profile().relevance, actor.minted_s)
        }))
    }
}

impl Handler<VerifyDelivery> for ProfileActor {
    type Result = Later<Result<(), DeliveryError>>;

    fn handle(&mut self, delivery: VerifyDelivery, _: &mut Self::Context) -> Self::Result {
        Box::pin(self.read_env().then(move |(), actor, _| {
            let keys = dial::delivery_keys(&actor.scope, actor.link());
            let verifying = async move {
                if keys.is_empty() {
                    return Err(DeliveryError::NoKey);
                }
                // Off the arbiter: a sender without a key can still send megabytes.
                let verified = tokio::task::spawn_blocking(move || {
                    let VerifyDelivery { body, timestamp, signature } = delivery;
                    let now_s = jiff::Timestamp::now().as_second();
                    let (timestamp, signature) = (timestamp.as_deref(), signature.as_deref());
                    delivery::verify(&body, timestamp, signature, &keys, delivery::MAX_SKEW_S, now_s).map(|_| ())
                });
                verified.await.unwrap_or(Err(DeliveryError::Signature))
            };
            verifying.into_actor(actor)
        }))
    }
}

impl Handler<TokenChanged> for ProfileActor {
    type Result = ();

    fn handle(&mut self, change: TokenChanged, _: &mut Self::Context) {
        self.set_token(change.token);
    }
}

impl Handler<ProfileConfigChanged> for ProfileActor {
    type Result = ();

    fn handle(&mut self, ProfileConfigChanged(config): ProfileConfigChanged, _: &mut Self::Context) {
        info!(profile = %config.profile.name, agent = config.profile.agent.backend, "profile's settings changed");
        for problem in config.profile.problems.iter().filter(|problem| !self.health.problems.contains(problem)) {
            warn!(profile = %config.profile.name, problem, "profile's own configuration is invalid");
        }
        self.agent = Arc::new(config.profile.agent.clone());
        self.config = config;
        self.check_agent();
        // Another directory may have replaced the one that was watched.
        self.listening = Some(env_source::listen(&self.ports.events, &self.profile().home, Arc::clone(&self.touched)));
        self.health.missing = plan::missing(&self.agent, &self.scope);
        // The inherited values may have changed.
        self.stale = true;
        self.touched.notify_one();
        self.ports.status.report_profile(&self.profile().name);
    }
}

impl Handler<ReloadEnv> for ProfileActor {
    type Result = Later<()>;

    fn handle(&mut self, _: ReloadEnv, _: &mut Self::Context) -> Self::Result {
        self.stale = true;
        Box::pin(self.read_env())
    }
}

impl Handler<GetProfile> for ProfileActor {
    type Result = MessageResult<GetProfile>;

    fn handle(&mut self, _: GetProfile, _: &mut Self::Context) -> Self::Result {
        let mut missing: Vec<String> = self.health.missing.iter().map(|missing| missing.name.clone()).collect();
        missing.dedup();
        MessageResult(ProfileView {
            name: self.profile().name.clone(),
            state: self.health.state(),
            troubles: self.health.reasons(),
            secrets: self.scope.len(),
            missing,
            agent: self.agent.backend,
            children_started: self.ports.children.of(&self.profile().name).get(),
        })
    }
}
