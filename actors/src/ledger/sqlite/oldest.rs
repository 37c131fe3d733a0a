//! When the oldest rows that are open or dead were recorded. A row is read once, when it becomes the oldest in its state.

use rusqlite::Connection;

use super::memory::{Memory, RowKind};
use crate::ledger::states::OldestRows;

/// The oldest row in each state, with the milliseconds since 1970 at which it was recorded, if that can be read.
#[derive(Debug, Default)]
pub(super) struct Oldest {
    inbound: Vec<Option<(i64, Option<i64>)>>,
    outbound: Vec<Option<(i64, Option<i64>)>>,
}

impl Oldest {
    /// The present ones. A row that cannot be read has no age.
    pub(super) fn read(&mut self, connection: &Connection, memory: &Memory) -> OldestRows {
        let mut found = OldestRows::default();
        let inbound = "SELECT received_at_ms FROM inbound WHERE id = ?";
        let outbound = "SELECT recorded_at_ms FROM outbound WHERE id = ?";
        update(&mut self.inbound, &mut found.inbound, memory, RowKind::Inbound, (connection, inbound));
        update(&mut self.outbound, &mut found.outbound, memory, RowKind::Outbound, (connection, outbound));
        found
    }
}

fn update(
    known: &mut Vec<Option<(i64, Option<i64>)>>,
    found: &mut [Option<i64>],
    memory: &Memory,
    kind: RowKind,
    (connection, sql): (&Connection, &str),
) {
    known.resize(found.len(), None);
    for (state, (known, found)) in known.iter_mut().zip(found).enumerate() {
        let first = memory.open_rows(kind, state).and_then(|rows| rows.first().copied());
        if known.map(|(row, _)| row) != first {
            let recorded = |row| connection.prepare_cached(sql)?.query_row([row], |found| found.get(0));
            *known = first.map(|row| (row, recorded(row).ok()));
        }
        *found = known.and_then(|(_, at_ms)| at_ms);
    }
}
