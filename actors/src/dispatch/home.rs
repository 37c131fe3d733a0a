//! What the home channel is told: that the gateway has started, and that it goes down.
//!
//! News, and no obligation: what cannot be said at the moment is not kept, for later it would not be true.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use caduceus_supervision::ResponseFuture;
use tracing::{info, warn};

use super::actor::DispatchActor;
use super::messages::AnnounceStop;
use super::ports::{DispatchPorts, SEND_TIMEOUT};
use crate::relay::action::{Action, ActionResult};
use crate::relay::messages::{LinkId, SendAction, Target};
use crate::settings::HomeChannel;

const STARTED: &str = "The gateway is up.";
const STOPPING: &str = "The gateway is going down. Replies that are still being written will be finished first.";

/// The home channel of a gateway, and what it was told in this life of the process.
#[derive(Debug, Clone)]
pub struct Home {
    channel: HomeChannel,
    /// The start was told; outlives any one incarnation of the dispatcher.
    greeted: Arc<AtomicBool>,
}

impl Home {
    /// One that was told nothing yet.
    #[must_use]
    pub fn new(channel: HomeChannel) -> Self {
        Self { channel, greeted: Arc::default() }
    }

    fn target(&self) -> Target {
        Target {
            link: LinkId::process(),
            platform: self.channel.platform.clone(),
            bot_id: None,
            chat_id: self.channel.chat_id.clone(),
            scope_id: None,
            user_id: None,
            thread_id: None,
        }
    }

    fn say(&self, ports: &DispatchPorts, text: &str) -> impl Future<Output = ActionResult> + 'static {
        let target = self.target();
        let action = Action::Send {
            chat_id: target.chat_id.clone(),
            content: text.to_owned(),
            reply_to: None,
            metadata: target.metadata(),
        };
        let sent = ports.links.get(&target.link).map(|link| link.send.ask(SendAction { target, action }, SEND_TIMEOUT));
        async move {
            match sent {
                Some(sent) => sent.await.unwrap_or_else(|error| ActionResult::ambiguous(error.to_string())),
                None => ActionResult::failed("there is no link"),
            }
        }
    }
}

impl DispatchActor {
    /// Says once that the gateway has started; again when the link is up, if it is not.
    pub(super) fn announce_start(&self, ctx: &mut Context<Self>) {
        let Some(home) = self.settings.home.clone() else { return };
        if home.greeted.swap(true, Ordering::SeqCst) {
            return;
        }
        let said = home.say(&self.ports, STARTED);
        ctx.spawn(said.into_actor(self).map(move |result, _, _| {
            if result.never_left {
                home.greeted.store(false, Ordering::SeqCst);
            } else if !result.success {
                warn!(error = result.error, "the home channel was not told of the start");
            }
        }));
    }
}

impl Handler<AnnounceStop> for DispatchActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: AnnounceStop, _: &mut Self::Context) -> Self::Result {
        let Some(home) = &self.settings.home else { return ResponseFuture::ready(()) };
        let said = home.say(&self.ports, STOPPING);
        ResponseFuture::new(async move {
            let result = said.await;
            if result.success {
                info!("the home channel was told that the gateway goes down");
            } else {
                warn!(error = result.error, "the home channel was not told that the gateway goes down");
            }
        })
    }
}
