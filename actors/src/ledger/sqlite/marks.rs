//! The short rows of marks: what changes of an event and of a reply.
//!
//! The marks of what is in flight are in memory too, so that the end of a turn reads nothing from the file.

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row};

use super::duplicates::KeyHashes;
use super::memory::RowKind;
use super::row::{self, CorruptRow, checksum, maybe, params, verify};
use super::sent_again;
use super::transaction::SqliteTransaction;
use crate::ledger::failure::Failure;
use crate::ledger::states::{inbound_code, inbound_state, outbound_code, outbound_state};
use crate::ledger::store::{InboundMark, OutboundMark};
use caduceus_contract::messages::ledger::{InboundState, LedgerError, OutboundState};

/// The table of events in SQL and in errors.
pub(super) const INBOUND_TABLE: &str = "inbound";
/// As [`INBOUND_TABLE`], of replies.
pub(super) const OUTBOUND_TABLE: &str = "outbound";
/// Columns of a mark. Of an event: state, attempts, turn, note, `changed_at_ms`, `begun_at_ms`, term. Of a reply: state, attempts,
/// `message_id`, error, `changed_at_ms`, `sent_at_ms`, term. The term is that in which the mark was written.
pub(super) const MARK_COLUMNS: usize = 7;
/// Part of the checksum of a mark.
pub(super) const INBOUND: &str = "inbound.state";
/// As [`INBOUND`], of a reply.
pub(super) const OUTBOUND: &str = "outbound.state";
/// Part of the checksum of an event's key hashes.
const KEYS: &str = "inbound.keys";

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
            "SELECT id, state, attempts, turn, note, changed_at_ms, begun_at_ms, term, state_sum \
             FROM inbound_marks WHERE id = ?",
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
        begun_at_ms: row.get(6)?,
    })
}

/// Adds the mark of a new event.
pub(super) fn insert_of_event(
    store: &mut SqliteTransaction<'_>,
    row: i64,
    mut mark: InboundMark,
    hashes: KeyHashes,
) -> rusqlite::Result<()> {
    let turn = mark.turn.map(|turn| turn.to_string());
    let values = event_values(&mut mark, turn.as_deref(), store);
    store
        .connection
        .prepare_cached("INSERT INTO inbound_marks VALUES (?,?,?,?,?,?,?,?,?,?,?,?)")?
        .execute(params(new_row(row, INBOUND, values).chain(key_values(row, hashes))))?;
    store.memory.set_inbound_mark(row, mark);
    Ok(())
}

/// Replaces the mark of event `row`.
///
/// # Errors
/// There is no such row.
pub(super) fn write_of_event(
    store: &mut SqliteTransaction<'_>,
    row: i64,
    mut mark: InboundMark,
) -> Result<(), Failure> {
    let turn = mark.turn.map(|turn| turn.to_string());
    let values = event_values(&mut mark, turn.as_deref(), store);
    let changed = store
        .connection
        .prepare_cached(
            "UPDATE inbound_marks SET state = ?, attempts = ?, turn = ?, note = ?, changed_at_ms = ?, begun_at_ms = ?, \
             term = ?, state_sum = ? WHERE id = ?",
        )?
        .execute(params(changed_row(row, INBOUND, values)))?;
    if changed == 0 {
        store.memory.forget_mark(RowKind::Inbound, row);
        return Err(LedgerError::Missing { table: INBOUND_TABLE, row }.into());
    }
    store.memory.set_inbound_mark(row, mark);
    Ok(())
}

fn event_values<'a>(mark: &'a mut InboundMark, turn: Option<&'a str>, store: &SqliteTransaction<'_>) -> MarkValues<'a> {
    if mark.state == InboundState::Running {
        mark.begun_at_ms = Some(store.now_ms);
    }
    let integer = ValueRef::Integer;
    let (state, begun_at) = (row::code(inbound_code(mark.state)), row::maybe_integer(mark.begun_at_ms));
    let note = maybe(mark.note.as_deref());
    [state, integer(mark.attempts), maybe(turn), note, integer(store.now_ms), begun_at, integer(store.term)]
}

/// The hashes of an event's keys and their checksum, as the last columns of its marks.
pub(super) fn key_values(row: i64, hashes: KeyHashes) -> [ValueRef<'static>; 3] {
    let [frame, message] = [hashes.frame, hashes.message].map(row::maybe_integer);
    [frame, message, ValueRef::Integer(checksum(KEYS, row, &[frame, message]))]
}

/// The hashes in the columns from `first` on.
pub(super) fn key_hashes(found: &Row<'_>, row: i64, first: usize) -> Result<KeyHashes, CorruptRow> {
    verify(KEYS, row, found, first, 2)?;
    Ok(KeyHashes { frame: found.get(first)?, message: found.get(first + 1)? })
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
            "SELECT marks.id, state, attempts, message_id, error, changed_at_ms, sent_at_ms, term, state_sum, again, \
             sent_again.sum FROM outbound_marks AS marks LEFT JOIN sent_again ON sent_again.id = marks.id WHERE marks.id = ?",
        )?
        .query_row([row], |found| Ok(reply_mark(found, MARK_COLUMNS + 2)))
        .optional()?
        .ok_or(LedgerError::Missing { table: OUTBOUND_TABLE, row })?;
    found.map_err(|CorruptRow| store.corrupt(OUTBOUND_TABLE, row).into())
}

/// The mark in a row that begins with its number and its mark; those of [`sent_again`] are the columns from `again` on.
pub(super) fn reply_mark(row: &Row<'_>, again: usize) -> Result<OutboundMark, CorruptRow> {
    verify(OUTBOUND, row.get(0)?, row, 1, MARK_COLUMNS)?;
    Ok(OutboundMark {
        state: outbound_state(row::code_at(row, 1)?).ok_or(CorruptRow)?,
        attempts: row.get(2)?,
        message_id: row.get(3)?,
        error: row.get(4)?,
        sent_again_as: sent_again::read(row, again)?,
        sent_at_ms: row.get(6)?,
    })
}

/// Adds the mark of a new reply.
pub(super) fn insert_of_reply(
    store: &mut SqliteTransaction<'_>,
    row: i64,
    mut mark: OutboundMark,
) -> rusqlite::Result<()> {
    let values = reply_values(&mut mark, store);
    store
        .connection
        .prepare_cached("INSERT INTO outbound_marks VALUES (?,?,?,?,?,?,?,?,?)")?
        .execute(params(new_row(row, OUTBOUND, values)))?;
    store.memory.set_outbound_mark(row, mark);
    Ok(())
}

/// Replaces the mark of reply `row`.
///
/// # Errors
/// There is no such row.
pub(super) fn write_of_reply(
    store: &mut SqliteTransaction<'_>,
    row: i64,
    mut mark: OutboundMark,
) -> Result<(), Failure> {
    let values = reply_values(&mut mark, store);
    let changed = store
        .connection
        .prepare_cached(
            "UPDATE outbound_marks SET state = ?, attempts = ?, message_id = ?, error = ?, changed_at_ms = ?, \
             sent_at_ms = ?, term = ?, state_sum = ? WHERE id = ?",
        )?
        .execute(params(changed_row(row, OUTBOUND, values)))?;
    if changed == 0 {
        store.memory.forget_mark(RowKind::Outbound, row);
        return Err(LedgerError::Missing { table: OUTBOUND_TABLE, row }.into());
    }
    store.memory.set_outbound_mark(row, mark);
    Ok(())
}

fn reply_values<'a>(mark: &'a mut OutboundMark, store: &SqliteTransaction<'_>) -> MarkValues<'a> {
    if mark.state == OutboundState::Sending {
        mark.sent_at_ms = Some(store.now_ms);
    }
    let integer = ValueRef::Integer;
    let (state, sent_at) = (row::code(outbound_code(mark.state)), row::maybe_integer(mark.sent_at_ms));
    let (message_id, error) = (maybe(mark.message_id.as_deref()), maybe(mark.error.as_deref()));
    [state, integer(mark.attempts), message_id, error, integer(store.now_ms), sent_at, integer(store.term)]
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
