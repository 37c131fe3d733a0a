//! The rows of the table, in its order.

mod accept;
mod backlog;
mod children;
mod growth;
mod idle;
mod overload;
mod pages;
mod parts;
mod size;
mod soak;
mod threads;
mod tokens;
mod turns;

use super::row::Row;

/// All rows.
pub(crate) const ROWS: &[Row] = &[
    parts::COMMIT,
    parts::CLIENT,
    turns::DISK,
    turns::MEMORY,
    growth::SESSIONS,
    growth::PROFILES,
    growth::WAITING,
    threads::THREADS,
    backlog::BACKLOG,
    accept::ACCEPT,
    overload::OVERLOAD,
    pages::STATUS,
    pages::METRICS,
    pages::SNAPSHOT,
    tokens::TOKEN,
    children::CHILD,
    children::RESTART,
    idle::START,
    idle::IDLE,
    size::SIZE,
    soak::SOAK,
];
