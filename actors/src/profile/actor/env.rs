//! The profile's `.env`: when it is read, and how its values are applied.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix::{ActorFutureExt, WrapFuture};
use secrecy::{ExposeSecret, SecretString};
use tracing::{info, warn};

use super::ProfileActor;
use crate::files::events::RECHECK_EVERY;
use crate::files::{FileStamp, FileWorker, NoAnswer, Purpose, workers};
use crate::profile::child_env::{self, HONCHO_API_KEY};
use crate::profile::env_file::EnvFile;
use crate::profile::env_source::{self, EnvContent};
use crate::profile::scope::{Inherited, Scope};
use crate::profile::{dial, plan, shown};
use crate::relay::claims::LinkOwner;

/// The names of the keys of deliveries, separated by commas.
const DELIVERY_KEY: &str = "GATEWAY_RELAY_DELIVERY_KEY";
/// Interval of checks of the file while its disk does not answer.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Timeout of one check of the file; a turn then starts with the current values.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

impl ProfileActor {
    /// Reads the file if it has changed. Off the arbiter.
    pub(super) fn read_env(&mut self) -> impl ActorFuture<Self, Output = ()> + use<> {
        self.reads += 1;
        let last = self.stamp.clone().filter(|_| !self.stale);
        let (number, path) = (self.reads, self.file());
        let owner = if self.is_home() { workers::Owner::Gateway } else { workers::Owner::Profile };
        let worker = FileWorker::of(&self.profile().home, Purpose::Secrets, owner);
        let reading = async move { worker.run(READ_TIMEOUT, move || env_source::read(&path, last.as_ref())).await };
        reading.into_actor(self).map(move |read, actor, ctx| match read {
            Ok(Some((stamp, content))) if number > actor.read_applied => {
                actor.set_disk_problem(None);
                actor.read_applied = number;
                actor.stale = false;
                actor.apply(stamp, content, ctx);
            }
            Ok(_) => {
                actor.set_disk_problem(None);
                actor.update_link_refusal();
            }
            Err(error) => actor.set_disk_problem(Some(error)),
        })
    }

    /// Whether the disk under the home answers; logged once per outage.
    fn set_disk_problem(&mut self, error: Option<NoAnswer>) {
        let problem = error.map(|error| error.to_string());
        if problem == self.health.disk {
            return;
        }
        let name = &self.config.profile.name;
        if let Some(reason) = &problem {
            warn!(profile = %name, %reason, "disk does not answer: the last .env stays in force, and no agent is started");
        } else {
            info!(profile = %name, "disk under the profile's home answers again");
        }
        self.health.disk = problem;
        // A degraded profile is started; waiting for this disk would delay the tree.
        self.incarnation.ready();
        self.ports.status.report_profile(&self.profile().name);
    }

    /// Checks the file for as long as the actor runs, at every event.
    pub(super) fn watch_env(&mut self, ctx: &mut Context<Self>) {
        let reading = self.read_env().then(|(), actor: &mut Self, _| {
            let wait = if actor.health.disk.is_some() { RETRY_EVERY } else { RECHECK_EVERY };
            let touched = Arc::clone(&actor.touched);
            let waiting = async move {
                // The file is checked in either case.
                let _ = tokio::time::timeout(wait, touched.notified()).await;
            };
            waiting.into_actor(actor)
        });
        ctx.spawn(reading.map(|(), actor, ctx| actor.watch_env(ctx)));
    }

    fn apply(&mut self, stamp: FileStamp, content: EnvContent, ctx: &mut Context<Self>) {
        let (values, problem) = match content {
            EnvContent::Values(values) => (values, None),
            EnvContent::Unusable(reason) => (EnvFile::default(), Some(reason)),
        };
        let inherited = self.config.inherited.as_ref();
        let inherited = inherited.map(|inherited| Inherited {
            environment: &self.config.environment,
            relay: &inherited.relay,
            shared: inherited.shared,
        });
        let before = std::mem::replace(&mut self.scope, Scope::new(&values, inherited));
        self.provision(ctx);
        // Before the new values can be used, and so before anything can write one to a log.
        self.update_redactor();
        let name = &self.config.profile.name;
        if let Some(reason) = &problem {
            warn!(profile = %name, %reason, ".env cannot be used; the profile has no secret of its own");
        } else if self.stamp.is_none() {
            info!(profile = %name, names = values.len(), ".env read");
        } else {
            let [added, changed, removed] = before.changes(&self.scope).map(|names| shown::listed(&names));
            info!(profile = %name, names = values.len(), added, changed, removed, ".env read again");
        }
        let missing = plan::missing(&self.agent, &self.scope);
        for missing in missing.iter().filter(|missing| !self.health.missing.contains(missing)) {
            warn!(profile = %name, key = missing.key, name = missing.name, "name needed by the configuration is not set");
        }
        self.health.file = problem;
        self.health.missing = missing;
        self.health.relay = dial::setting_problem(&self.scope);
        self.declare_gateway();
        self.stamp = Some(stamp);
        self.incarnation.ready();
        self.ports.status.report_profile(&self.profile().name);
    }

    /// Declares the gateway in the settings, so that one gateway has one link.
    pub(super) fn declare_gateway(&mut self) {
        self.ports.claims.declare(&self.owner(), dial::gateway(&self.scope, self.link()));
        self.update_link_refusal();
    }

    /// The owner of the link.
    pub(super) fn owner(&self) -> LinkOwner {
        (!self.is_home()).then(|| self.profile().name.clone())
    }

    /// The reasons against a link of its own also change with the settings of other profiles.
    fn update_link_refusal(&mut self) {
        let refusal = self.ports.claims.refusal(&self.owner()).map(|reason| reason.to_string());
        if self.health.link == refusal {
            return;
        }
        let profile = &self.config.profile.name;
        if let Some(reason) = &refusal {
            warn!(%profile, reason, "profile has no link of its own");
        } else {
            info!(%profile, "profile may have a link of its own again");
        }
        self.health.link = refusal;
        self.ports.status.report_profile(&self.profile().name);
    }

    pub(super) fn update_redactor(&self) {
        // There may be several, each of which is a secret.
        let lists = self.scope.secrets().filter(|(name, _)| *name == DELIVERY_KEY);
        let keys: Vec<SecretString> =
            lists.flat_map(|(_, list)| list.expose_secret().split(',').map(SecretString::from)).collect();
        let token = self.token.as_ref().map(|token| (HONCHO_API_KEY, token));
        let passed = self.agent.process().map_or(&[][..], |exec| &*exec.env_pass);
        // The agent may write the values that it receives.
        let passed = child_env::passed(&self.config.environment, passed);
        let values = self.scope.secrets().chain(token).chain(passed).chain(keys.iter().map(|key| (DELIVERY_KEY, key)));
        self.redactor.replace(self.profile().name.as_str(), values);
    }
}
