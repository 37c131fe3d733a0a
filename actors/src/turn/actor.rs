//! One turn: has the agent work on one event, and brings its words to the chat.
//!
//! Owns the agent's pipes, the reply and the turn's place in the count. Started by the dispatcher under `Turns`; stopped
//! through the gate or the dispatcher; asks the profile, the ledger and the link; tells the dispatcher how it ended. It is
//! never restarted: when it dies the agent dies with it, and the dispatcher tells the chat.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::delivery::Delivery;
use super::driver::{self, Order};
use super::id::TurnId;
use super::messages::{SteerError, SteerTurn, StopTurn, TooEarly, TurnEnded, TurnOrder};
use crate::dispatch::messages::ReplyLeft;
use crate::drain::permit::TurnPermit;
use crate::ledger::messages::{HistoryEntry, InboundId, LoadHistory, MarkOutbound, RecordOutbound};
use crate::profile::messages::{AuthorisedCall, GetAgent, SpawnChild};
use crate::profile::name::ProfileName;
use crate::profile::redact::Redactor;
use crate::relay::descriptor::Descriptor;
use crate::relay::event::InboundEvent;
use crate::relay::messages::{SendAction, Target};
use crate::relay::session::SessionKey;
use caduceus_supervision::{AskError, ExitReason, Incarnation, Port, ResponseFuture};

/// How long the dispatcher may take to hear of the end, a restart of it included.
const ENDED_TIMEOUT: Duration = Duration::from_secs(30);
/// Tries to tell a dispatcher that keeps dying or reads long books, and the pause between them: five minutes.
const ENDED_TRIES: u32 = 6_000;
const ENDED_RETRY: Duration = Duration::from_millis(50);
/// In an event as received: by which kind of kept right the chat is answered, instead of a message of its own.
pub const FOLLOW_UP: &str = "follow_up";

/// Runs one turn, then ends.
pub struct TurnActor {
    /// Taken when the turn starts.
    work: Option<(Work, mpsc::UnboundedReceiver<Order>)>,
    orders: mpsc::UnboundedSender<Order>,
    ports: TurnPorts,
    incarnation: Incarnation,
    /// Last, for it is dropped last: until then the turn counts.
    permit: TurnPermit,
}

/// Whom a turn asks and tells.
#[derive(Debug, Clone)]
pub struct TurnPorts {
    /// The turn's profile, for how its agent is run.
    pub agent: Port<GetAgent>,
    /// The same, for starting it.
    pub spawn: Port<SpawnChild>,
    /// The same, for calling one that is a server.
    pub call: Port<AuthorisedCall>,
    /// The link that the event came over.
    pub send: Port<SendAction>,
    /// The ledger, for what was said before.
    pub history: Port<LoadHistory>,
    /// The same, for what is said now.
    pub record: Port<RecordOutbound>,
    /// The same.
    pub mark: Port<MarkOutbound>,
    /// The dispatcher.
    pub ended: Port<TurnEnded>,
    /// The same, for replies that could not be sent.
    pub left: Port<ReplyLeft>,
    /// This very turn, for the gate, which stops what is left at the end of a drain.
    pub stop: Port<StopTurn>,
    /// Cleans what the agent writes to its standard error.
    pub redactor: Redactor,
}

/// What a turn works on: its order without the permit.
pub(super) struct Work {
    pub(super) id: TurnId,
    pub(super) inbound: InboundId,
    pub(super) profile: ProfileName,
    pub(super) session: SessionKey,
    pub(super) attempt: u32,
    pub(super) event: Arc<InboundEvent>,
    pub(super) raw_event: Arc<Value>,
    pub(super) target: Target,
    pub(super) descriptor: Descriptor,
    /// Oldest first; read once it is known how much of it the agent wants.
    pub(super) history: Vec<HistoryEntry>,
}

impl Work {
    pub(super) fn delivery(&self, ports: &TurnPorts) -> Delivery {
        let kind = self.raw_event.get(FOLLOW_UP).and_then(Value::as_str);
        let follow_up = kind.map(|kind| (self.session.text(), kind.to_owned()));
        let reply_to = self.event.message_id.clone();
        let limit = (self.descriptor.max_message_length, self.descriptor.len_unit);
        let delivery =
            Delivery::new(ports.clone(), self.id, self.inbound, self.target.clone(), reply_to, follow_up, limit);
        // What an earlier attempt said before it was cut off may have arrived.
        if self.attempt > 1 { delivery.may_repeat() } else { delivery }
    }
}

impl TurnActor {
    /// A turn that begins when the actor starts.
    #[must_use]
    pub fn new(order: TurnOrder, ports: TurnPorts, incarnation: Incarnation) -> Self {
        let (orders, received) = mpsc::unbounded_channel();
        let TurnOrder { id, inbound, profile, session, attempt, event, raw_event, target, descriptor, permit } = order;
        let history = Vec::new();
        let work = Work { id, inbound, profile, session, attempt, event, raw_event, target, descriptor, history };
        Self { work: Some((work, received)), orders, ports, incarnation, permit }
    }
}

impl Actor for TurnActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some((work, orders)) = self.work.take() else { return };
        self.permit.attach(self.ports.stop.clone());
        let (id, ended) = (work.id, self.ports.ended.clone());
        let turn = driver::run(work, self.ports.clone(), orders);
        let telling = async move {
            let news = turn.await;
            // Asked, not told: the turn counts until the dispatcher has heard of its end.
            for _ in 0..ENDED_TRIES {
                match ended.ask(news.clone(), ENDED_TIMEOUT).await {
                    Ok(Ok(())) => return,
                    // A dispatcher that died with the news in hand has a successor, which reads its books first; one whose
                    // mailbox is full has not seen it.
                    Ok(Err(TooEarly)) | Err(AskError::Closed | AskError::Full) => {
                        tokio::time::sleep(ENDED_RETRY).await;
                    }
                    Err(error @ (AskError::Timeout | AskError::Fenced)) => {
                        return error!(turn = %id, %error, "the dispatcher did not hear how a turn ended");
                    }
                }
            }
            error!(turn = %id, "no dispatcher lived to hear how a turn ended");
        };
        ctx.spawn(telling.into_actor(self).map(|(), actor, ctx| {
            actor.incarnation.end_with(ExitReason::Normal);
            ctx.stop();
        }));
        self.incarnation.ready();
    }
}

impl Handler<StopTurn> for TurnActor {
    type Result = ();

    fn handle(&mut self, order: StopTurn, _: &mut Self::Context) {
        // A turn that has ended hears nothing any more, which is fine.
        let _ = self.orders.send(Order::Stop(order.cause));
    }
}

impl Handler<SteerTurn> for TurnActor {
    type Result = ResponseFuture<Result<(), SteerError>>;

    fn handle(&mut self, order: SteerTurn, _: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        let sent = self.orders.send(Order::Steer(order.raw_event, answer));
        ResponseFuture::new(async move {
            sent.map_err(|_| SteerError::NotReading)?;
            answered.await.unwrap_or(Err(SteerError::NotReading))
        })
    }
}
