//! The rows of the ledger, for operators.

mod changes;
mod check;
mod continuations; // Of exports and erasures.
mod fields; // The answers, for the document of the API.
mod people;
mod rows;

pub(super) use continuations::LedgerContinuations;

use super::registry::RouteRegistry;

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    rows::routes(registry);
    changes::routes(registry);
    check::routes(registry);
    people::routes(registry);
}
