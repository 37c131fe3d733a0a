//! What the home channel is told: that the gateway has started, and that it goes down.
//!
//! News, and no obligation: what cannot be said at the moment is not kept, for later it would not be true.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{info, warn};

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

    /// Says once that the gateway has started; again at the next call, if it did not leave.
    pub(super) fn announce_start(&self, ports: &DispatchPorts) -> Option<impl Future<Output = ()> + 'static> {
        if self.greeted.swap(true, Ordering::SeqCst) {
            return None;
        }
        let (said, greeted) = (self.say(ports, STARTED), Arc::clone(&self.greeted));
        Some(async move {
            let result = said.await;
            if result.never_left {
                greeted.store(false, Ordering::SeqCst);
            } else if !result.success {
                warn!(error = result.error, "the home channel was not told of the start");
            }
        })
    }

    /// Says that the gateway goes down.
    pub(super) fn announce_stop(&self, ports: &DispatchPorts) -> impl Future<Output = ()> + 'static {
        let said = self.say(ports, STOPPING);
        async move {
            let result = said.await;
            if result.success {
                info!("the home channel was told that the gateway goes down");
            } else {
                warn!(error = result.error, "the home channel was not told that the gateway goes down");
            }
        }
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
