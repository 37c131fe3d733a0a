//! The replies that an operator has sent again, each with the new reply: a table of its own, because few are.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::row::{CorruptRow, checksum, params, verify};
use caduceus_contract::messages::ledger::OutboundId;

/// The table's name in SQL and in errors.
pub(super) const TABLE: &str = "sent_again";

/// The new reply, of the columns `again` and `sum` from `first` on of a row that begins with the number of the reply. Both are empty if it was
/// not sent again.
pub(super) fn read(row: &Row<'_>, first: usize) -> Result<Option<OutboundId>, CorruptRow> {
    if let (ValueRef::Null, ValueRef::Null) = (row.get_ref(first)?, row.get_ref(first + 1)?) {
        return Ok(None);
    }
    verify(TABLE, row.get(0)?, row, first, 1)?;
    Ok(Some(OutboundId(row.get(first)?)))
}

/// Records that `row` was sent again.
pub(super) fn write(connection: &Connection, row: i64, OutboundId(again): OutboundId) -> rusqlite::Result<()> {
    let again = ValueRef::Integer(again);
    let values = [ValueRef::Integer(row), again, ValueRef::Integer(checksum(TABLE, row, &[again]))];
    connection.prepare_cached("INSERT OR REPLACE INTO sent_again VALUES (?,?,?)")?.execute(params(values)).map(drop)
}

/// Forgets a reply that is deleted.
pub(super) fn delete(connection: &Connection, row: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM sent_again WHERE id = ?")?.execute([row]).map(drop)
}
