//! Reloads the settings: reads the files again when they change, and applies the result to the other actors.
//!
//! Is the only writer of [`ServedProfiles`], and watches the files: by file events, and by a slow poll. Asks the gate and the `profiles`
//! supervisor; notifies the dispatcher, the gate, the grants, the status and the profiles. A restart loses nothing:
//! [`ServedProfiles`] outlives it, and the files are read again.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, WrapFuture};
use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};

use super::reload::{ConfigPorts, Reload, ReloadResult, ReloadScope};
use super::served_profiles::ServedProfiles;
use caduceus_contract::messages::config::{ConfigView, GetConfig, ReloadConfig, ReloadDone};
use caduceus_supervision::ResponseFuture;

/// Interval of the checks of the files while a profile is being added or removed.
const SETTLE_EVERY: Duration = Duration::from_millis(500);

/// Reloads the settings.
pub struct ConfigActor {
    served_profiles: ServedProfiles,
    ports: ConfigPorts,
    touched: Arc<Notify>,
    problems: Vec<String>,
    changed_at: Option<String>,
    /// A previous incarnation may have failed before it had notified every actor.
    follows_another: bool,
    /// The callers of [`ReloadConfig`] since the last reload began.
    callers: Vec<oneshot::Sender<ReloadDone>>,
}

impl ConfigActor {
    /// An actor that updates `served_profiles`. `follows_another`: it is not the first one of its process.
    #[must_use]
    pub fn new(served_profiles: ServedProfiles, ports: ConfigPorts, follows_another: bool) -> Self {
        let (touched, problems, callers) = (Arc::new(Notify::new()), Vec::new(), Vec::new());
        Self { served_profiles, ports, touched, problems, changed_at: None, follows_another, callers }
    }

    fn run_reload(&mut self, reload: Reload, ctx: &mut Context<Self>) {
        let callers = std::mem::take(&mut self.callers);
        let scope = if callers.is_empty() { ReloadScope::Changed } else { ReloadScope::All };
        let done = reload.run(scope).into_actor(self);
        ctx.spawn(done.then(|(reload, result), actor: &mut Self, _| {
            let changed = result.as_ref().map(|result| result.keys.clone()).unwrap_or_default();
            if let Some(result) = result {
                actor.apply(result);
            }
            let done = ReloadDone { changed, problems: actor.problems.clone() };
            for caller in callers {
                // A caller that timed out has dropped its end.
                let _ = caller.send(done.clone());
            }
            let pause =
                if actor.served_profiles.lock().plan.is_settled() { reload.check_again_in() } else { SETTLE_EVERY };
            let touched = Arc::clone(&actor.touched);
            let waiting = async move {
                // The files are checked in either case.
                let _ = tokio::time::timeout(pause, touched.notified()).await;
                reload
            };
            waiting.into_actor(actor).map(|reload, actor, ctx| actor.run_reload(reload, ctx))
        }));
    }

    fn apply(&mut self, result: ReloadResult) {
        for problem in result.problems.iter().filter(|problem| !self.problems.contains(problem)) {
            warn!(problem, "configuration invalid; the last valid one stays in force");
        }
        if result.problems.is_empty() && !self.problems.is_empty() {
            info!("configuration valid again");
        }
        if result.changed || result.problems != self.problems {
            self.changed_at = Some(jiff::Timestamp::now().to_string());
        }
        self.problems = result.problems;
    }
}

impl Actor for ConfigActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let touched = Arc::clone(&self.touched);
        let reload = Reload::new(self.served_profiles.clone(), self.ports.clone(), touched, self.follows_another);
        self.run_reload(reload, ctx);
    }
}

impl Handler<ReloadConfig> for ConfigActor {
    type Result = ResponseFuture<ReloadDone>;

    fn handle(&mut self, _: ReloadConfig, _: &mut Self::Context) -> Self::Result {
        let (caller, done) = oneshot::channel();
        self.callers.push(caller);
        self.touched.notify_one();
        ResponseFuture::new(async move {
            // The next incarnation reads everything at its start.
            let interrupted =
                || vec!["the reload was interrupted by a restart of its actor, and starts again".to_owned()];
            done.await.unwrap_or_else(|_| ReloadDone { problems: interrupted(), ..ReloadDone::default() })
        })
    }
}

impl Handler<GetConfig> for ConfigActor {
    type Result = MessageResult<GetConfig>;

    fn handle(&mut self, _: GetConfig, _: &mut Self::Context) -> Self::Result {
        let state = self.served_profiles.lock();
        MessageResult(ConfigView {
            troubles: self.problems.clone(),
            needs_restart: state.needs_restart(),
            leaving: state.plan.leaving(),
            changed_at: self.changed_at.clone(),
        })
    }
}
