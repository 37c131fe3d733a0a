//! Runs one turn from its first look at the agent to the last word in the chat.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::actor::{TurnPorts, Work};
use super::delivery::Delivery;
use super::messages::{SteerError, StopCause, TurnEnded, TurnOutcome};
use super::openai;
use super::process::Process;
use super::reply_stream::ReplyStream;
use super::run::Run;
use super::verdict::{self, Verdict};
use crate::ledger::messages::{HistoryEntry, LoadHistory};
use crate::profile::agent::{AgentSettings, DEFAULT_HISTORY, ExecSettings};
use crate::profile::messages::{GetAgent, SpawnChild};
use crate::relay::session::SessionKey;
use caduceus_supervision::{AskError, Port};

/// How long the profile may take to say which agent it has.
const AGENT_TIMEOUT: Duration = Duration::from_secs(15);
/// The same for one question.
const AGENT_RETRY: Duration = Duration::from_secs(2);
/// How long the ledger may take to read a conversation, and how many may die over it.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(10);
const HISTORY_TRIES: u32 = 10;
/// How long it may take to start one: a look at the disk, a fresh token, a fork.
const SPAWN_TIMEOUT: Duration = Duration::from_secs(45);

/// An order to a running turn.
pub(super) enum Order {
    /// End it.
    Stop(StopCause),
    /// Hand this event to the agent.
    Steer(Arc<Value>, oneshot::Sender<Result<(), SteerError>>),
}

pub(super) type Orders = mpsc::UnboundedReceiver<Order>;

/// Runs `work`; everything said is in the ledger when it answers.
pub(super) async fn run(work: Work, ports: TurnPorts, mut orders: Orders) -> TurnEnded {
    let delivery = work.delivery(&ports);
    let reply_stream = ReplyStream::new(&work.descriptor, delivery.clone());
    let mut turn = Turn { reply_stream, delivery, work, ports, verdict: Verdict::default(), keep: DEFAULT_HISTORY };
    let mut outcome = turn.run(&mut orders).await;
    if outcome == TurnOutcome::Done && turn.reply_stream.reply.was_refused() {
        outcome = verdict::refused();
    }
    let notice = match &outcome {
        TurnOutcome::Done => None,
        TurnOutcome::Failed { notice, .. } => Some(notice.as_str()),
        TurnOutcome::Stopped(cause) => {
            turn.delivery.hurry();
            verdict::notice_of(*cause)
        }
    };
    if let Some(notice) = notice {
        turn.tell_chat(notice.to_owned(), &mut orders).await;
    }
    TurnEnded { id: turn.work.id, outcome, reply: turn.reply_stream.reply.text().to_owned(), keep: turn.keep }
}

pub(super) struct Turn {
    pub(super) work: Work,
    pub(super) ports: TurnPorts,
    pub(super) delivery: Delivery,
    pub(super) reply_stream: ReplyStream,
    pub(super) verdict: Verdict,
    /// Entries of the conversation that the agent wants.
    keep: usize,
}

/// A profile that hangs with the question in hand has a successor within seconds, so it is asked again.
async fn which_agent(profile: Port<GetAgent>) -> Result<Arc<AgentSettings>, AskError> {
    let deadline = Instant::now() + AGENT_TIMEOUT;
    loop {
        let answer = profile.ask(GetAgent, AGENT_RETRY).await;
        if answer.as_ref().err() != Some(&AskError::Timeout) || Instant::now() > deadline {
            return answer;
        }
    }
}

/// What was said before. A ledger that died with the question in hand has a successor, which is asked; a turn goes on without
/// its history rather than not at all.
async fn history(ledger: Port<LoadHistory>, session: SessionKey, limit: usize) -> Vec<HistoryEntry> {
    for _ in 0..HISTORY_TRIES {
        match ledger.ask(LoadHistory { session: session.clone(), limit }, HISTORY_TIMEOUT).await {
            Ok(Ok(history)) => return history,
            Err(AskError::Closed) => {}
            Ok(Err(error)) => {
                warn!(%error, "a turn runs without its history");
                return Vec::new();
            }
            Err(error) => {
                warn!(%error, "a turn runs without its history");
                return Vec::new();
            }
        }
    }
    warn!("ledger unavailable, the turn runs without its history");
    Vec::new()
}

impl Turn {
    async fn run(&mut self, orders: &mut Orders) -> TurnOutcome {
        let asked = which_agent(self.ports.agent.clone());
        let agent = tokio::select! {
            biased;
            cause = stopped(orders) => return TurnOutcome::Stopped(cause),
            agent = asked => agent,
        };
        let agent = match agent {
            Ok(agent) => agent,
            Err(error) => {
                warn!(turn = %self.work.id, %error, "the profile did not say which agent it has");
                return verdict::no_answer();
            }
        };
        if agent.reads_history() {
            self.keep = agent.history();
            let history = history(self.ports.history.clone(), self.work.session.clone(), self.keep);
            self.work.history = tokio::select! {
                biased;
                cause = stopped(orders) => return TurnOutcome::Stopped(cause),
                history = history => history,
            };
        }
        match &*agent {
            AgentSettings::Echo => self.echo(orders).await,
            AgentSettings::Exec(exec) => self.exec(exec, &agent, orders).await,
            AgentSettings::OpenAi(server) => openai::run(self, server, &agent, orders).await,
            AgentSettings::None => verdict::no_agent(),
        }
    }

    async fn echo(&mut self, orders: &mut Orders) -> TurnOutcome {
        self.reply_stream.reply.finish(Some(&self.work.event.text), Instant::now());
        self.let_out(orders).await;
        self.verdict.stopped.map_or(TurnOutcome::Done, TurnOutcome::Stopped)
    }

    async fn exec(&mut self, exec: &ExecSettings, agent: &Arc<AgentSettings>, orders: &mut Orders) -> TurnOutcome {
        let spawn = SpawnChild {
            agent: Arc::clone(agent),
            turn: self.work.id,
            session: self.work.session.clone(),
            attempt: self.work.attempt,
        };
        let asked = self.ports.spawn.ask(spawn, SPAWN_TIMEOUT);
        let child = tokio::select! {
            biased;
            // A child that is started all the same ends with its answer.
            cause = stopped(orders) => return TurnOutcome::Stopped(cause),
            child = asked => child,
        };
        let child = match child {
            Ok(Ok(child)) => child,
            Ok(Err(error)) => {
                warn!(turn = %self.work.id, %error, "the agent was not started");
                return verdict::not_started(&error);
            }
            Err(error) => {
                warn!(turn = %self.work.id, %error, "the profile did not start the agent");
                return verdict::no_answer();
            }
        };
        match Process::new(child, self.work.id, self.ports.redactor.clone()) {
            Ok(process) => Run::new(self, exec, process).watch(orders).await,
            Err(error) => {
                warn!(turn = %self.work.id, %error, "the agent's pipes cannot be served");
                return verdict::no_answer();
            }
        }
        let whole = self.verdict.outcome() == TurnOutcome::Done;
        self.end_reply(whole, orders).await;
        self.verdict.outcome()
    }

    /// The agent says nothing more; `whole` if it had come to its end. Waits until the reply is out.
    pub(super) async fn end_reply(&mut self, whole: bool, orders: &mut Orders) {
        let reply = &mut self.reply_stream.reply;
        match self.verdict.stopped {
            Some(cause) => {
                self.delivery.hurry();
                reply.abandon(Some(verdict::mark_of(cause)));
            }
            None if self.verdict.too_much => reply.abandon(None),
            None if whole => reply.finish(None, Instant::now()),
            None => reply.finish_broken(Instant::now()),
        }
        self.let_out(orders).await;
    }

    /// Waits until the reply is out. An order to stop cuts it short.
    async fn let_out(&mut self, orders: &mut Orders) {
        loop {
            let stop = tokio::select! {
                biased;
                () = self.reply_stream.drain() => return,
                cause = stopped(orders) => cause,
            };
            let cause = *self.verdict.stopped.get_or_insert(stop);
            self.delivery.hurry();
            self.reply_stream.reply.abandon(Some(verdict::mark_of(cause)));
        }
    }

    /// Posts a message of the gateway's own.
    pub(super) async fn tell_chat(&mut self, notice: String, orders: &mut Orders) {
        let delivery = self.delivery.clone();
        let told = delivery.say(notice);
        tokio::pin!(told);
        loop {
            tokio::select! {
                () = &mut told => return,
                _ = stopped(orders) => self.delivery.hurry(),
            }
        }
    }
}

/// Waits for an order to stop; whoever wants to steer meanwhile hears that nobody reads.
pub(super) async fn stopped(orders: &mut Orders) -> StopCause {
    loop {
        match orders.recv().await {
            Some(Order::Stop(cause)) => return cause,
            // The asker may have gone.
            Some(Order::Steer(_, answer)) => {
                let _ = answer.send(Err(SteerError::NotReading));
            }
            None => pending().await,
        }
    }
}
