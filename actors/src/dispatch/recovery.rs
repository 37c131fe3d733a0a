//! What a dispatcher does when it comes up: the books from the ledger, a page at a time, and from the gate's list of turns.
//!
//! The turns that run and those that were cut off come first, for they are few. Then it is ready, and events may come while
//! the rest is read: they wait until all before them are known.

use std::collections::HashMap;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tracing::{error, info, warn};

use super::actor::{DispatchActor, Heard};
use super::event::Job;
use super::notice::Notice;
use super::ports::{DispatchPorts, GATE_TIMEOUT, LEDGER_TIMEOUT, MAX_ATTEMPTS};
use crate::drain::messages::{DrainView, GetDrain, Origin};
use crate::drain::permit::messages::{ListTurns, RunningTurn};
use crate::ledger::messages::{
    InboundId, InboundRow, InboundState, LastInterrupted, ListInbound, ListWaiting, NoteRestart, ReadInbound,
    WaitingRow,
};
use crate::settings::Interrupted;
use crate::turn::guard;
use crate::turn::id::TurnId;

/// Pause before the ledger is asked again after it did not answer.
const PAUSE: Duration = Duration::from_millis(500);
/// How often adopted turns are looked after; far longer than the way from a permit to the start of its turn.
const ADOPTED_LOOK: Duration = Duration::from_secs(1);
/// Rows asked for at once: a few milliseconds for the ledger, and for us.
const PAGE: usize = 500;
/// Most starts within [`RESTART_WINDOW`] that find turns cut off and run them again: more is a home that its turns bring down.
const MAX_RESTARTS: usize = 5;
const RESTART_WINDOW: Duration = Duration::from_mins(2);
/// How long agents that a killed gateway left behind are looked for.
const STRAYS_TIMEOUT: Duration = Duration::from_secs(3);

/// How far a dispatcher has come with its books.
pub(super) struct Rebuild {
    /// Turns that run, of a former dispatcher.
    turns: HashMap<TurnId, RunningTurn>,
    /// Events that they took besides their own.
    steered: Vec<InboundId>,
    /// The last row that was read.
    after: Option<InboundId>,
    /// Events that wait.
    waiting: usize,
    /// Turns that a crash cut off.
    cut_off: usize,
}

impl DispatchActor {
    /// Writes the books anew. Until then no event is taken for new that is not.
    pub(super) fn rebuild(&mut self, ctx: &mut Context<Self>) {
        let found = read_running(self.ports.clone(), self.settings.interrupted, self.settings.process_started_ms);
        ctx.spawn(found.into_actor(self).map(|found, actor, ctx| match found {
            Ok(found) => {
                let rebuild = actor.take_running(found, ctx);
                actor.incarnation.ready();
                actor.ask_links(actor.ports.links.keys());
                actor.read_page(rebuild, ctx);
            }
            Err(error) => {
                warn!(%error, "the books cannot be read yet");
                ctx.run_later(PAUSE, Self::rebuild);
            }
        }));
    }

    /// How the gate was when a new dispatcher asked, unless it has moved since: its news came first then.
    fn hear_gate(&mut self, gate: DrainView) {
        if !self.gate.told {
            self.gate = Heard { draining: gate.draining, stopping: gate.stopping, told: false };
            // Nothing starts yet.
            drop(self.plan.gate(gate.draining, gate.profiles));
        }
    }

    fn take_running(&mut self, found: Found, ctx: &mut Context<Self>) -> Rebuild {
        let Found { rows, turns, gate, restarts } = found;
        self.hear_gate(gate);
        if restarts > MAX_RESTARTS {
            error!(
                restarts,
                "this process starts over and over with turns cut off; they are not run again by themselves"
            );
            self.settings.interrupted = Interrupted::Ask;
        }
        let turns = turns.into_iter().map(|running| (running.ticket.id, running));
        let turns = turns.filter(|(turn, _)| !self.gone_early(*turn)).collect();
        let mut rebuild = Rebuild { turns, steered: Vec::new(), after: None, waiting: 0, cut_off: 0 };
        for row in rows {
            let (id, turn, received) = (row.id, row.turn, row.received_at_ms);
            let Some((id, job)) = Job::from_row(row) else {
                error!(row = id.0, "an event in the ledger no longer reads; it is given up");
                self.mark(id, InboundState::Dead, None, Some("unreadable".to_owned()), ctx);
                continue;
            };
            if let Some(running) = turn.and_then(|turn| rebuild.turns.get(&turn)) {
                let turn = running.ticket.id;
                self.plan.adopted(turn, id, &job.session, &job.target.link);
                self.adopt(turn, running.stop.clone());
                self.adopted.push(turn);
                self.jobs.insert(id, job);
            } else {
                rebuild.cut_off += 1;
                self.cut_off(id, &job, received, ctx);
            }
        }
        rebuild
    }

    /// Reads on. Between two pages others on this thread have their turn.
    fn read_page(&mut self, rebuild: Rebuild, ctx: &mut Context<Self>) {
        let states = vec![InboundState::Received, InboundState::Held];
        let question = ListWaiting { states, after: rebuild.after, limit: PAGE };
        let page = self.ports.list_waiting.ask(question, LEDGER_TIMEOUT);
        ctx.spawn(page.into_actor(self).map(move |page, actor, ctx| match page {
            Ok(Ok(page)) => actor.take_page(page, rebuild, ctx),
            Ok(Err(error)) => Self::read_page_later(&error.to_string(), rebuild, ctx),
            Err(error) => Self::read_page_later(&error.to_string(), rebuild, ctx),
        }));
    }

    fn read_page_later(error: &str, rebuild: Rebuild, ctx: &mut Context<Self>) {
        warn!(error, "the events that wait cannot be read yet");
        ctx.run_later(PAUSE, |actor, ctx| actor.read_page(rebuild, ctx));
    }

    fn take_page(&mut self, page: Vec<WaitingRow>, mut rebuild: Rebuild, ctx: &mut Context<Self>) {
        let is_last = page.len() < PAGE;
        rebuild.after = page.last().map(|row| row.id).or(rebuild.after);
        for row in page {
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
                self.orphans.push(link, received_at_ms, id);
            }
        }
        if is_last { self.fetch_steered(rebuild, ctx) } else { self.read_page(rebuild, ctx) }
    }

    /// What running turns took besides their own events becomes part of the conversation when they end.
    fn fetch_steered(&mut self, mut rebuild: Rebuild, ctx: &mut Context<Self>) {
        let Some(id) = rebuild.steered.pop() else { return self.finish(&rebuild, ctx) };
        let read = self.ports.read_inbound.ask(ReadInbound { id }, LEDGER_TIMEOUT);
        ctx.spawn(read.into_actor(self).map(move |read, actor, ctx| {
            let row = read.map_err(|error| error.to_string()).and_then(|row| row.map_err(|error| error.to_string()));
            match row.map(Job::from_row) {
                Ok(job) => actor.jobs.extend(job),
                Err(error) => warn!(row = id.0, error, "what was said to a running turn cannot be read"),
            }
            actor.fetch_steered(rebuild, ctx);
        }));
    }

    fn finish(&mut self, rebuild: &Rebuild, ctx: &mut Context<Self>) {
        let Rebuild { waiting, cut_off, .. } = *rebuild;
        if waiting + cut_off > 0 {
            info!(waiting, cut_off, "events from before are taken up");
        }
        for (link, events) in self.orphans.counts() {
            error!(
                link = %link.0,
                events,
                "events wait for a link that is no more: they run once a start finds it again, and are given up after 24 hours"
            );
        }
        self.open_books(ctx);
        if !self.adopted.is_empty() {
            ctx.run_later(ADOPTED_LOOK, Self::look_after_adopted);
        }
        self.tell_unread(ctx);
    }

    /// Finds adopted turns of which nothing will be heard: those that the former dispatcher had a permit for and never
    /// started, and those whose end it died with.
    fn look_after_adopted(&mut self, ctx: &mut Context<Self>) {
        self.adopted.retain(|turn| self.plan.event_of(*turn).is_some());
        if self.adopted.is_empty() {
            return;
        }
        let turns = self.ports.turns.ask(ListTurns, GATE_TIMEOUT);
        ctx.spawn(turns.into_actor(self).map(|turns, actor, ctx| {
            if let Ok(turns) = turns {
                actor.let_go(turns, ctx);
            }
            ctx.run_later(ADOPTED_LOOK, Self::look_after_adopted);
        }));
    }

    fn let_go(&mut self, turns: Vec<RunningTurn>, ctx: &mut Context<Self>) {
        let turns: HashMap<TurnId, RunningTurn> =
            turns.into_iter().map(|running| (running.ticket.id, running)).collect();
        for turn in std::mem::take(&mut self.adopted) {
            let Some(event) = self.plan.event_of(turn) else { continue };
            match turns.get(&turn) {
                Some(RunningTurn { stop: Some(stop), .. }) => {
                    self.adopt(turn, Some(stop.clone()));
                    self.adopted.push(turn);
                }
                Some(RunningTurn { stop: None, .. }) => {
                    warn!(%turn, "a turn was never started; its event runs anew");
                    if let Some(job) = self.forget(turn, event, ctx) {
                        self.run_again(event, &job, now_ms(), ctx);
                    }
                }
                // A turn counts until its end was heard.
                None => {
                    warn!(%turn, "a turn is gone without a word");
                    if let Some(job) = self.forget(turn, event, ctx) {
                        self.cut_off(event, &job, now_ms(), ctx);
                    }
                }
            }
        }
    }

    fn forget(&mut self, turn: TurnId, event: InboundId, ctx: &mut Context<Self>) -> Option<Job> {
        let job = self.jobs.remove(&event);
        self.abandon(turn);
        for steered in self.plan.take_steered(turn) {
            if let Some(job) = self.jobs.remove(&steered) {
                self.run_again(steered, &job, now_ms(), ctx);
            }
        }
        let steps = self.plan.ended(turn);
        self.carry_out(steps, ctx);
        job
    }

    /// A turn that a crash cut off.
    fn cut_off(&mut self, id: InboundId, job: &Job, received_at_ms: i64, ctx: &mut Context<Self>) {
        let mark = |state, note: &str| (state, Some(note.to_owned()));
        let (state, note) = match self.settings.interrupted {
            Interrupted::Rerun if job.attempts < MAX_ATTEMPTS => {
                let job = Job { origin: Origin::Internal, ..job.clone() };
                return self.run_again(id, &job, received_at_ms, ctx);
            }
            Interrupted::Rerun => {
                self.say(&job.target, &Notice::GivenUp, ctx);
                mark(InboundState::Dead, Notice::GivenUp.reason())
            }
            Interrupted::Ask => {
                self.say(&job.target, &Notice::Interrupted, ctx);
                mark(InboundState::Interrupted, "restart")
            }
            Interrupted::Drop => mark(InboundState::Interrupted, "restart, dropped"),
        };
        self.mark(id, state, None, note, ctx);
    }

    /// An event waits again; what it says lies in the ledger.
    fn run_again(&mut self, id: InboundId, job: &Job, received_at_ms: i64, ctx: &mut Context<Self>) {
        let link = &job.target.link;
        if self.ports.links.contains_key(link) {
            let steps = self.plan.restored(id, &job.session, link, job.origin);
            self.carry_out(steps, ctx);
        } else {
            self.orphans.push(link.clone(), received_at_ms, id);
        }
    }

    /// Runs the last interrupted event of a session again.
    pub(super) fn retry(&mut self, asked: Job, ctx: &mut Context<Self>) {
        let question = LastInterrupted { session: asked.session.clone() };
        let found = self.ports.last_interrupted.ask(question, LEDGER_TIMEOUT);
        ctx.spawn(found.into_actor(self).map(move |found, actor, ctx| match found {
            Ok(Ok(row)) => match row.and_then(Job::from_row) {
                Some((id, job)) => {
                    // The command is done with in the ledger, so from here on the event is what must not be lost.
                    actor.mark(id, InboundState::Received, None, Some("retried".to_owned()), ctx);
                    actor.run_again(id, &job, now_ms(), ctx);
                }
                None => actor.say(&asked.target, &Notice::NothingToRetry, ctx),
            },
            Ok(Err(error)) => actor.cannot_retry(&asked, &error.to_string(), ctx),
            Err(error) => actor.cannot_retry(&asked, &error.to_string(), ctx),
        }));
    }

    fn cannot_retry(&mut self, asked: &Job, error: &str, ctx: &mut Context<Self>) {
        warn!(error, "what to run again cannot be read from the ledger");
        self.say(&asked.target, &Notice::TurnBroke, ctx);
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What a dispatcher finds when it comes up, but for what waits.
struct Found {
    /// Events whose turn runs or was cut off.
    rows: Vec<InboundRow>,
    /// Turns that run, of a former dispatcher.
    turns: Vec<RunningTurn>,
    /// How the gate is.
    gate: DrainView,
    /// Starts of late, this one included, that found turns cut off; counted where those run again.
    restarts: usize,
}

async fn read_running(ports: DispatchPorts, interrupted: Interrupted, started_at_ms: i64) -> Result<Found, String> {
    let mut rows: Vec<InboundRow> = Vec::new();
    loop {
        let after = rows.last().map(|row| row.id);
        let question = ListInbound { states: vec![InboundState::Running], after, limit: PAGE };
        let page = ports.list_inbound.ask(question, LEDGER_TIMEOUT).await.map_err(|error| error.to_string())?;
        let page = page.map_err(|error| error.to_string())?;
        let last = page.len() < PAGE;
        rows.extend(page);
        if last {
            break;
        }
    }
    let turns = ports.turns.ask(ListTurns, GATE_TIMEOUT).await.map_err(|error| error.to_string())?;
    let running: std::collections::HashSet<TurnId> = turns.iter().map(|running| running.ticket.id).collect();
    let cut_off = |row: &&InboundRow| !row.turn.is_some_and(|turn| running.contains(&turn));
    let strays: Vec<TurnId> = rows.iter().filter(cut_off).filter_map(|row| row.turn).collect();
    let was_cut_off = rows.iter().any(|row| cut_off(&row));
    if !strays.is_empty() {
        // Their guards end with the gateway that was killed; should one have been killed too, its agent must not go on beside
        // the one that does the same work again.
        let ended = tokio::task::spawn_blocking(move || guard::end_turns(&strays, STRAYS_TIMEOUT));
        ended.await.map_err(|error| error.to_string())?;
    }
    let mut restarts = 0;
    if interrupted == Interrupted::Rerun && was_cut_off {
        let note = NoteRestart { started_at_ms, within: RESTART_WINDOW };
        let noted = ports.note_restart.ask(note, LEDGER_TIMEOUT).await.map_err(|error| error.to_string())?;
        restarts = noted.map_err(|error| error.to_string())?;
    }
    let gate = ports.gate.ask(GetDrain, GATE_TIMEOUT).await.map_err(|error| error.to_string())?;
    Ok(Found { rows, turns, gate, restarts })
}
