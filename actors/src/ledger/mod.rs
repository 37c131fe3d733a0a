//! The inbox and outbox on disk.
//!
//! [`LedgerActor`] passes its messages to the [`LedgerWriter`], whose thread alone uses the database, and owns
//! nothing itself. Dispatch, turns and HTTP send it messages; it notifies the status. A restart loses nothing: the writer outlives
//! it, the new incarnation adopts the writer, and pending answers reach their callers past the old one.

mod duplicates;
mod file_check; // Whether the files are still at their paths.
mod history;
mod inbound;
mod jobs;
mod loading;
mod marks;
mod marks_check;
mod memory;
mod migration;
mod open;
mod open_rows;
mod outbound;
pub mod peek;
pub mod place;
mod refusals;
mod repeats;
mod restarts;
mod retention;
mod row;
mod schema;
mod sessions;
mod settle;
mod shared;
mod states;
mod store;
mod unread;
mod writer;

#[cfg(test)]
mod tests;

use std::time::Duration;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, MessageResult};

pub use open::OpenError;
pub use writer::{CloseError, LedgerWriter};

use crate::status::changes::StatusChanges;
use caduceus_contract::messages::ledger::{GetLedger, LedgerError};
use caduceus_supervision::{ExitReason, Fatal, Incarnation};
use store::Work;

/// Interval of checks whether the thread hangs or has ended; no message reports either.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The actor of the ledger in the tree.
#[derive(Debug)]
pub struct LedgerActor {
    writer: LedgerWriter,
    incarnation: Incarnation,
    status: StatusChanges,
    /// The error that was last reported to the status.
    write_error: Option<String>,
}

impl LedgerActor {
    /// An incarnation that adopts `writer`.
    #[must_use]
    pub fn new(writer: LedgerWriter, incarnation: Incarnation, status: StatusChanges) -> Self {
        Self { writer, incarnation, status, write_error: None }
    }

    fn check(&mut self, ctx: &mut Context<Self>) {
        let write_error = self.writer.view().write_error;
        if write_error != self.write_error {
            self.write_error = write_error;
            self.status.report();
        }
        if self.writer.is_lost() {
            let detail = "the thread that writes the ledger has ended".to_owned();
            self.incarnation.end_with(ExitReason::Fatal(Fatal { code: "ledger_lost", detail }));
            ctx.stop();
        }
    }
}

impl Actor for LedgerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let status = self.status.clone();
        self.writer.adopt(self.incarnation.generation(), move || status.report());
        ctx.run_interval(CHECK_INTERVAL, Self::check);
        self.incarnation.ready();
    }
}

impl<M> Handler<M> for LedgerActor
where
    M: Work + Message<Result = Result<<M as Work>::Answer, LedgerError>>,
{
    type Result = AnsweredByWriter<M>;

    fn handle(&mut self, message: M, _: &mut Self::Context) -> Self::Result {
        AnsweredByWriter { writer: self.writer.clone(), work: message }
    }
}

/// The answer to a message, which the writer's thread sends to the caller itself: no task of this thread waits for it.
#[derive(Debug)]
pub struct AnsweredByWriter<M> {
    writer: LedgerWriter,
    work: M,
}

impl<M> MessageResponse<LedgerActor, M> for AnsweredByWriter<M>
where
    M: Work + Message<Result = Result<<M as Work>::Answer, LedgerError>>,
{
    fn handle(self, _: &mut Context<LedgerActor>, to: Option<OneshotSender<M::Result>>) {
        self.writer.ask_for(self.work, to);
    }
}

impl Handler<GetLedger> for LedgerActor {
    type Result = MessageResult<GetLedger>;

    fn handle(&mut self, _: GetLedger, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.writer.view())
    }
}
