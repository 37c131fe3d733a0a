//! An agent that is a process, while it runs: its output becomes reply and actions; events and results become its input.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tracing::{debug, info, warn};

use super::command::{TurnCommand, TurnCommands, stopped};
use super::process::{AgentProcess, Output, ProcessEvent};
use super::protocol::{self, AgentLine, TurnOpening};
use super::state::TurnState;
use super::verdict::NoReply;
use super::work::TurnWork;
use crate::profile::agent::{ExecSettings, ReplyForm};
use caduceus_contract::messages::turn::SteerError;
use caduceus_contract::wire::action::{Action, ActionResult, allowed};

/// How long an agent may run after it has reported its end.
const LINGER: Duration = Duration::from_secs(10);
/// How long the pipes of an ended agent may take to drain.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Concurrent actions of one agent.
const MAX_ACTIONS: usize = 32;

/// A running action.
type RunningAction = Pin<Box<dyn Future<Output = (Value, ActionResult)>>>;

/// An agent while it runs.
pub(super) struct AgentRun<'a> {
    turn: &'a mut TurnState,
    form: ReplyForm,
    timeout: Duration,
    process: AgentProcess,
    /// The actions whose results the agent waits for.
    actions: FuturesUnordered<RunningAction>,
    /// The time at which an agent that has reported its end is ended.
    linger_until: Option<Instant>,
    /// Whether it requested an action in the chat, which can be the whole answer.
    acted: bool,
    bad_lines: u64,
}

impl<'a> AgentRun<'a> {
    pub(super) fn new(turn: &'a mut TurnState, exec: &ExecSettings, process: AgentProcess) -> Self {
        Self {
            turn,
            form: exec.reply,
            timeout: exec.timeout,
            process,
            actions: FuturesUnordered::new(),
            linger_until: None,
            acted: false,
            bad_lines: 0,
        }
    }

    /// Until the agent has ended and all its output has been handled.
    pub(super) async fn watch(mut self, commands: &mut TurnCommands) {
        let begun = Instant::now();
        // A new pipe accepts nothing yet, but the queue before it does.
        self.process.tell(self.turn.work.opening());
        if self.form == ReplyForm::Text {
            self.process.close_input();
        }
        while self.turn.verdict.exit.is_none() {
            let ending = self.turn.verdict.is_ending();
            let due = self.linger_until.unwrap_or(begun + self.timeout);
            tokio::select! {
                biased;
                command = commands.recv() => self.carry_out(command),
                event = self.process.next() => match event {
                    ProcessEvent::Ended(exit) => self.turn.verdict.exit = Some(exit),
                    ProcessEvent::Wrote(piece) => self.take_output(piece),
                },
                Some((id, result)) = self.actions.next() => self.answer(&id, &result),
                () = tokio::time::sleep_until(due.into()), if !ending => self.handle_timeout(),
                () = self.turn.reply_stream.advance() => {}
            }
        }
        self.drain_output(commands).await;
        self.turn.verdict.no_reply = self.missing_reply();
        if self.bad_lines > 0 {
            warn!(turn = %self.turn.work.id, lines = self.bad_lines, "agent wrote lines outside the protocol");
        }
        info!(turn = %self.turn.work.id, exit = ?self.turn.verdict.exit, "agent ended");
    }

    /// Output before the end may still be in the queue, and so may requested actions.
    async fn drain_output(&mut self, commands: &mut TurnCommands) {
        let drain_until = tokio::time::Instant::now() + DRAIN_TIMEOUT;
        while let Ok(Some(piece)) = tokio::time::timeout_at(drain_until, self.process.next_output()).await {
            self.take_output(piece);
        }
        let _ = tokio::time::timeout_at(drain_until, self.process.logged()).await;
        // The agent needs no answers, but the ledger has to record the result of each.
        while !self.actions.is_empty() {
            tokio::select! {
                _ = self.actions.next() => {}
                cause = stopped(commands) => self.carry_out(Some(TurnCommand::Stop(cause))),
            }
        }
    }

    /// An agent with the protocol can end its reply without text, and answer by actions alone; one without it can do neither.
    fn missing_reply(&self) -> Option<NoReply> {
        if self.acted || self.linger_until.is_some() || !self.turn.reply_stream.reply.text().is_empty() {
            return None;
        }
        Some(if self.bad_lines > 0 { NoReply::UnparseableOutput } else { NoReply::EmptyReply })
    }

    fn carry_out(&mut self, command: Option<TurnCommand>) {
        match command {
            Some(TurnCommand::Stop(cause)) => {
                self.turn.verdict.stopped.get_or_insert(cause);
                self.turn.delivery.set_ending();
                self.process.stop();
            }
            Some(TurnCommand::Steer(event, answer)) => {
                let steered = if self.form == ReplyForm::Text {
                    Err(SteerError::NotSteerable)
                } else if self.linger_until.is_none() && self.process.tell(protocol::event(&event)) {
                    Ok(())
                } else {
                    Err(SteerError::NotReading)
                };
                // The caller may have timed out.
                let _ = answer.send(steered);
            }
            // The actor has ended, and this is about to be dropped.
            None => {}
        }
    }

    fn handle_timeout(&mut self) {
        if self.linger_until.is_some() {
            self.turn.verdict.lingered = true;
        } else {
            self.turn.verdict.timed_out = Some(self.timeout);
        }
        self.process.stop();
    }

    fn take_output(&mut self, piece: Output) {
        match piece {
            Output::TooMuch => {
                self.turn.verdict.too_much = true;
                self.process.stop();
            }
            Output::Text(text) if self.form == ReplyForm::Text => {
                self.turn.reply_stream.reply.push(&text, Instant::now());
            }
            Output::Text(lines) => lines.lines().for_each(|line| self.handle_line(line)),
        }
    }

    fn handle_line(&mut self, line: &str) {
        match protocol::parse(line) {
            AgentLine::Bad => self.bad_lines += 1,
            AgentLine::Unknown => {}
            AgentLine::Action { id, action } => self.act(id, action),
            // Output after the end is dropped.
            AgentLine::Text(_) | AgentLine::Final(_) if self.linger_until.is_some() => {}
            AgentLine::Text(text) => self.turn.reply_stream.reply.push(&text, Instant::now()),
            AgentLine::Final(last) => {
                self.turn.reply_stream.reply.finish(last.as_deref(), Instant::now());
                self.linger_until = Some(Instant::now() + LINGER);
                self.close_when_answered();
            }
        }
    }

    fn act(&mut self, id: Value, action: Value) {
        self.acted = true;
        if self.actions.len() >= MAX_ACTIONS {
            return self.answer(&id, &ActionResult::failed("too many actions at once"));
        }
        match self.turn.work.complete(action) {
            Ok(action) => self.actions.push(Box::pin(self.turn.delivery.clone().act(id, action))),
            Err(reason) => self.answer(&id, &ActionResult::failed(reason)),
        }
    }

    fn answer(&mut self, id: &Value, result: &ActionResult) {
        if !self.process.tell(protocol::result(id, result)) {
            debug!(turn = %self.turn.work.id, "agent does not read the answers to its actions");
        }
        self.close_when_answered();
    }

    /// An agent at its end receives the answers it waits for, and then nothing more.
    fn close_when_answered(&mut self) {
        if self.linger_until.is_some() && self.actions.is_empty() {
            self.process.close_input();
        }
    }
}

impl TurnWork {
    /// The first line for an agent.
    fn opening(&self) -> String {
        protocol::line(&TurnOpening {
            turn_id: self.id,
            session_key: &self.session.text(),
            profile: self.profile.as_str(),
            attempt: self.attempt,
            event: &self.raw_event,
            history: &self.history,
            descriptor: &self.descriptor,
        })
    }

    /// An agent's action, with the chat and the tenant filled in if they are missing.
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
        // The tenant of another chat is unknown here.
        let here = action.chat_id().is_none_or(|chat| chat == self.target.chat_id);
        if let Some(metadata) = action.metadata_mut().filter(|_| here) {
            for (name, value) in self.target.metadata() {
                metadata.entry(name).or_insert(value);
            }
        }
        Ok(action)
    }
}
