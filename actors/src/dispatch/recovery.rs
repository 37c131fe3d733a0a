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
    InboundId, InboundRow, InboundState, ListInbound, ListOutbound, OutboundRow, OutboundState,
};
use crate::relay::messages::{GetLink, LinkChanged, LinkId, LinkState};
use crate::settings::Interrupted;
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
/// Older replies are of no use to anyone.
const MAX_REPLY_AGE: Duration = Duration::from_hours(24);

impl DispatchActor {
    /// Writes the books anew. Until then no event is taken for new that is not.
    pub(super) fn rebuild(&mut self, ctx: &mut Context<Self>) {
        let found = read_books(self.ports.clone());
        ctx.spawn(found.into_actor(self).map(|found, actor, ctx| match found {
            Ok(Found { rows, turns, gate }) => {
                actor.hear_gate(gate);
                actor.take_rows(rows, &turns, ctx);
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

    fn take_rows(&mut self, rows: Vec<InboundRow>, turns: &[RunningTurn], ctx: &mut Context<Self>) {
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
        let question = ListInbound { states: vec![InboundState::Interrupted], after: None, limit: PAGE };
        let rows = self.ports.list_inbound.ask(question, LEDGER_PATIENCE);
        ctx.spawn(rows.into_actor(self).map(move |rows, actor, ctx| {
            let rows = rows.ok().and_then(Result::ok).unwrap_or_default();
            let last = rows.into_iter().rev().find(|row| row.session == asked.session);
            match last.and_then(Job::from_row) {
                Some((id, job)) => actor.run_again(id, job, ctx),
                None => actor.say(&asked.target, &Notice::NothingToRetry, ctx),
            }
        }));
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

/// What the books are written from.
struct Found {
    rows: Vec<InboundRow>,
    turns: Vec<RunningTurn>,
    gate: DrainView,
}

async fn read_books(ports: DispatchPorts) -> Result<Found, String> {
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
    let gate = ports.gate.ask(GetDrain, GATE_PATIENCE).await.map_err(|error| error.to_string())?;
    Ok(Found { rows, turns, gate })
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
