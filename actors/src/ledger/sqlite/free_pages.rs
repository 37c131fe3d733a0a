//! The free pages of the file, filled with zeros: they keep what was deleted from them.
//!
//! A table takes them all and is deleted again, both in steps of an erasure. If its client ends meanwhile, the background work of the writer
//! deletes the table, a while after the last step; if the process ends, the next open does.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::transaction::SqliteTransaction;

/// Pages that a step fills with zeros: 1 MiB.
const FILLED: i64 = 256;
/// Bytes of a page that hold content, if it is one of many of a long value.
const PAGE: i64 = 4_092;
/// Steps after which pages that become free meanwhile are left to the next erasure.
const MOST_FILLED: i64 = 1 << 20;
/// Time without a step of an erasure after which its client has ended.
const ABANDONED_AFTER: Duration = Duration::from_mins(1);

/// Fills some free pages with zeros. Returns the number of steps so far, if there are more.
pub(super) fn fill(store: &mut SqliteTransaction<'_>, steps: i64) -> rusqlite::Result<Option<i64>> {
    store.memory.filled_at = Some(Instant::now());
    let free: i64 = store.connection.query_row("PRAGMA freelist_count", (), |row| row.get(0))?;
    if free == 0 || steps >= MOST_FILLED {
        return Ok(None);
    }
    store.connection.execute_batch("CREATE TABLE IF NOT EXISTS filled (id INTEGER PRIMARY KEY, zeros BLOB)")?;
    // A value of less than a page would take room in a page that is not free.
    let bytes = free.clamp(2, FILLED) * PAGE;
    store.connection.execute("INSERT INTO filled (zeros) VALUES (zeroblob(?))", [bytes])?;
    Ok(Some(steps + 1))
}

/// Gives back some of the pages that were filled. Returns a number if there are more.
pub(super) fn release(store: &mut SqliteTransaction<'_>) -> rusqlite::Result<Option<i64>> {
    store.memory.filled_at = Some(Instant::now());
    Ok((is_filled(store)? && release_some(store)?).then_some(0))
}

/// Gives back some of the pages that an erasure has filled whose client has ended. Returns whether there may be more.
pub(super) fn release_abandoned(store: &mut SqliteTransaction<'_>) -> rusqlite::Result<bool> {
    if store.memory.filled_at.is_none_or(|at| at.elapsed() < ABANDONED_AFTER) {
        return Ok(false);
    }
    if !is_filled(store)? {
        // Not before it is certain that this was written.
        store.memory.filled_at = None;
        return Ok(false);
    }
    release_some(store)?;
    Ok(true)
}

fn is_filled(store: &SqliteTransaction<'_>) -> rusqlite::Result<bool> {
    let is_there = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'filled')";
    store.connection.query_row(is_there, (), |row| row.get(0))
}

/// Returns whether there are more.
fn release_some(store: &SqliteTransaction<'_>) -> rusqlite::Result<bool> {
    let first = "DELETE FROM filled WHERE id = (SELECT min(id) FROM filled)";
    if store.connection.execute(first, ())? > 0 {
        return Ok(true);
    }
    store.connection.execute_batch("DROP TABLE filled")?;
    Ok(false)
}

/// Gives back all pages that an erasure had filled when its process ended. This takes a second for some gigabytes, because the number of each
/// page is read.
pub(super) fn release_left(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("DROP TABLE IF EXISTS filled")
}
