//! Several operations of the ledger in one message.

use actix::Message;

use super::ledger::LedgerError;

/// Several operations of one kind, in one message and one transaction. Each has an answer of its own: one that fails alone does not
/// affect the others.
#[derive(Debug, Clone)]
pub struct Batch<M>(pub Vec<M>);

impl<M, T> Message for Batch<M>
where
    M: Message<Result = Result<T, LedgerError>> + 'static,
    T: 'static,
{
    type Result = Result<Vec<Result<T, LedgerError>>, LedgerError>;
}
