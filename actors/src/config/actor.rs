//! Keeps the settings in force: reads them again when their files change, and carries what follows to everyone.
//!
//! Owns [`Present`] for as long as it lives, and listens to the files. Told by file events and a slow poll; asks the gate and the
//! `profiles` supervisor, tells the dispatcher, the gate, the keeper of the grants, the status and the profiles. A restart loses
//! nothing: what is present outlives it, and the files are read again.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, WrapFuture};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::messages::{ConfigView, GetConfig};
use super::present::Present;
use super::round::{ConfigPorts, News, Round};

/// How often the files are looked at without any event, for file systems that give none.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// The same while a profile is on its way in or out.
const SETTLE_EVERY: Duration = Duration::from_millis(500);

/// Keeps the settings in force.
pub struct ConfigActor {
    present: Present,
    ports: ConfigPorts,
    touched: Arc<Notify>,
    troubles: Vec<String>,
    changed_at: Option<String>,
}

impl ConfigActor {
    /// A keeper of what is `present`.
    #[must_use]
    pub fn new(present: Present, ports: ConfigPorts) -> Self {
        Self { present, ports, touched: Arc::new(Notify::new()), troubles: Vec::new(), changed_at: None }
    }

    fn go_round(&self, round: Round, ctx: &mut Context<Self>) {
        let done = round.run().into_actor(self);
        ctx.spawn(done.then(|(round, news), actor: &mut Self, _| {
            if let Some(news) = news {
                actor.take_in(news);
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

    fn take_in(&mut self, news: News) {
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
        let round = Round::new(self.present.clone(), self.ports.clone(), Arc::clone(&self.touched));
        self.go_round(round, ctx);
    }
}

impl Handler<GetConfig> for ConfigActor {
    type Result = MessageResult<GetConfig>;

    fn handle(&mut self, _: GetConfig, _: &mut Self::Context) -> Self::Result {
        let state = self.present.lock();
        MessageResult(ConfigView {
            troubles: self.troubles.clone(),
            needs_restart: state.plan.needs_restart(),
            leaving: state.plan.leaving(),
            changed_at: self.changed_at.clone(),
        })
    }
}
