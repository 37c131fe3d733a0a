//! Runs one turn from its first look at the agent to the last word in the chat.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::actor::{TurnPorts, Work};
use super::delivery::Delivery;
use super::messages::{SteerError, StopCause, TurnEnded, TurnOutcome};
use super::openai;
use super::outlet::Outlet;
use super::process::{News, Output, Process};
use super::talk::{self, Opening, Said};
use super::verdict::{self, Verdict};
use crate::profile::agent::{AgentSettings, ExecSettings, ReplyForm};
use crate::profile::messages::{GetAgent, SpawnChild};
use crate::relay::action::{Action, ActionResult, allowed};
use crate::supervision::{AskError, Port};

/// How long the profile may take to say which agent it has.
const AGENT_PATIENCE: Duration = Duration::from_secs(15);
/// The same for one question.
const AGENT_RETRY: Duration = Duration::from_secs(2);
/// How long it may take to start one: a look at the disk, a fresh token, a fork.
const SPAWN_PATIENCE: Duration = Duration::from_secs(45);
/// How long an agent may take to end after it has said that it is done.
const LINGER: Duration = Duration::from_secs(10);
/// How long the pipes of an agent that has ended may take to run dry.
const DRY_PATIENCE: Duration = Duration::from_secs(2);
/// Actions of one agent under way at once.
const MAX_ACTIONS: usize = 32;

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
    let outlet = Outlet::new(&work.descriptor, delivery.clone());
    let mut turn = Turn { outlet, delivery, work, ports, verdict: Verdict::default() };
    let outcome = turn.run(&mut orders).await;
    if let TurnOutcome::Failed { notice, .. } = &outcome {
        turn.tell_chat(notice.clone(), &mut orders).await;
    }
    TurnEnded { id: turn.work.id, outcome, reply: turn.outlet.reply.text().to_owned() }
}

pub(super) struct Turn {
    pub(super) work: Work,
    pub(super) ports: TurnPorts,
    pub(super) delivery: Delivery,
    pub(super) outlet: Outlet,
    pub(super) verdict: Verdict,
}

/// A profile that hangs with the question in hand has a successor within seconds, so it is asked again.
async fn which_agent(profile: Port<GetAgent>) -> Result<Arc<AgentSettings>, AskError> {
    let deadline = Instant::now() + AGENT_PATIENCE;
    loop {
        let answer = profile.ask(GetAgent, AGENT_RETRY).await;
        if answer.as_ref().err() != Some(&AskError::Timeout) || Instant::now() > deadline {
            return answer;
        }
    }
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
        match &*agent {
            AgentSettings::Echo => self.echo(orders).await,
            AgentSettings::Exec(exec) => self.exec(exec, &agent, orders).await,
            AgentSettings::OpenAi(server) => openai::run(self, server, &agent, orders).await,
            AgentSettings::None => verdict::no_agent(),
        }
    }

    async fn echo(&mut self, orders: &mut Orders) -> TurnOutcome {
        self.outlet.reply.finish(Some(&self.work.event.text), Instant::now());
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
        let asked = self.ports.spawn.ask(spawn, SPAWN_PATIENCE);
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
        if self.verdict.too_much || self.verdict.stopped.is_some() {
            self.outlet.reply.abandon();
        } else {
            self.outlet.reply.finish(None, Instant::now());
        }
        self.let_out(orders).await;
        self.verdict.outcome()
    }

    /// Waits until the reply is out. An order to stop cuts it short.
    pub(super) async fn let_out(&mut self, orders: &mut Orders) {
        loop {
            let stop = tokio::select! {
                biased;
                () = self.outlet.drain() => return,
                cause = stopped(orders) => cause,
            };
            self.verdict.stopped.get_or_insert(stop);
            self.delivery.hurry();
            self.outlet.reply.abandon();
        }
    }

    async fn tell_chat(&mut self, notice: String, orders: &mut Orders) {
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

/// An action under way.
type Acting = Pin<Box<dyn Future<Output = (Value, ActionResult)>>>;

/// An agent while it runs.
struct Run<'a> {
    turn: &'a mut Turn,
    form: ReplyForm,
    timeout: Duration,
    process: Process,
    /// What the agent asked for and waits to hear of.
    actions: FuturesUnordered<Acting>,
    /// When an agent that has said that it is done is ended.
    linger_until: Option<Instant>,
    bad_lines: u64,
}

impl<'a> Run<'a> {
    fn new(turn: &'a mut Turn, exec: &ExecSettings, process: Process) -> Self {
        Self {
            turn,
            form: exec.reply,
            timeout: exec.timeout,
            process,
            actions: FuturesUnordered::new(),
            linger_until: None,
            bad_lines: 0,
        }
    }

    /// Until the agent has ended and everything that it said has been heard.
    async fn watch(mut self, orders: &mut Orders) {
        let begun = Instant::now();
        // A new pipe takes nothing as yet, but the queue before it does.
        self.process.tell(self.turn.work.opening());
        if self.form == ReplyForm::Text {
            self.process.close_input();
        }
        while self.turn.verdict.exit.is_none() {
            let ending = self.turn.verdict.is_ending();
            let due = self.linger_until.unwrap_or(begun + self.timeout);
            tokio::select! {
                biased;
                order = orders.recv() => self.obey(order),
                news = self.process.next() => match news {
                    News::Ended(exit) => self.turn.verdict.exit = Some(exit),
                    News::Said(said) => self.hear(said),
                },
                Some((id, result)) = self.actions.next() => self.answer(&id, &result),
                () = tokio::time::sleep_until(due.into()), if !ending => self.out_of_time(),
                () = self.turn.outlet.advance() => {}
            }
        }
        self.hear_the_rest(orders).await;
        if self.bad_lines > 0 {
            warn!(turn = %self.turn.work.id, lines = self.bad_lines, "an agent said lines that are not of the conversation");
        }
        info!(turn = %self.turn.work.id, exit = ?self.turn.verdict.exit, "an agent has ended");
    }

    /// What was said before the end may still be on its way, and so may be what was asked for.
    async fn hear_the_rest(&mut self, orders: &mut Orders) {
        let dry_at = tokio::time::Instant::now() + DRY_PATIENCE;
        while let Ok(Some(said)) = tokio::time::timeout_at(dry_at, self.process.said()).await {
            self.hear(said);
        }
        let _ = tokio::time::timeout_at(dry_at, self.process.logged()).await;
        // Nobody waits for the answers, but the ledger has to hear what became of each.
        while !self.actions.is_empty() {
            tokio::select! {
                _ = self.actions.next() => {}
                cause = stopped(orders) => self.obey(Some(Order::Stop(cause))),
            }
        }
    }

    fn obey(&mut self, order: Option<Order>) {
        match order {
            Some(Order::Stop(cause)) => {
                self.turn.verdict.stopped.get_or_insert(cause);
                self.turn.delivery.hurry();
                self.process.stop();
            }
            Some(Order::Steer(event, answer)) => {
                let steered = if self.form == ReplyForm::Text {
                    Err(SteerError::NotSteerable)
                } else if self.linger_until.is_none() && self.process.tell(talk::event(&event)) {
                    Ok(())
                } else {
                    Err(SteerError::NotReading)
                };
                // The asker may have gone.
                let _ = answer.send(steered);
            }
            // The actor is gone, and this with it.
            None => {}
        }
    }

    fn out_of_time(&mut self) {
        if self.linger_until.is_some() {
            self.turn.verdict.lingered = true;
        } else {
            self.turn.verdict.timed_out = Some(self.timeout);
        }
        self.process.stop();
    }

    fn hear(&mut self, said: Output) {
        match said {
            Output::TooMuch => {
                self.turn.verdict.too_much = true;
                self.process.stop();
            }
            Output::Text(text) if self.form == ReplyForm::Text => {
                self.turn.outlet.reply.push(&text, Instant::now());
            }
            Output::Text(lines) => lines.lines().for_each(|line| self.understand(line)),
        }
    }

    fn understand(&mut self, line: &str) {
        match talk::parse(line) {
            Said::Bad => self.bad_lines += 1,
            Said::Unknown => {}
            Said::Action { id, action } => self.act(id, action),
            // What is said after the end is not heard.
            Said::Text(_) | Said::Final(_) if self.linger_until.is_some() => {}
            Said::Text(text) => self.turn.outlet.reply.push(&text, Instant::now()),
            Said::Final(last) => {
                self.turn.outlet.reply.finish(last.as_deref(), Instant::now());
                self.linger_until = Some(Instant::now() + LINGER);
                self.close_when_answered();
            }
        }
    }

    fn act(&mut self, id: Value, action: Value) {
        if self.actions.len() >= MAX_ACTIONS {
            return self.answer(&id, &ActionResult::failed("too many actions at once"));
        }
        match self.turn.work.complete(action) {
            Ok(action) => self.actions.push(Box::pin(self.turn.delivery.clone().act(id, action))),
            Err(reason) => self.answer(&id, &ActionResult::failed(reason)),
        }
    }

    fn answer(&mut self, id: &Value, result: &ActionResult) {
        if !self.process.tell(talk::result(id, result)) {
            debug!(turn = %self.turn.work.id, "an agent does not read the answers to its actions");
        }
        self.close_when_answered();
    }

    /// An agent that is done gets the answers it waits for, and then nothing more.
    fn close_when_answered(&mut self) {
        if self.linger_until.is_some() && self.actions.is_empty() {
            self.process.close_input();
        }
    }
}

impl Work {
    /// The first line that an agent reads.
    fn opening(&self) -> String {
        talk::line(&Opening {
            turn_id: self.id,
            session_key: &self.session.text(),
            profile: self.profile.as_str(),
            attempt: self.attempt,
            event: &self.raw_event,
            history: &self.history,
            descriptor: &self.descriptor,
        })
    }

    /// An agent's action, with the chat and the tenant filled in where it left them out.
    fn complete(&self, mut action: Value) -> Result<Action, String> {
        let fields = action.as_object_mut().ok_or("an action is an object")?;
        let follows_up = fields.get("op").and_then(Value::as_str) == Some("follow_up");
        if follows_up {
            fields.entry("session_key").or_insert_with(|| self.session.text().into());
        } else {
            fields.entry("chat_id").or_insert_with(|| self.target.chat_id.as_str().into());
        }
        let mut action = Action::parse(&action).map_err(|error| error.to_string())?;
        if !allowed(action.op(), &self.descriptor) {
            return Err(format!("this chat does not support {}", action.op()));
        }
        // Of another chat we do not know the tenant.
        let here = action.chat_id().is_none_or(|chat| chat == self.target.chat_id);
        if let Some(metadata) = action.metadata_mut().filter(|_| here) {
            for (name, value) in self.target.metadata() {
                metadata.entry(name).or_insert(value);
            }
        }
        Ok(action)
    }
}
