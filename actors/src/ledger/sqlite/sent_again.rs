//! The replies that an operator has sent again, each with the new reply: a table of its own, because few are.
//!
//! A damaged row says still that its reply was sent again, and not as which one: the reply is not sent once more. The check of all rows
//! reports it under the name of this table; the reply itself is whole.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::row::{checksum, params, verify};
use caduceus_contract::messages::ledger::OutboundId;

/// The table's name in SQL and in errors.
pub(super) const TABLE: &str = "sent_again";

/// In place of the new reply, if it is not known. No row has this number.
pub(super) const UNKNOWN: OutboundId = OutboundId(0);

/// Reads as which reply another one was sent again; `None` if it was not. `row` begins with the number of the reply; `again` and `sum` are
/// its columns from `first` on, both empty if this table has no row of the reply.
pub(super) fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<OutboundId>> {
    if let (ValueRef::Null, ValueRef::Null) = (row.get_ref(first)?, row.get_ref(first + 1)?) {
        return Ok(None);
    }
    let is_whole = verify(TABLE, row.get(0)?, row, first, 1).is_ok();
    Ok(Some(if is_whole { OutboundId(row.get(first)?) } else { UNKNOWN }))
}

/// Records that `row` was sent again.
pub(super) fn write(connection: &Connection, row: i64, again: OutboundId) -> rusqlite::Result<()> {
    insert(connection, "INSERT OR REPLACE INTO sent_again VALUES (?,?,?)", row, again)
}

/// Records that `row` was sent again, if there is no record of it.
pub(super) fn write_unknown(connection: &Connection, row: i64) -> rusqlite::Result<()> {
    insert(connection, "INSERT OR IGNORE INTO sent_again VALUES (?,?,?)", row, UNKNOWN)
}

fn insert(connection: &Connection, sql: &str, row: i64, OutboundId(again): OutboundId) -> rusqlite::Result<()> {
    let again = ValueRef::Integer(again);
    let values = [ValueRef::Integer(row), again, ValueRef::Integer(checksum(TABLE, row, &[again]))];
    connection.prepare_cached(sql)?.execute(params(values)).map(drop)
}

/// Forgets a reply that is deleted.
pub(super) fn delete(connection: &Connection, row: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM sent_again WHERE id = ?")?.execute([row]).map(drop)
}
