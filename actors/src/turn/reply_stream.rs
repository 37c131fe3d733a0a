//! Lets a reply out into its chat while the agent still works: one action at a time, and a sign that the turn is at work.

use std::future::pending;
use std::pin::Pin;
use std::time::{Duration, Instant};

use super::delivery::ReplyDelivery;
use super::reply::{Reply, ReplyAction, ReplyStep};
use caduceus_contract::wire::action::{ActionResult, allowed};
use caduceus_contract::wire::descriptor::Descriptor;

/// Between two signs of work; the platforms show one for 5 s and more.
const TYPING_EVERY: Duration = Duration::from_secs(4);

type ActionUnderWay = Pin<Box<dyn Future<Output = (ReplyAction, ActionResult)>>>;

/// A reply and its way out.
pub(super) struct ReplyStream {
    pub(super) reply: Reply,
    delivery: ReplyDelivery,
    /// The action that is under way.
    doing: Option<ActionUnderWay>,
    /// When the next sign of work is due; `None` where there are none.
    typing_at: Option<Instant>,
}

impl ReplyStream {
    pub(super) fn new(descriptor: &Descriptor, delivery: ReplyDelivery) -> Self {
        let reply = Reply::new(descriptor, !delivery.follows_up());
        let typing_at = allowed("typing", descriptor).then(Instant::now);
        Self { reply, delivery, doing: None, typing_at }
    }

    /// Does what is due, one thing. Never ends while there is nothing to do. Dropping it half-way loses nothing.
    pub(super) async fn advance(&mut self) {
        tokio::select! {
            () = typing(self.typing_at) => {
                self.delivery.typing();
                self.typing_at = Some(Instant::now() + TYPING_EVERY);
            }
            done = Self::step(&mut self.reply, &self.delivery, &mut self.doing) => if done {
                // A reply that is out leaves nothing to do, whatever the agent is still at.
                pending::<()>().await;
            },
        }
    }

    /// Lets everything out that was said; the reply has been finished.
    pub(super) async fn drain(&mut self) {
        while !Self::step(&mut self.reply, &self.delivery, &mut self.doing).await {}
    }

    /// The next step of the reply. `true` when everything is out.
    async fn step(reply: &mut Reply, delivery: &ReplyDelivery, doing: &mut Option<ActionUnderWay>) -> bool {
        if doing.is_none() {
            match reply.next(Instant::now()) {
                ReplyStep::Do(action) => *doing = Some(Box::pin(delivery.clone().carry_out(action))),
                ReplyStep::Wait(at) => tokio::time::sleep_until(at.into()).await,
                ReplyStep::Idle => pending().await,
                ReplyStep::Done => return true,
            }
        }
        if let Some(under_way) = doing {
            let (action, result) = under_way.await;
            *doing = None;
            reply.did(&action, &result, Instant::now());
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
