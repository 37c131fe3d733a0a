//! The state of one turn in progress, common to all backends.

use std::time::Instant;

use super::command::{TurnCommands, stopped};
use super::delivery::ReplyDelivery;
use super::ports::TurnPorts;
use super::reply_stream::ReplyStream;
use super::verdict::{self, TurnVerdict};
use super::work::TurnWork;
use crate::profile::agent::DEFAULT_HISTORY;

/// A turn, its work and its results so far.
pub(super) struct TurnState {
    pub(super) work: TurnWork,
    pub(super) ports: TurnPorts,
    pub(super) delivery: ReplyDelivery,
    pub(super) reply_stream: ReplyStream,
    pub(super) verdict: TurnVerdict,
    /// Entries of the conversation that the agent keeps.
    pub(super) keep: usize,
}

impl TurnState {
    /// The initial state.
    pub(super) fn new(work: TurnWork, ports: TurnPorts) -> Self {
        let delivery = ReplyDelivery::new(&work, &ports);
        let reply_stream = ReplyStream::new(&work.descriptor, delivery.clone());
        Self { reply_stream, delivery, work, ports, verdict: TurnVerdict::default(), keep: DEFAULT_HISTORY }
    }

    /// The agent's text ends; `whole` if the agent finished. Waits until the reply is sent.
    pub(super) async fn end_reply(&mut self, whole: bool, commands: &mut TurnCommands) {
        let reply = &mut self.reply_stream.reply;
        match self.verdict.stopped {
            Some(cause) => {
                self.delivery.set_ending();
                reply.abandon(Some(verdict::mark_of(cause)));
            }
            None if self.verdict.too_much => reply.abandon(None),
            None if whole => reply.finish(None, Instant::now()),
            None => reply.finish_broken(Instant::now()),
        }
        self.send_rest(commands).await;
    }

    /// Waits until the reply is sent. A command to stop ends the wait.
    pub(super) async fn send_rest(&mut self, commands: &mut TurnCommands) {
        loop {
            let stop = tokio::select! {
                biased;
                () = self.reply_stream.drain() => return,
                cause = stopped(commands) => cause,
            };
            let cause = *self.verdict.stopped.get_or_insert(stop);
            self.delivery.set_ending();
            self.reply_stream.reply.abandon(Some(verdict::mark_of(cause)));
        }
    }

    /// Posts a message of the gateway itself.
    pub(super) async fn notify_chat(&mut self, notice: String, commands: &mut TurnCommands) {
        let delivery = self.delivery.clone();
        let sent = delivery.send_text(notice);
        tokio::pin!(sent);
        loop {
            tokio::select! {
                () = &mut sent => return,
                _ = stopped(commands) => self.delivery.set_ending(),
            }
        }
    }
}
