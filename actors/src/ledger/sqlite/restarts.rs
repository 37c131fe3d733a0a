//! The rows of starts that found interrupted turns.

use super::row::{checksum, verify};
use super::transaction::SqliteTransaction;
use crate::ledger::failure::Failure;
use caduceus_contract::messages::ledger::NoteRestart;

/// The table's name in SQL and in errors.
pub(super) const TABLE: &str = "restarts";

/// Keeps the entries within the window, before and after now, because a clock may have been set back.
pub(super) fn note(store: &mut SqliteTransaction<'_>, start: &NoteRestart) -> Result<usize, Failure> {
    let (at, within) = (start.started_at_ms, i64::try_from(start.within.as_millis()).unwrap_or(i64::MAX));
    let window = (at.saturating_sub(within), at.saturating_add(within));
    let connection = store.connection;
    store.atomically(|store| {
        let connection = store.connection;
        connection.prepare_cached("DELETE FROM restarts WHERE id <= ? OR id >= ?")?.execute(window)?;
        let note = "INSERT INTO restarts VALUES (?, ?) ON CONFLICT DO NOTHING";
        Ok(connection.prepare_cached(note)?.execute((at, checksum(TABLE, at, &[])))?)
    })?;
    let mut statement = connection.prepare_cached("SELECT id, sum FROM restarts")?;
    let mut rows = statement.query(())?;
    let mut good = 0;
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        match verify(TABLE, id, row, 1, 0) {
            Ok(()) => good += 1,
            Err(_) => drop(store.corrupt(TABLE, id)),
        }
    }
    Ok(good)
}
