//! Announces in the home channel that the gateway has started, and that it is stopping.
//!
//! Best effort: a notice that cannot be sent at once is dropped, because it would be wrong later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{info, warn};

use super::ports::DispatchPorts;
use crate::outbox::Outbox;
use crate::settings::HomeChannel;
use caduceus_contract::json::RawJson;
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::wire::action::{Action, ActionResult};

const STARTED: &str = "The gateway is up.";
const STOPPING: &str = "The gateway is shutting down. Replies in progress are finished first.";

/// The home channel of a gateway, and whether the start of this process was announced there.
#[derive(Debug, Clone)]
pub struct HomeNotices {
    channel: HomeChannel,
    /// The start was announced; outlives any one incarnation of the dispatcher.
    start_announced: Arc<AtomicBool>,
}

impl HomeNotices {
    /// A home channel without an announced start.
    #[must_use]
    pub fn new(channel: HomeChannel) -> Self {
        Self { channel, start_announced: Arc::default() }
    }

    /// Announces once that the gateway has started; again at the next call, if it was not sent.
    pub(super) fn announce_start(&self, ports: &DispatchPorts) -> Option<impl Future<Output = ()> + 'static> {
        if self.start_announced.swap(true, Ordering::SeqCst) {
            return None;
        }
        let (sent, start_announced) = (self.send(ports, STARTED), Arc::clone(&self.start_announced));
        Some(async move {
            let result = sent.await;
            if result.not_sent.is_some() {
                start_announced.store(false, Ordering::SeqCst);
            } else if !result.success {
                warn!(error = result.error, "start not announced in the home channel");
            }
        })
    }

    /// Announces that the gateway is stopping.
    pub(super) fn announce_stop(&self, ports: &DispatchPorts) -> impl Future<Output = ()> + 'static {
        let sent = self.send(ports, STOPPING);
        async move {
            let result = sent.await;
            if result.success {
                info!("shutdown announced in the home channel");
            } else {
                warn!(error = result.error, "shutdown not announced in the home channel");
            }
        }
    }

    fn target(&self) -> Arc<Target> {
        Arc::new(Target {
            link: LinkId::process(),
            platform: self.channel.platform.clone(),
            bot_id: None,
            chat_id: self.channel.chat_id.clone(),
            scope_id: None,
            user_id: None,
            thread_id: None,
        })
    }

    fn send(&self, ports: &DispatchPorts, text: &str) -> impl Future<Output = ActionResult> + 'static {
        let target = self.target();
        let action = Action::Send {
            chat_id: target.chat_id.clone(),
            content: text.to_owned(),
            reply_to: None,
            metadata: target.metadata(),
        };
        let sent = ports.links.get(&target.link).map(|link| Outbox::send(&link.send, target, RawJson::of(&action)));
        async move {
            match sent {
                Some(sent) => sent.await,
                None => ActionResult::failed("no link is configured"),
            }
        }
    }
}
