//! The handlers of the messages of other actors, except those in the other files of this directory.

use actix::{Handler, MessageResult};
use futures_util::future::FutureExt as _;
use tracing::{error, info, warn};

use super::super::plan::WaitingCounts;
use super::super::settings::DispatchSettings;
use super::DispatchActor;
use crate::config::messages::SettingsChanged;
use caduceus_contract::messages::dispatch::{
    AnnounceStop, DispatchView, GetDispatch, StopSession, StopTurnById, UnknownTurn,
};
use caduceus_contract::messages::drain::DrainChanged;
use caduceus_contract::messages::turn::{DispatcherNotReady, StopCause, TurnEnded};
use caduceus_supervision::{ChildExited, ResponseFuture};

impl Handler<TurnEnded> for DispatchActor {
    type Result = ResponseFuture<Result<(), DispatcherNotReady>>;

    fn handle(&mut self, ended: TurnEnded, ctx: &mut Self::Context) -> Self::Result {
        if self.offers.is_early() {
            return ResponseFuture::ready(Err(DispatcherNotReady));
        }
        info!(turn = %ended.id, outcome = ?ended.outcome, "turn.ended");
        let written = self.end_turn(ended, ctx);
        ResponseFuture::new(written.map(Ok))
    }
}

impl Handler<ChildExited> for DispatchActor {
    type Result = ();

    fn handle(&mut self, exited: ChildExited, ctx: &mut Self::Context) {
        let Ok(turn) = exited.id().parse() else { return };
        if self.offers.exited(turn) {
            return;
        }
        // A turn that reported how it ended is no longer in the plan.
        if self.plan.event_of(turn).is_some() {
            if self.gate.is_stopping() {
                warn!(%turn, reason = %exited.reason, "turn ended by the shutdown");
                return self.shut_down(turn, ctx);
            }
            error!(%turn, reason = %exited.reason, "turn crashed");
            self.crashed(turn, ctx);
        }
    }
}

impl Handler<DrainChanged> for DispatchActor {
    type Result = ();

    fn handle(&mut self, changed: DrainChanged, ctx: &mut Self::Context) {
        self.gate.changed(&changed);
        let steps = self.plan.gate(changed.draining, changed.profiles);
        self.carry_out(steps, ctx);
        self.report_refusals();
    }
}

impl Handler<SettingsChanged> for DispatchActor {
    type Result = ();

    fn handle(&mut self, SettingsChanged(in_force): SettingsChanged, ctx: &mut Self::Context) {
        self.settings = DispatchSettings::of(&in_force, self.settings.fixed.clone());
        let steps = self.plan.configure(self.settings.values());
        self.carry_out(steps, ctx);
    }
}

impl Handler<StopSession> for DispatchActor {
    type Result = bool;

    fn handle(&mut self, order: StopSession, _: &mut Self::Context) -> Self::Result {
        let turns = self.plan.turns_of(&order.session_key);
        for turn in &turns {
            self.stop_turn(*turn, order.cause);
        }
        !turns.is_empty()
    }
}

impl Handler<StopTurnById> for DispatchActor {
    type Result = Result<(), UnknownTurn>;

    fn handle(&mut self, order: StopTurnById, _: &mut Self::Context) -> Self::Result {
        // A turn that is being started can be stopped as well.
        if self.plan.session_of(order.turn).is_none() {
            return Err(UnknownTurn(order.turn));
        }
        self.stop_turn(order.turn, StopCause::Operator);
        Ok(())
    }
}

impl Handler<GetDispatch> for DispatchActor {
    type Result = MessageResult<GetDispatch>;

    fn handle(&mut self, _: GetDispatch, _: &mut Self::Context) -> Self::Result {
        let WaitingCounts { queued, held, awaiting_link } = self.plan.counts();
        let awaiting_link = awaiting_link.into_iter().chain(self.links.unlinked().counts());
        let mut view = DispatchView {
            sessions: self.plan.sessions(),
            running: self.turns.running().len(),
            queued,
            held,
            awaiting_link: awaiting_link.map(|(link, events)| (link.0.to_string(), events)).collect(),
            ..DispatchView::default()
        };
        self.ports.counts.fill(&mut view);
        MessageResult(view)
    }
}

impl Handler<AnnounceStop> for DispatchActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: AnnounceStop, _: &mut Self::Context) -> Self::Result {
        match &self.settings.fixed.home {
            Some(home) => ResponseFuture::new(home.announce_stop(&self.ports)),
            None => ResponseFuture::ready(()),
        }
    }
}
