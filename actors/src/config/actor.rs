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

use super::reload::{ConfigPorts, Look, Reload, SettingsNews};
use super::served_profiles::ServedProfiles;
use caduceus_contract::messages::config::{ConfigView, GetConfig, ReadAgain, ReadAgainDone};
use caduceus_supervision::ResponseFuture;

/// Interval of the checks of the files without an event, for file systems that report none.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// The same while a profile is being added or removed.
const SETTLE_EVERY: Duration = Duration::from_millis(500);

/// Reloads the settings.
pub struct ConfigActor {
    present: ServedProfiles,
    ports: ConfigPorts,
    touched: Arc<Notify>,
    troubles: Vec<String>,
    changed_at: Option<String>,
    /// The callers of [`ReadAgain`] since the last reload began.
    callers: Vec<oneshot::Sender<ReadAgainDone>>,
}

impl ConfigActor {
    /// An actor that updates `present`.
    #[must_use]
    pub fn new(present: ServedProfiles, ports: ConfigPorts) -> Self {
        let touched = Arc::new(Notify::new());
        Self { present, ports, touched, troubles: Vec::new(), changed_at: None, callers: Vec::new() }
    }

    fn go_round(&mut self, round: Reload, ctx: &mut Context<Self>) {
        let callers = std::mem::take(&mut self.callers);
        let look = if callers.is_empty() { Look::AtChanges } else { Look::AtEverything };
        let done = round.run(look).into_actor(self);
        ctx.spawn(done.then(|(round, news), actor: &mut Self, _| {
            let changed = news.as_ref().map(|news| news.keys.clone()).unwrap_or_default();
            if let Some(news) = news {
                actor.take_in(news);
            }
            let done = ReadAgainDone { changed, troubles: actor.troubles.clone() };
            for caller in callers {
                // A caller that timed out has dropped its end.
                let _ = caller.send(done.clone());
            }
            let pause = if actor.present.lock().plan.is_settled() { POLL_EVERY } else { SETTLE_EVERY };
            let touched = Arc::clone(&actor.touched);
            let waiting = async move {
                // The files are checked in either case.
                let _ = tokio::time::timeout(pause, touched.notified()).await;
                round
            };
            waiting.into_actor(actor).map(|round, actor, ctx| actor.go_round(round, ctx))
        }));
    }

    fn take_in(&mut self, news: SettingsNews) {
        for trouble in news.troubles.iter().filter(|trouble| !self.troubles.contains(trouble)) {
            warn!(trouble, "configuration invalid; the last valid one stays in force");
        }
        if news.troubles.is_empty() && !self.troubles.is_empty() {
            info!("configuration valid again");
        }
        if news.changed || news.troubles != self.troubles {
            self.changed_at = Some(jiff::Timestamp::now().to_string());
        }
        self.troubles = news.troubles;
    }
}

impl Actor for ConfigActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let round = Reload::new(self.present.clone(), self.ports.clone(), Arc::clone(&self.touched));
        self.go_round(round, ctx);
    }
}

impl Handler<ReadAgain> for ConfigActor {
    type Result = ResponseFuture<ReadAgainDone>;

    fn handle(&mut self, _: ReadAgain, _: &mut Self::Context) -> Self::Result {
        let (caller, done) = oneshot::channel();
        self.callers.push(caller);
        self.touched.notify_one();
        ResponseFuture::new(async move {
            // The next incarnation reads everything at its start.
            let fell = || vec!["the reload was interrupted by a restart of its actor, and starts again".to_owned()];
            done.await.unwrap_or_else(|_| ReadAgainDone { troubles: fell(), ..ReadAgainDone::default() })
        })
    }
}

impl Handler<GetConfig> for ConfigActor {
    type Result = MessageResult<GetConfig>;

    fn handle(&mut self, _: GetConfig, _: &mut Self::Context) -> Self::Result {
        let state = self.present.lock();
        MessageResult(ConfigView {
            troubles: self.troubles.clone(),
            needs_restart: state.needs_restart(),
            leaving: state.plan.leaving(),
            changed_at: self.changed_at.clone(),
        })
    }
}
