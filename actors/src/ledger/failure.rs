//! Why an operation or a transaction of the ledger failed.

use std::fmt;

use caduceus_contract::messages::ledger::LedgerError;

/// Why a piece of work failed.
#[derive(Debug)]
pub enum Failure {
    /// The answer of this work.
    Answered(LedgerError),
    /// The database's error.
    Store(StoreError),
}

/// What an error of the database prevents. The writer decides by this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorClass {
    /// One operation; the transaction continues without it.
    Operation,
    /// All writes for now: the same transaction can succeed later.
    Temporary,
    /// Whatever uses one part of the database, which cannot be read, although other parts may accept writes.
    Unreadable,
    /// The transaction, each time. The work itself, or the part of the database that it uses, is the cause.
    Permanent,
}

/// An error of the database, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    pub(super) class: ErrorClass,
    pub(super) text: String,
}

impl StoreError {
    /// No write is accepted for now.
    pub(super) fn temporary(text: &str) -> Self {
        Self { class: ErrorClass::Temporary, text: text.to_owned() }
    }

    /// Whether it ends the whole transaction and not only the work that met it.
    pub(super) fn ends_transaction(&self) -> bool {
        self.class != ErrorClass::Operation
    }

    /// Whether the same transaction can succeed later.
    pub(super) fn can_pass(&self) -> bool {
        matches!(self.class, ErrorClass::Temporary | ErrorClass::Unreadable)
    }

    /// Whether a part of the database cannot be read, although it may accept writes.
    pub(super) fn is_unreadable(&self) -> bool {
        self.class == ErrorClass::Unreadable
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for StoreError {}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::Answered(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
