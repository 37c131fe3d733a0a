//! Rebuilds the queues after a start: from the ledger, which lists the events of this dispatcher's chats a page at a time, and from the
//! gate's list of turns.
//!
//! Running and interrupted turns are read first, because they are few. Then the dispatcher is ready, and events may arrive while the
//! rest is read: they wait until all earlier ones are queued.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message};
use tracing::{error, info, warn};

use super::super::event::DispatchJob;
use super::super::recovery::{MAX_RESTARTS, PAGE, RunningAtStart, read_running};
use super::DispatchActor;
use crate::drain::permit::messages::RunningTurn;
use crate::hand_over::LEDGER_TIMEOUT;
use caduceus_contract::messages::drain::{DrainView, Origin};
use caduceus_contract::messages::ledger::{
    InboundId, InboundRow, InboundState, LedgerError, ListWaiting, ReadInbound, WaitingPage, WaitingRow,
};
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::AskError;

/// Pause before a request that the ledger did not answer is repeated.
const PAUSE: Duration = Duration::from_millis(500);

/// The progress of the rebuild.
struct Rebuild {
    /// Running turns of an earlier incarnation.
    turns: HashMap<TurnId, RunningTurn>,
    /// Events that were steered into them.
    steered: Vec<InboundId>,
    /// The next page begins after this row.
    after: Option<InboundId>,
    /// Events that wait.
    waiting: usize,
    /// Turns that a crash interrupted.
    interrupted: usize,
}

/// The state at the start was read, except the waiting events.
#[derive(Message)]
#[rtype(result = "()")]
struct RunningRead(Result<RunningAtStart, String>);

/// The pause after [`RunningRead`] without an answer is over.
#[derive(Message)]
#[rtype(result = "()")]
struct RebuildDue;

/// The ledger has answered with a page of waiting events.
#[derive(Message)]
#[rtype(result = "()")]
struct PageRead {
    rebuild: Rebuild,
    page: Result<Result<WaitingPage, LedgerError>, AskError>,
}

/// The pause after a page without an answer is over.
#[derive(Message)]
#[rtype(result = "()")]
struct PageDue(Rebuild);

/// The ledger has answered with an event that was steered into a running turn.
#[derive(Message)]
#[rtype(result = "()")]
struct SteeredRead {
    rebuild: Rebuild,
    event: InboundId,
    row: Result<Result<InboundRow, LedgerError>, AskError>,
}

impl DispatchActor {
    /// Rebuilds the queues. Until that is done no event is processed as a new one.
    pub(super) fn rebuild(&mut self) {
        let found = read_running(
            Arc::clone(&self.ports),
            self.settings.share(),
            self.settings.interrupted(),
            self.settings.fixed.process_started_ms,
        );
        self.tasks.notify(async move { RunningRead(found.await) });
    }

    /// Applies the answer of the gate, unless the gate has reported a newer state meanwhile.
    fn apply_gate_state(&mut self, gate: DrainView) {
        if self.gate.answered(&gate) {
            // Nothing starts yet.
            drop(self.plan.gate(gate.draining, gate.profiles));
        }
    }

    fn restore_running(&mut self, state: RunningAtStart, ctx: &mut Context<Self>) -> Rebuild {
        let RunningAtStart { rows, turns, gate, restarts } = state;
        self.apply_gate_state(gate);
        if restarts > MAX_RESTARTS {
            error!(restarts, "too many starts with interrupted turns; they are not run again automatically");
            self.settings.in_crash_loop = true;
        }
        let turns = turns.into_iter().map(|running| (running.ticket.id, running));
        let turns = turns.filter(|(turn, _)| !self.offers.exited_early(*turn)).collect();
        let mut rebuild = Rebuild { turns, steered: Vec::new(), after: None, waiting: 0, interrupted: 0 };
        for row in rows {
            let (id, turn, received) = (row.id, row.turn, row.received_at_ms);
            let Some((id, job)) = DispatchJob::from_row(row) else {
                error!(row = id.0, "unreadable event in the ledger, given up");
                self.mark(id, InboundState::Dead, None, Some("unreadable".to_owned()));
                continue;
            };
            if let Some(running) = turn.and_then(|turn| rebuild.turns.get(&turn)) {
                let turn = running.ticket.id;
                self.plan.adopted(turn, id, &job.session, &job.target.link);
                self.turns.adopt(turn, running.stop.clone(), id, job);
            } else if let Some(turn) = turn.filter(|turn| self.ports.permits.never_started(*turn)) {
                rebuild.waiting += 1;
                self.start_anew(turn, id, &job, received, ctx);
            } else {
                rebuild.interrupted += 1;
                self.handle_interrupted(id, &job, received, ctx);
            }
        }
        rebuild
    }

    /// Reads the next page. Other actors on this thread run between two pages.
    fn read_page(&mut self, rebuild: Rebuild) {
        let states = vec![InboundState::Received, InboundState::Held];
        let share = self.settings.share();
        let request = ListWaiting { share, states, after: rebuild.after, limit: PAGE };
        let page = self.ports.ledger.list_waiting.ask(request, LEDGER_TIMEOUT);
        self.tasks.notify(async move { PageRead { page: page.await, rebuild } });
    }

    fn read_page_later(error: &str, rebuild: Rebuild, ctx: &mut Context<Self>) {
        warn!(error, "waiting events not read yet");
        ctx.notify_later(PageDue(rebuild), PAUSE);
    }

    fn restore_page(&mut self, page: WaitingPage, mut rebuild: Rebuild, ctx: &mut Context<Self>) {
        let WaitingPage { rows, next_after } = page;
        rebuild.after = next_after;
        for row in rows {
            let WaitingRow { id, link, session, turn, received_at_ms } = row;
            let running = turn.filter(|turn| rebuild.turns.contains_key(turn));
            if running.is_some_and(|turn| self.plan.steered(turn, id)) {
                rebuild.steered.push(id);
                continue;
            }
            rebuild.waiting += 1;
            if self.ports.links.contains_key(&link) {
                // Nothing starts yet, so nothing follows.
                drop(self.plan.restored(id, &session, &link, Origin::External));
            } else {
                self.links.unlinked_mut().push(link, received_at_ms, id);
            }
        }
        self.count_waiting();
        if next_after.is_some() { self.read_page(rebuild) } else { self.fetch_steered(rebuild, ctx) }
    }

    /// Events that were steered into running turns become part of the conversation when these end.
    fn fetch_steered(&mut self, mut rebuild: Rebuild, ctx: &mut Context<Self>) {
        let Some(event) = rebuild.steered.pop() else { return self.finish(&rebuild, ctx) };
        let row = self.ports.ledger.read_inbound.ask(ReadInbound { id: event }, LEDGER_TIMEOUT);
        self.tasks.notify(async move { SteeredRead { row: row.await, rebuild, event } });
    }

    fn finish(&mut self, rebuild: &Rebuild, ctx: &mut Context<Self>) {
        let Rebuild { waiting, interrupted, .. } = *rebuild;
        if waiting + interrupted > 0 {
            info!(waiting, interrupted, "events of a previous run queued again");
        }
        for (link, events) in self.links.unlinked().counts() {
            error!(
                link = %link.0,
                events,
                "events wait for a link that is no longer configured: they run after a start with that link, and are given up after 24 hours"
            );
        }
        self.open(ctx);
        self.check_adopted_later(ctx);
        self.report_refusals();
    }
}

impl Handler<RunningRead> for DispatchActor {
    type Result = ();

    fn handle(&mut self, RunningRead(found): RunningRead, ctx: &mut Self::Context) {
        match found {
            Ok(state) => {
                let rebuild = self.restore_running(state, ctx);
                self.incarnation.ready();
                self.request_link_states(self.ports.links.keys());
                self.read_page(rebuild);
            }
            Err(error) => {
                warn!(%error, "running turns not read yet");
                ctx.notify_later(RebuildDue, PAUSE);
            }
        }
    }
}

impl Handler<RebuildDue> for DispatchActor {
    type Result = ();

    fn handle(&mut self, _: RebuildDue, _: &mut Self::Context) {
        self.rebuild();
    }
}

impl Handler<PageRead> for DispatchActor {
    type Result = ();

    fn handle(&mut self, PageRead { rebuild, page }: PageRead, ctx: &mut Self::Context) {
        match page {
            Ok(Ok(page)) => self.restore_page(page, rebuild, ctx),
            Ok(Err(error)) => Self::read_page_later(&error.to_string(), rebuild, ctx),
            Err(error) => Self::read_page_later(&error.to_string(), rebuild, ctx),
        }
    }
}

impl Handler<PageDue> for DispatchActor {
    type Result = ();

    fn handle(&mut self, PageDue(rebuild): PageDue, _: &mut Self::Context) {
        self.read_page(rebuild);
    }
}

impl Handler<SteeredRead> for DispatchActor {
    type Result = ();

    fn handle(&mut self, SteeredRead { rebuild, event, row }: SteeredRead, ctx: &mut Self::Context) {
        let row = row.map_err(|error| error.to_string()).and_then(|row| row.map_err(|error| error.to_string()));
        match row.map(DispatchJob::from_row) {
            Ok(Some((id, job))) => self.turns.hold_job(id, job),
            Ok(None) => {}
            Err(error) => warn!(row = event.0, error, "event steered into a running turn not read"),
        }
        self.fetch_steered(rebuild, ctx);
    }
}
