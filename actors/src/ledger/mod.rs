//! The inbox and outbox on disk.
//!
//! [`LedgerActor`] passes its messages to the [`LedgerWriter`], whose thread alone uses the database, and owns
//! nothing itself. Dispatch, turns and HTTP send it messages; it notifies the status. A restart loses nothing: the writer outlives
//! it, the new incarnation adopts the writer, and pending answers reach their callers past the old one.
//!
//! Thread, jobs and operations are for any database, behind the trait `Store`. The files of `sqlite` alone use SQLite.

mod belonging; // What belongs to a person.
#[cfg(test)]
pub(crate) mod composed;
mod dropping;
mod events;
mod failure;
mod handle;
mod jobs;
mod notices;
mod operators;
mod repeats;
mod replies;
mod retention;
mod retrying;
mod settle;
mod shared;
mod sqlite;
mod states;
mod store;
mod work;
mod writer;

#[cfg(test)]
mod tests;

use std::time::Duration;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, MessageResult};

pub use handle::{CloseError, LedgerWriter};
pub use sqlite::{OpenError, SqliteStore, peek, place};

use crate::status::changes::StatusChanges;
use caduceus_contract::messages::ledger::{GetLedger, LedgerError};
use caduceus_contract::messages::ledger_control::{CheckLedger, ClearLog};
use caduceus_supervision::{ExitReason, Fatal, Incarnation};
use store::Store;
pub use work::Work;

/// Interval of checks whether the thread hangs or has ended; no message reports either.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The actor of the ledger in the tree.
#[derive(Debug)]
pub struct LedgerActor<S: Store> {
    writer: LedgerWriter<S>,
    incarnation: Incarnation,
    status: StatusChanges,
    /// The error that was last reported to the status.
    write_error: Option<String>,
}

impl<S: Store> LedgerActor<S> {
    /// An incarnation that adopts `writer`.
    #[must_use]
    pub fn new(writer: LedgerWriter<S>, incarnation: Incarnation, status: StatusChanges) -> Self {
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

impl<S: Store> Actor for LedgerActor<S> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let status = self.status.clone();
        self.writer.adopt(self.incarnation.generation(), move || status.report());
        ctx.run_interval(CHECK_INTERVAL, Self::check);
        self.incarnation.ready();
    }
}

impl<M, S> Handler<M> for LedgerActor<S>
where
    S: Store,
    M: Work + Message<Result = Result<<M as Work>::Answer, LedgerError>>,
{
    type Result = AnsweredByWriter<M, S>;

    fn handle(&mut self, message: M, _: &mut Self::Context) -> Self::Result {
        AnsweredByWriter { writer: self.writer.clone(), work: message }
    }
}

/// The answer to a message, which the writer's thread sends to the caller itself: no task of this thread waits for it.
#[derive(Debug)]
pub struct AnsweredByWriter<M, S: Store> {
    writer: LedgerWriter<S>,
    work: M,
}

impl<M, S> MessageResponse<LedgerActor<S>, M> for AnsweredByWriter<M, S>
where
    S: Store,
    M: Work + Message<Result = Result<<M as Work>::Answer, LedgerError>>,
{
    fn handle(self, _: &mut Context<LedgerActor<S>>, to: Option<OneshotSender<M::Result>>) {
        self.writer.ask_for(self.work, to);
    }
}

impl<S: Store> Handler<GetLedger> for LedgerActor<S> {
    type Result = MessageResult<GetLedger>;

    fn handle(&mut self, _: GetLedger, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.writer.view())
    }
}

impl<S: Store> Handler<CheckLedger> for LedgerActor<S> {
    type Result = MessageResult<CheckLedger>;

    fn handle(&mut self, check: CheckLedger, _: &mut Self::Context) -> Self::Result {
        if check == CheckLedger::Begin {
            self.writer.check_again();
        }
        MessageResult(self.writer.check())
    }
}

impl<S: Store> Handler<ClearLog> for LedgerActor<S> {
    type Result = ClearedByWriter<S>;

    fn handle(&mut self, _: ClearLog, _: &mut Self::Context) -> Self::Result {
        ClearedByWriter(self.writer.clone())
    }
}

/// As [`AnsweredByWriter`], of a log that is cleared between two transactions.
#[derive(Debug)]
pub struct ClearedByWriter<S: Store>(LedgerWriter<S>);

impl<S: Store> MessageResponse<LedgerActor<S>, ClearLog> for ClearedByWriter<S> {
    fn handle(self, _: &mut Context<LedgerActor<S>>, to: Option<OneshotSender<<ClearLog as Message>::Result>>) {
        self.0.clear_log_for(to);
    }
}
