//! The free pages of the file, filled with zeros: they keep what was deleted from them.
//!
//! A table takes them all and is deleted again, both in steps. A process that ends meanwhile leaves the table, and the next open deletes it.

use rusqlite::Connection;

use super::transaction::SqliteTransaction;

/// Pages that a step fills with zeros: 1 MiB.
const FILLED: i64 = 256;
/// Bytes of a page that hold content, if it is one of many of a long value.
const PAGE: i64 = 4_092;
/// Steps after which pages that become free meanwhile are left to the next erasure.
const MOST_FILLED: i64 = 1 << 20;

/// Fills some free pages with zeros. Returns the number of steps so far, if there are more.
pub(super) fn fill(store: &SqliteTransaction<'_>, steps: i64) -> rusqlite::Result<Option<i64>> {
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
pub(super) fn release(store: &SqliteTransaction<'_>) -> rusqlite::Result<Option<i64>> {
    let is_there = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'filled')";
    if !store.connection.query_row(is_there, (), |row| row.get::<_, bool>(0))? {
        return Ok(None);
    }
    let first = "DELETE FROM filled WHERE id = (SELECT min(id) FROM filled)";
    if store.connection.execute(first, ())? > 0 {
        return Ok(Some(0));
    }
    store.connection.execute_batch("DROP TABLE filled")?;
    Ok(None)
}

/// Gives back all pages that an erasure had filled when its process ended. The number of each is read, a second for some gigabytes.
pub(super) fn release_left(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("DROP TABLE IF EXISTS filled")
}
