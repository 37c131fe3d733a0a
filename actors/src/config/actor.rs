//! Keeps the settings in force: reads them again when their files change, and carries what follows to everyone.
//!
//! Owns [`ServedProfiles`] for as long as it lives, and listens to the files. Told by file events and a slow poll; asks the gate and the
//! `profiles` supervisor, tells the dispatcher, the gate, the keeper of the grants, the status and the profiles. A restart loses
//! nothing: what is present outlives it, and the files are read again.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, WrapFuture};
use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};

use super::reload::{ConfigPorts, Look, Reload, SettingsNews};
use super::served_profiles::ServedProfiles;
use caduceus_contract::messages::config::{ConfigView, GetConfig, ReadAgain, ReadAgainDone};
use caduceus_supervision::ResponseFuture;

/// How often the files are looked at without any event, for file systems that give none.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// The same while a profile is on its way in or out.
const SETTLE_EVERY: Duration = Duration::from_millis(500);

/// Keeps the settings in force.
pub struct ConfigActor {
    present: ServedProfiles,
    ports: ConfigPorts,
    touched: Arc<Notify>,
    troubles: Vec<String>,
    changed_at: Option<String>,
    /// Those who wait for a round that has not begun yet.
    asked: Vec<oneshot::Sender<ReadAgainDone>>,
}

impl ConfigActor {
    /// A keeper of what is `present`.
    #[must_use]
    pub fn new(present: ServedProfiles, ports: ConfigPorts) -> Self {
        let touched = Arc::new(Notify::new());
        Self { present, ports, touched, troubles: Vec::new(), changed_at: None, asked: Vec::new() }
    }

    fn go_round(&mut self, round: Reload, ctx: &mut Context<Self>) {
        let asked = std::mem::take(&mut self.asked);
        let look = if asked.is_empty() { Look::AtChanges } else { Look::AtEverything };
        let done = round.run(look).into_actor(self);
        ctx.spawn(done.then(|(round, news), actor: &mut Self, _| {
            let changed = news.as_ref().map(|news| news.keys.clone()).unwrap_or_default();
            if let Some(news) = news {
                actor.take_in(news);
            }
            let done = ReadAgainDone { changed, troubles: actor.troubles.clone() };
            for asker in asked {
                // One who waits no more has given up.
                let _ = asker.send(done.clone());
            }
            let pause = if actor.present.lock().plan.is_settled() { POLL_EVERY } else { SETTLE_EVERY };
            let touched = Arc::clone(&actor.touched);
            let waiting = async move {
                // Told or not, they are looked at.
                let _ = tokio::time::timeout(pause, touched.notified()).await;
                round
            };
            waiting.into_actor(actor).map(|round, actor, ctx| actor.go_round(round, ctx))
        }));
    }

    fn take_in(&mut self, news: SettingsNews) {
        for trouble in news.troubles.iter().filter(|trouble| !self.troubles.contains(trouble)) {
            warn!(trouble, "the configuration is wrong; what it said last holds");
        }
        if news.troubles.is_empty() && !self.troubles.is_empty() {
            info!("the configuration is right again");
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
        let (asker, done) = oneshot::channel();
        self.asked.push(asker);
        self.touched.notify_one();
        ResponseFuture::new(async move {
            // Whoever takes our place reads everything at its start.
            let fell = || vec!["the reading was cut off by a restart of its actor; it is done again".to_owned()];
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
