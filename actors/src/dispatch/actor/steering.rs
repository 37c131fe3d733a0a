//! Steers an event into a running turn; if the turn does not accept it, the event waits.

use actix::{Handler, Message};

use super::super::ports::GATE_TIMEOUT;
use super::DispatchActor;
use crate::settings::WhenRefused;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::ledger::{InboundId, InboundState};
use caduceus_contract::messages::turn::SteerTurn;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::session::SessionKey;

/// A turn has answered for an event that was steered into it, or cannot.
#[derive(Message)]
#[rtype(result = "()")]
struct SteerAnswered {
    turn: TurnId,
    event: InboundId,
    session: SessionKey,
    link: LinkId,
    /// The event arrived during a drain.
    during_drain: bool,
    accepted: bool,
}

impl DispatchActor {
    pub(super) fn steer(&mut self, turn: TurnId, event: InboundId, during_drain: bool) {
        let Some(job) = self.turns.job(event) else { return };
        let (session, link) = (job.session.clone(), job.target.link.clone());
        let request = SteerTurn { raw_event: job.raw_event.clone() };
        let steer = self.turns.running().steer(turn);
        // Sent now and not when the future is polled, so that the agent receives events in order.
        let answer = steer.map(|steer| steer.ask(request, GATE_TIMEOUT));
        self.tasks.notify(async move {
            let accepted = match answer {
                Some(answer) => matches!(answer.await, Ok(Ok(()))),
                None => false,
            };
            SteerAnswered { turn, event, session, link, during_drain, accepted }
        });
    }
}

impl Handler<SteerAnswered> for DispatchActor {
    type Result = ();

    fn handle(&mut self, answered: SteerAnswered, ctx: &mut Self::Context) {
        let SteerAnswered { turn, event, session, link, during_drain, accepted } = answered;
        if !accepted {
            let hold = self.settings.values().drain.refused == WhenRefused::Hold;
            let has_room = self.has_room(&link, 1);
            let steps = self.plan.not_steered(event, &session, &link, during_drain, hold, has_room);
            return self.carry_out_for(event, steps, ctx);
        }
        // It is done only when its turn is: if the process is killed meanwhile, the event runs as a separate turn.
        let state = if self.plan.steered(turn, event) {
            InboundState::Received
        } else {
            self.turns.take_job(event);
            InboundState::Done
        };
        self.mark(event, state, Some(turn), Some("steered".to_owned()));
    }
}
