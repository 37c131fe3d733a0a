//! What a dispatcher does when it comes up, and when a link does: the books from the ledger, and replies that never arrived.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tracing::{error, info, warn};

use super::actor::DispatchActor;
use super::event::Job;
use super::messages::ReplyLeft;
use super::notice::Notice;
use super::outbox;
use super::ports::{DispatchPorts, GATE_PATIENCE, LEDGER_PATIENCE};
use crate::drain::messages::{DrainView, GetDrain, ListTurns, Origin, RunningTurn};
use crate::ledger::messages::{
    InboundId, InboundRow, InboundState, LastInterrupted, ListInbound, ListOutbound, NoteRestart, OutboundRow,
    OutboundState,
};
use crate::relay::messages::{GetLink, LinkChanged, LinkId, LinkState};
use crate::settings::Interrupted;
use crate::turn::guard;
use crate::turn::id::TurnId;

/// Pause before the ledger is asked again after it did not answer.
const PAUSE: Duration = Duration::from_millis(500);
/// How often adopted turns are looked after; far longer than the way from a permit to the start of its turn.
const ADOPTED_LOOK: Duration = Duration::from_secs(1);
/// Pause before a reply that could not be sent is tried again, if its link is up.
const REPLY_PAUSE: Duration = Duration::from_secs(1);
/// Rows asked for at once.
const PAGE: usize = 10_000;
/// Most times that one event is run, or one reply handed to a link.
const MAX_ATTEMPTS: u32 = 3;
/// Most starts within [`RESTART_WINDOW`] that find turns cut off and run them again: more is a home that its turns bring down.
const MAX_RESTARTS: usize = 5;
const RESTART_WINDOW: Duration = Duration::from_mins(2);
/// How long agents that a killed gateway left behind are looked for.
const STRAYS_PATIENCE: Duration = Duration::from_secs(3);
/// Older replies are of no use to anyone.
const MAX_REPLY_AGE: Duration = Duration::from_hours(24);

impl DispatchActor {
    /// Writes the books anew. Until then no event is taken for new that is not.
    pub(super) fn rebuild(&mut self, ctx: &mut Context<Self>) {
        let found = read_books(self.ports.clone(), self.settings.interrupted, self.settings.process_started_ms);
        ctx.spawn(found.into_actor(self).map(|found, actor, ctx| match found {
            Ok(books) => {
                actor.take_rows(books, ctx);
                actor.open_books(ctx);
                actor.life.ready();
                for link in actor.ports.links.keys().cloned().collect::<Vec<_>>() {
                    actor.catch_up(link, ctx);
                }
                actor.announce_start(ctx);
            }
            Err(error) => {
                warn!(%error, "the books cannot be read yet");
                ctx.run_later(PAUSE, Self::rebuild);
            }
        }));
    }

    /// How the gate was when a new dispatcher asked, unless it has moved since: its news came first then.
    fn hear_gate(&mut self, gate: DrainView) {
        if !self.gate_heard {
            self.draining = gate.draining;
            self.stopping = gate.stopping;
            self.plan.gate(gate.draining, gate.profiles);
        }
    }

    fn take_rows(&mut self, books: Books, ctx: &mut Context<Self>) {
        let Books { rows, turns, gate, restarts } = books;
        self.hear_gate(gate);
        if restarts > MAX_RESTARTS {
            error!(
                restarts,
                "this process starts over and over with turns cut off; they are not run again by themselves"
            );
            self.settings.interrupted = Interrupted::Ask;
        }
        let (mut waiting, mut cut_off) = (0, 0);
        for row in rows {
            let (id, state, turn) = (row.id, row.state, row.turn);
            let Some((id, job)) = Job::from_row(row) else {
                error!(row = id.0, "an event in the ledger no longer reads; it is given up");
                self.mark(id, InboundState::Dead, None, Some("unreadable".to_owned()), ctx);
                continue;
            };
            let runs = |running: &&RunningTurn| Some(running.ticket.id) == turn && !self.gone_early(running.ticket.id);
            let running = turns.iter().find(runs);
            match (state, running) {
                (InboundState::Received, Some(running)) if self.plan.steered(running.ticket.id, id) => {
                    self.books.insert(id, job);
                }
                (InboundState::Running, Some(running)) => {
                    self.plan.adopted(running.ticket.id, id, &job.session);
                    self.adopt(running.ticket.id, running.stop.clone());
                    self.adopted.push(running.ticket.id);
                    self.books.insert(id, job);
                }
                (InboundState::Running, None) => {
                    cut_off += 1;
                    self.cut_off(id, job, ctx);
                }
                _ => {
                    waiting += 1;
                    self.run_again(id, job, ctx);
                }
            }
        }
        if waiting + cut_off > 0 {
            info!(waiting, cut_off, "events from before are taken up");
        }
        if !self.adopted.is_empty() {
            ctx.run_later(ADOPTED_LOOK, Self::look_after_adopted);
        }
    }

    /// Finds adopted turns of which nothing will be heard: those that the former dispatcher had a permit for and never
    /// started, and those whose end it died with.
    fn look_after_adopted(&mut self, ctx: &mut Context<Self>) {
        self.adopted.retain(|turn| self.plan.event_of(*turn).is_some());
        if self.adopted.is_empty() {
            return;
        }
        let turns = self.ports.turns.ask(ListTurns, GATE_PATIENCE);
        ctx.spawn(turns.into_actor(self).map(|turns, actor, ctx| {
            if let Ok(turns) = turns {
                actor.let_go(&turns, ctx);
            }
            ctx.run_later(ADOPTED_LOOK, Self::look_after_adopted);
        }));
    }

    fn let_go(&mut self, turns: &[RunningTurn], ctx: &mut Context<Self>) {
        for turn in std::mem::take(&mut self.adopted) {
            let Some(event) = self.plan.event_of(turn) else { continue };
            match turns.iter().find(|running| running.ticket.id == turn) {
                Some(RunningTurn { stop: Some(stop), .. }) => {
                    self.adopt(turn, Some(stop.clone()));
                    self.adopted.push(turn);
                }
                Some(RunningTurn { stop: None, .. }) => {
                    warn!(%turn, "a turn was never started; its event runs anew");
                    if let Some(job) = self.forget(turn, event, ctx) {
                        self.run_again(event, job, ctx);
                    }
                }
                // A turn counts until its end was heard.
                None => {
                    warn!(%turn, "a turn is gone without a word");
                    if let Some(job) = self.forget(turn, event, ctx) {
                        self.cut_off(event, job, ctx);
                    }
                }
            }
        }
    }

    fn forget(&mut self, turn: TurnId, event: InboundId, ctx: &mut Context<Self>) -> Option<Job> {
        let job = self.books.remove(&event);
        self.abandon(turn);
        for steered in self.plan.take_steered(turn) {
            if let Some(job) = self.books.remove(&steered) {
                self.run_again(steered, job, ctx);
            }
        }
        let steps = self.plan.ended(turn);
        self.carry_out(steps, ctx);
        job
    }

    /// A turn that a crash cut off.
    fn cut_off(&mut self, id: InboundId, job: Job, ctx: &mut Context<Self>) {
        let mark = |state, note: &str| (state, Some(note.to_owned()));
        let (state, note) = match self.settings.interrupted {
            Interrupted::Rerun if job.attempts < MAX_ATTEMPTS => {
                return self.run_again(id, Job { origin: Origin::Internal, ..job }, ctx);
            }
            Interrupted::Rerun => {
                self.say(&job.target, &Notice::TurnBroke, ctx);
                mark(InboundState::Dead, "too many attempts")
            }
            Interrupted::Ask => {
                self.say(&job.target, &Notice::Interrupted, ctx);
                mark(InboundState::Interrupted, "restart")
            }
            Interrupted::Drop => mark(InboundState::Interrupted, "restart, dropped"),
        };
        self.mark(id, state, None, note, ctx);
    }

    fn run_again(&mut self, id: InboundId, job: Job, ctx: &mut Context<Self>) {
        let (key, origin) = (job.session.clone(), job.origin);
        self.books.insert(id, job);
        let steps = self.plan.restored(id, &key, origin);
        self.carry_out(steps, ctx);
    }

    /// Runs the last interrupted event of a session again.
    pub(super) fn retry(&mut self, asked: Job, ctx: &mut Context<Self>) {
        let question = LastInterrupted { session: asked.session.clone() };
        let found = self.ports.last_interrupted.ask(question, LEDGER_PATIENCE);
        ctx.spawn(found.into_actor(self).map(move |found, actor, ctx| match found {
            Ok(Ok(row)) => match row.and_then(Job::from_row) {
                Some((id, job)) => {
                    // The command is done with in the ledger, so from here on the event is what must not be lost.
                    actor.mark(id, InboundState::Received, None, Some("retried".to_owned()), ctx);
                    actor.run_again(id, job, ctx);
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

    /// Sends what waits for `link`, if it is up. One round at a time, or a reply would be sent by two.
    fn catch_up(&mut self, link: LinkId, ctx: &mut Context<Self>) {
        if let Some(more) = self.catching_up.get_mut(&link) {
            *more = true;
            return;
        }
        self.catching_up.insert(link.clone(), false);
        let resent = resend_all(self.ports.clone(), link.clone(), self.settings.process_started_ms);
        ctx.spawn(resent.into_actor(self).map(move |(), actor, ctx| {
            if actor.catching_up.remove(&link) == Some(true) {
                actor.catch_up(link, ctx);
            }
        }));
    }
}

impl Handler<LinkChanged> for DispatchActor {
    type Result = ();

    fn handle(&mut self, news: LinkChanged, ctx: &mut Self::Context) {
        if news.state == LinkState::Connected {
            self.catch_up(news.link, ctx);
            self.announce_start(ctx);
        }
        self.touch();
    }
}

impl Handler<ReplyLeft> for DispatchActor {
    type Result = ();

    // Between its last word of the link and this the link may have come up. Not at once, or a link that takes nothing would be
    // asked as fast as the disk writes.
    fn handle(&mut self, news: ReplyLeft, ctx: &mut Self::Context) {
        ctx.run_later(REPLY_PAUSE, |actor, ctx| actor.catch_up(news.link, ctx));
    }
}

/// What a dispatcher finds when it comes up.
struct Books {
    /// Events that are not done with.
    rows: Vec<InboundRow>,
    /// Turns that run, of a former dispatcher.
    turns: Vec<RunningTurn>,
    /// How the gate is.
    gate: DrainView,
    /// Starts of late, this one included, that found turns cut off; counted where those run again.
    restarts: usize,
}

async fn read_books(ports: DispatchPorts, interrupted: Interrupted, started_at_ms: i64) -> Result<Books, String> {
    let states = vec![InboundState::Received, InboundState::Running, InboundState::Held];
    let mut rows: Vec<InboundRow> = Vec::new();
    loop {
        let after = rows.last().map(|row| row.id);
        let question = ListInbound { states: states.clone(), after, limit: PAGE };
        let page = ports.list_inbound.ask(question, LEDGER_PATIENCE).await.map_err(|error| error.to_string())?;
        let page = page.map_err(|error| error.to_string())?;
        let last = page.len() < PAGE;
        rows.extend(page);
        if last {
            break;
        }
    }
    let turns = ports.turns.ask(ListTurns, GATE_PATIENCE).await.map_err(|error| error.to_string())?;
    let runs = |turn: TurnId| turns.iter().any(|running| running.ticket.id == turn);
    let cut_off = |row: &InboundRow| row.state == InboundState::Running && !row.turn.is_some_and(runs);
    let strays: Vec<TurnId> = rows.iter().filter(|row| cut_off(row)).filter_map(|row| row.turn).collect();
    if !strays.is_empty() {
        // Their guards end with the gateway that was killed; should one have been killed too, its agent must not go on beside
        // the one that does the same work again.
        let ended = tokio::task::spawn_blocking(move || guard::end_turns(&strays, STRAYS_PATIENCE));
        ended.await.map_err(|error| error.to_string())?;
    }
    let mut restarts = 0;
    if interrupted == Interrupted::Rerun && rows.iter().any(cut_off) {
        let note = NoteRestart { started_at_ms, within: RESTART_WINDOW };
        let noted = ports.note_restart.ask(note, LEDGER_PATIENCE).await.map_err(|error| error.to_string())?;
        restarts = noted.map_err(|error| error.to_string())?;
    }
    let gate = ports.gate.ask(GetDrain, GATE_PATIENCE).await.map_err(|error| error.to_string())?;
    Ok(Books { rows, turns, gate, restarts })
}

async fn resend_all(ports: DispatchPorts, link: LinkId, process_started_ms: i64) {
    let Some(way) = ports.links.get(&link) else { return };
    let up = way.view.ask(GetLink, GATE_PATIENCE).await.is_ok_and(|view| view.state == LinkState::Connected);
    if !up {
        return;
    }
    let states = vec![OutboundState::Pending, OutboundState::Sending, OutboundState::Ambiguous];
    let question = ListOutbound { states, after: None, limit: PAGE };
    let rows = match ports.list_outbound.ask(question, LEDGER_PATIENCE).await {
        Ok(Ok(rows)) => rows,
        Ok(Err(error)) => return warn!(%error, "replies that wait for the link cannot be read"),
        Err(error) => return warn!(%error, "replies that wait for the link cannot be read"),
    };
    for row in rows.into_iter().filter(|row| row.target.link == link) {
        // One that is being sent by this very process has its answer to come.
        if row.state == OutboundState::Sending && row.recorded_at_ms >= process_started_ms {
            continue;
        }
        if is_given_up(&row) {
            outbox::give_up(&ports, row.id).await;
        } else if !outbox::resend(&ports, row).await {
            // The next time that it comes up begins a round of its own.
            return;
        }
    }
}

fn is_given_up(row: &OutboundRow) -> bool {
    let age = jiff::Timestamp::now().as_millisecond().saturating_sub(row.recorded_at_ms);
    row.attempts > MAX_ATTEMPTS || u128::try_from(age).is_ok_and(|age| age > MAX_REPLY_AGE.as_millis())
}
