//! One turn: runs the agent on one event, and delivers its reply to the chat.
//!
//! Owns the agent's pipes, the reply and the turn's place in the count. Started by the dispatcher under `turns`; stopped
//! through the gate or the dispatcher; sends requests to the profile, the ledger and the link; reports its end to the dispatcher.
//! It is never restarted: when it fails, the agent ends with it, and the dispatcher notifies the chat.

use std::time::Duration;

use actix::prelude::*;
use local_channel::mpsc;
use tokio::sync::oneshot;
use tracing::error;

use super::command::{TurnCommand, TurnCommands};
use super::driver;
use super::order::TurnOrder;
use super::ports::TurnPorts;
use super::work::TurnWork;
use crate::drain::permit::TurnPermit;
use caduceus_contract::messages::turn::{DispatcherNotReady, SteerError, SteerTurn, StopTurn};
use caduceus_supervision::{AskError, ExitReason, Incarnation, ResponseFuture};

/// Timeout of the dispatcher's answer to the end, including its restart.
const ENDED_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts while the dispatcher keeps failing or reads a long ledger, and the pause between them: five minutes.
const ENDED_TRIES: u32 = 6_000;
const ENDED_RETRY: Duration = Duration::from_millis(50);

/// Runs one turn, then ends.
pub struct TurnActor {
    /// Taken when the turn starts.
    work: Option<(TurnWork, TurnCommands)>,
    commands: mpsc::Sender<TurnCommand>,
    ports: TurnPorts,
    incarnation: Incarnation,
    /// Declared last, because it is dropped last: until then the turn counts.
    permit: TurnPermit,
}

impl TurnActor {
    /// A turn that begins when the actor starts.
    #[must_use]
    pub fn new(order: TurnOrder, ports: TurnPorts, incarnation: Incarnation) -> Self {
        let (commands, received) = mpsc::channel();
        let TurnOrder { id, inbound, profile, session, attempt, event, raw_event, target, descriptor, agent, permit } =
            order;
        let history = Vec::new();
        let work =
            TurnWork { id, inbound, profile, session, attempt, event, raw_event, target, descriptor, agent, history };
        Self { work: Some((work, received)), commands, ports, incarnation, permit }
    }
}

impl Actor for TurnActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some((work, commands)) = self.work.take() else { return };
        if !self.permit.attach(self.ports.stop.clone()) {
            // It started so late that its event runs in another turn.
            self.incarnation.end_with(ExitReason::Normal);
            return ctx.stop();
        }
        let (id, ended, end_of_work) = (work.id, self.ports.ended.clone(), self.permit.end_of_work());
        // Boxed here: inside the next future it would be there twice, and be copied with it.
        let turn = Box::pin(driver::run(work, self.ports.clone(), commands));
        let report = async move {
            let end = turn.await;
            end_of_work();
            // With an answer: the turn counts until the dispatcher has answered.
            for _ in 0..ENDED_TRIES {
                match ended.ask(end.clone(), ENDED_TIMEOUT).await {
                    Ok(Ok(())) => return,
                    // A dispatcher that failed with the message has a successor, which reads the ledger first. A dispatcher with a
                    // full mailbox has not received it.
                    Ok(Err(DispatcherNotReady)) | Err(AskError::Closed | AskError::Full) => {
                        tokio::time::sleep(ENDED_RETRY).await;
                    }
                    Err(error @ (AskError::Timeout | AskError::Fenced)) => {
                        return error!(turn = %id, %error, "end of the turn not delivered to the dispatcher");
                    }
                }
            }
            error!(turn = %id, "dispatcher unavailable, end of the turn not delivered");
        };
        ctx.spawn(report.into_actor(self).map(|(), actor, ctx| {
            actor.incarnation.end_with(ExitReason::Normal);
            ctx.stop();
        }));
        self.incarnation.ready();
    }
}

impl Handler<StopTurn> for TurnActor {
    type Result = ();

    fn handle(&mut self, order: StopTurn, _: &mut Self::Context) {
        // A turn that has ended ignores commands.
        let _ = self.commands.send(TurnCommand::Stop(order.cause));
    }
}

impl Handler<SteerTurn> for TurnActor {
    type Result = ResponseFuture<Result<(), SteerError>>;

    fn handle(&mut self, order: SteerTurn, _: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.send(TurnCommand::Steer(order.raw_event, answer));
        ResponseFuture::new(async move {
            sent.map_err(|_| SteerError::NotReading)?;
            answered.await.unwrap_or(Err(SteerError::NotReading))
        })
    }
}
