//! The rows of the ledger, for operators.

mod changes;
mod check;
mod fields; // The answers, for the document of the API.
mod people;
mod rows;

use super::registry::RouteRegistry;

pub(super) fn routes(registry: &mut RouteRegistry<'_>) {
    rows::routes(registry);
    changes::routes(registry);
    check::routes(registry);
    people::routes(registry);
}
