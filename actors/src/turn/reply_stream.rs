//! Sends a reply to its chat while the agent still works: one action at a time, and a typing indicator.

use std::future::pending;
use std::pin::Pin;
use std::time::{Duration, Instant};

use super::delivery::ReplyDelivery;
use super::reply::{Reply, ReplyAction, ReplyStep};
use caduceus_contract::wire::action::{ActionResult, allowed};
use caduceus_contract::wire::descriptor::Descriptor;

/// Interval of typing indicators; platforms show one for 5 s and more.
const TYPING_EVERY: Duration = Duration::from_secs(4);

type CurrentAction = Pin<Box<dyn Future<Output = (ReplyAction, ActionResult)>>>;

/// A reply and its delivery.
pub(super) struct ReplyStream {
    pub(super) reply: Reply,
    delivery: ReplyDelivery,
    /// The current action.
    current: Option<CurrentAction>,
    /// The time of the next typing indicator; `None` if there are none.
    typing_at: Option<Instant>,
}

impl ReplyStream {
    pub(super) fn new(descriptor: &Descriptor, delivery: ReplyDelivery) -> Self {
        let reply = Reply::new(descriptor, !delivery.follows_up());
        let typing_at = allowed("typing", descriptor).then(Instant::now);
        Self { reply, delivery, current: None, typing_at }
    }

    /// Carries out the next due action. Never completes while there is none. Dropping it half-way loses nothing.
    pub(super) async fn advance(&mut self) {
        tokio::select! {
            () = typing(self.typing_at) => {
                self.delivery.typing();
                self.typing_at = Some(Instant::now() + TYPING_EVERY);
            }
            done = Self::step(&mut self.reply, &self.delivery, &mut self.current) => if done {
                // After a complete reply there is nothing to send, even if the agent still works.
                self.delivery.write_results();
                pending::<()>().await;
            },
        }
    }

    /// Sends the rest of the text; the reply has been finished.
    pub(super) async fn drain(&mut self) {
        while !Self::step(&mut self.reply, &self.delivery, &mut self.current).await {}
    }

    /// The next step of the reply. `true` when everything is sent.
    async fn step(reply: &mut Reply, delivery: &ReplyDelivery, current: &mut Option<CurrentAction>) -> bool {
        if current.is_none() {
            match reply.next(Instant::now()) {
                ReplyStep::Do(action) => *current = Some(Box::pin(delivery.clone().carry_out(action))),
                ReplyStep::Wait(at) => {
                    delivery.write_results();
                    tokio::time::sleep_until(at.into()).await;
                }
                ReplyStep::Idle => {
                    delivery.write_results();
                    pending::<()>().await;
                }
                ReplyStep::Done => return true,
            }
        }
        if let Some(under_way) = current {
            let (action, result) = under_way.await;
            *current = None;
            reply.report(&action, &result, Instant::now());
        }
        false
    }
}

async fn typing(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}
