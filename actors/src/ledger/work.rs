//! The interface of the work in a transaction, and what every database has in common in it.

use super::failure::{Failure, StoreError};
use super::repeats::{LastReplies, ReplyKey};
use super::states::{RowCounts, inbound_code, outbound_code};
use super::store::{StoreTransaction, Wrote};
use caduceus_contract::messages::batch::Batch;
use caduceus_contract::messages::ledger::{InboundState, LedgerError, OutboundState};

/// Work that the writer's thread does inside a transaction shared with other work.
pub trait Work: Send + 'static {
    /// Its answer, once the transaction is on disk.
    type Answer: Send + 'static;

    /// Does the work.
    ///
    /// # Errors
    /// A failure that is answered concerns this work alone; one of the store may end the transaction for all.
    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<Self::Answer, Failure>;

    /// Number of operations in it.
    fn operations(&self) -> usize {
        1
    }

    /// Whether it says what has happened. Such work is never refused because the disk accepts no writes: the thread keeps it and does it
    /// before any later work.
    fn is_owed(&self) -> bool {
        false
    }
}

/// Does `work` for one caller.
///
/// # Errors
/// The transaction has failed for all.
pub(super) fn run_for_caller<W: Work, T: StoreTransaction>(
    work: &W,
    ledger: &mut LedgerTransaction<'_, T>,
) -> Result<Result<W::Answer, LedgerError>, StoreError> {
    match work.run(ledger) {
        Ok(answer) => Ok(Ok(answer)),
        Err(Failure::Answered(error)) => Ok(Err(error)),
        Err(Failure::Store(error)) if error.ends_transaction() || ledger.store.has_ended() => Err(error),
        Err(Failure::Store(error)) => Ok(Err(LedgerError::Unwritable(error.to_string()))),
    }
}

impl<W: Work> Work for Batch<W> {
    type Answer = Vec<Result<W::Answer, LedgerError>>;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<Self::Answer, Failure> {
        self.0.iter().map(|work| Ok(run_for_caller(work, ledger)?)).collect()
    }

    fn operations(&self) -> usize {
        self.0.len()
    }

    fn is_owed(&self) -> bool {
        self.0.iter().all(W::is_owed)
    }
}

/// The ledger inside one transaction. Its counts apply once the transaction is on disk.
#[derive(Debug)]
pub struct LedgerTransaction<'a, T> {
    pub(super) store: T,
    replies: &'a mut LastReplies,
    delta: RowCounts,
}

impl<'a, T: StoreTransaction> LedgerTransaction<'a, T> {
    pub(super) fn new(store: T, replies: &'a mut LastReplies) -> Self {
        Self { store, replies, delta: RowCounts::default() }
    }

    /// Writes it to disk. Returns the change of the number of rows as well.
    pub(super) fn commit(self) -> Result<(Wrote, RowCounts), StoreError> {
        Ok((self.store.commit()?, self.delta))
    }

    /// Counts an event that is recorded (no `from`) or marked, in its new state.
    pub(super) fn event_moved(&mut self, from: Option<InboundState>, to: InboundState) {
        moved(&mut self.delta.inbound, from.map(inbound_code), inbound_code(to));
    }

    /// As [`LedgerTransaction::event_moved`], for a reply.
    pub(super) fn reply_moved(&mut self, from: Option<OutboundState>, to: OutboundState) {
        moved(&mut self.delta.outbound, from.map(outbound_code), outbound_code(to));
    }

    /// Counts an event or a reply that is recorded.
    pub(super) fn written(&mut self) {
        self.delta.written += 1;
    }

    /// The row of a reply that was recorded a short time ago.
    pub(super) fn row_of_reply(&self, reply: ReplyKey) -> Option<i64> {
        self.replies.row(reply)
    }

    /// A reply is recorded in this row.
    pub(super) fn add_reply(&mut self, reply: ReplyKey, row: i64) {
        self.replies.insert(reply, row);
    }
}

fn moved(counts: &mut [i64], from: Option<usize>, to: usize) {
    for (state, change) in from.map(|from| (from, -1)).into_iter().chain([(to, 1)]) {
        counts[state] += change;
    }
}
