//! The short rows of marks: what changes of an event and of a reply.
//!
//! The marks of what is in flight are in memory too, so that the end of a turn reads nothing from the file.

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row};

use super::duplicates::KeyHashes;
use super::memory::RowKind;
use super::row::{self, CorruptRow, checksum, maybe, params, verify};
use super::transaction::SqliteTransaction;
use crate::ledger::failure::Failure;
use crate::ledger::states::{inbound_code, inbound_state, outbound_code, outbound_state};
use crate::ledger::store::{InboundMark, OutboundMark};
use caduceus_contract::messages::ledger::LedgerError;

/// The table of events in SQL and in errors.
pub(super) const INBOUND_TABLE: &str = "inbound";
/// As [`INBOUND_TABLE`], of replies.
pub(super) const OUTBOUND_TABLE: &str = "outbound";
/// Columns of a mark. Of an event: state, attempts, turn, note, `changed_at_ms`. Of a reply: state, attempts, `message_id`, error,
/// `changed_at_ms`.
pub(super) const MARK_COLUMNS: usize = 5;
/// Part of the checksum of a mark.
pub(super) const INBOUND: &str = "inbound.state";
/// As [`INBOUND`], of a reply.
pub(super) const OUTBOUND: &str = "outbound.state";

type MarkValues<'a> = [ValueRef<'a>; MARK_COLUMNS];

/// The mark of event `row`.
///
/// # Errors
/// There is no such row, or it is corrupt.
pub(super) fn of_event(store: &mut SqliteTransaction<'_>, row: i64) -> Result<InboundMark, Failure> {
    if let Some(mark) = store.memory.inbound_mark(row) {
        return Ok(mark.clone());
    }
    let connection = store.connection;
    let found = connection
        .prepare_cached(
            "SELECT id, state, attempts, turn, note, changed_at_ms, state_sum FROM inbound_marks WHERE id = ?",
        )?
        .query_row([row], |found| Ok(event_mark(found)))
        .optional()?
        .ok_or(LedgerError::Missing { table: INBOUND_TABLE, row })?;
    found.map_err(|CorruptRow| store.corrupt(INBOUND_TABLE, row).into())
}

/// The mark in a row that begins with its number and its mark.
pub(super) fn event_mark(row: &Row<'_>) -> Result<InboundMark, CorruptRow> {
    verify(INBOUND, row.get(0)?, row, 1, MARK_COLUMNS)?;
    let turn: Option<String> = row.get(3)?;
    Ok(InboundMark {
        state: inbound_state(row::code_at(row, 1)?).ok_or(CorruptRow)?,
        attempts: row.get(2)?,
        turn: turn.map(|turn| turn.parse()).transpose().map_err(|_| CorruptRow)?,
        note: row.get(4)?,
    })
}

/// Adds the mark of a new event.
pub(super) fn insert_of_event(
    store: &mut SqliteTransaction<'_>,
    row: i64,
    mark: InboundMark,
    hashes: KeyHashes,
) -> rusqlite::Result<()> {
    let turn = mark.turn.map(|turn| turn.to_string());
    let values = event_values(&mark, turn.as_deref(), store.now_ms);
    let hashes = [hashes.frame, hashes.message].map(|hash| hash.map_or(ValueRef::Null, ValueRef::Integer));
    store
        .connection
        .prepare_cached("INSERT INTO inbound_marks VALUES (?,?,?,?,?,?,?,?,?)")?
        .execute(params(new_row(row, INBOUND, values).chain(hashes)))?;
    store.memory.set_inbound_mark(row, mark);
    Ok(())
}

/// Replaces the mark of event `row`.
///
/// # Errors
/// There is no such row.
pub(super) fn write_of_event(store: &mut SqliteTransaction<'_>, row: i64, mark: InboundMark) -> Result<(), Failure> {
    let turn = mark.turn.map(|turn| turn.to_string());
    let values = event_values(&mark, turn.as_deref(), store.now_ms);
    let changed = store
        .connection
        .prepare_cached(
            "UPDATE inbound_marks SET state = ?, attempts = ?, turn = ?, note = ?, changed_at_ms = ?, state_sum = ? \
             WHERE id = ?",
        )?
        .execute(params(changed_row(row, INBOUND, values)))?;
    if changed == 0 {
        store.memory.forget_mark(RowKind::Inbound, row);
        return Err(LedgerError::Missing { table: INBOUND_TABLE, row }.into());
    }
    store.memory.set_inbound_mark(row, mark);
    Ok(())
}

fn event_values<'a>(mark: &'a InboundMark, turn: Option<&'a str>, now_ms: i64) -> MarkValues<'a> {
    let attempts = ValueRef::Integer(mark.attempts);
    let state = row::code(inbound_code(mark.state));
    [state, attempts, maybe(turn), maybe(mark.note.as_deref()), ValueRef::Integer(now_ms)]
}

/// The mark of reply `row`.
///
/// # Errors
/// There is no such row, or it is corrupt.
pub(super) fn of_reply(store: &mut SqliteTransaction<'_>, row: i64) -> Result<OutboundMark, Failure> {
    if let Some(mark) = store.memory.outbound_mark(row) {
        return Ok(mark.clone());
    }
    let connection = store.connection;
    let found = connection
        .prepare_cached(
            "SELECT id, state, attempts, message_id, error, changed_at_ms, state_sum FROM outbound_marks \
             WHERE id = ?",
        )?
        .query_row([row], |found| Ok(reply_mark(found)))
        .optional()?
        .ok_or(LedgerError::Missing { table: OUTBOUND_TABLE, row })?;
    found.map_err(|CorruptRow| store.corrupt(OUTBOUND_TABLE, row).into())
}

/// The mark in a row that begins with its number and its mark.
pub(super) fn reply_mark(row: &Row<'_>) -> Result<OutboundMark, CorruptRow> {
    verify(OUTBOUND, row.get(0)?, row, 1, MARK_COLUMNS)?;
    Ok(OutboundMark {
        state: outbound_state(row::code_at(row, 1)?).ok_or(CorruptRow)?,
        attempts: row.get(2)?,
        message_id: row.get(3)?,
        error: row.get(4)?,
    })
}

/// Adds the mark of a new reply.
pub(super) fn insert_of_reply(store: &mut SqliteTransaction<'_>, row: i64, mark: OutboundMark) -> rusqlite::Result<()> {
    let values = reply_values(&mark, store.now_ms);
    store
        .connection
        .prepare_cached("INSERT INTO outbound_marks VALUES (?,?,?,?,?,?,?)")?
        .execute(params(new_row(row, OUTBOUND, values)))?;
    store.memory.set_outbound_mark(row, mark);
    Ok(())
}

/// Replaces the mark of reply `row`.
///
/// # Errors
/// There is no such row.
pub(super) fn write_of_reply(store: &mut SqliteTransaction<'_>, row: i64, mark: OutboundMark) -> Result<(), Failure> {
    let values = reply_values(&mark, store.now_ms);
    let changed = store
        .connection
        .prepare_cached(
            "UPDATE outbound_marks SET state = ?, attempts = ?, message_id = ?, error = ?, changed_at_ms = ?, \
             state_sum = ? WHERE id = ?",
        )?
        .execute(params(changed_row(row, OUTBOUND, values)))?;
    if changed == 0 {
        store.memory.forget_mark(RowKind::Outbound, row);
        return Err(LedgerError::Missing { table: OUTBOUND_TABLE, row }.into());
    }
    store.memory.set_outbound_mark(row, mark);
    Ok(())
}

fn reply_values(mark: &OutboundMark, now_ms: i64) -> MarkValues<'_> {
    let attempts = ValueRef::Integer(mark.attempts);
    let (message_id, error) = (maybe(mark.message_id.as_deref()), maybe(mark.error.as_deref()));
    [row::code(outbound_code(mark.state)), attempts, message_id, error, ValueRef::Integer(now_ms)]
}

/// The columns of a new row: its number, the mark, the checksum.
fn new_row<'a>(row: i64, part: &str, mark: MarkValues<'a>) -> impl Iterator<Item = ValueRef<'a>> + use<'a> {
    let sum = ValueRef::Integer(checksum(part, row, &mark));
    std::iter::once(ValueRef::Integer(row)).chain(mark).chain([sum])
}

/// The columns of a changed row, its number last.
fn changed_row<'a>(row: i64, part: &str, mark: MarkValues<'a>) -> impl Iterator<Item = ValueRef<'a>> + use<'a> {
    let sum = ValueRef::Integer(checksum(part, row, &mark));
    mark.into_iter().chain([sum, ValueRef::Integer(row)])
}
