//! The short rows of marks: what changes of an event and of a reply.
//!
//! The marks of what is in flight are in memory too, so that the end of a turn reads nothing from the file.

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row};

use super::duplicates::KeyHashes;
use super::row::{self, CorruptRow, checksum, maybe, params, verify};
use super::states::{inbound_code, inbound_state, outbound_code, outbound_state};
use super::store::{Failure, Store};
use super::{inbound, outbound};
use caduceus_contract::messages::ledger::{InboundState, LedgerError, OutboundState};
use caduceus_contract::turn_id::TurnId;

/// Columns of a mark. Of an event: state, attempts, turn, note, `changed_at_ms`. Of a reply: state, attempts, `message_id`, error,
/// `changed_at_ms`.
pub(super) const MARK_COLUMNS: usize = 5;
/// Part of the checksum of a mark.
pub(super) const INBOUND: &str = "inbound.state";
/// As [`INBOUND`], of a reply.
pub(super) const OUTBOUND: &str = "outbound.state";

type MarkValues<'a> = [ValueRef<'a>; MARK_COLUMNS];

/// What changes of an event.
#[derive(Debug, Clone)]
pub(super) struct InboundMark {
    pub(super) state: InboundState,
    pub(super) attempts: i64,
    pub(super) turn: Option<TurnId>,
    pub(super) note: Option<String>,
}

/// What changes of a reply.
#[derive(Debug, Clone)]
pub(super) struct OutboundMark {
    pub(super) state: OutboundState,
    pub(super) attempts: i64,
    pub(super) message_id: Option<String>,
    pub(super) error: Option<String>,
}

impl InboundMark {
    /// The mark of event `row`.
    ///
    /// # Errors
    /// There is no such row, or it is corrupt.
    pub(super) fn of_event(store: &mut Store<'_>, row: i64) -> Result<Self, Failure> {
        if let Some(mark) = store.memory.inbound_mark(row) {
            return Ok(mark.clone());
        }
        let connection = store.connection;
        let found = connection
            .prepare_cached(
                "SELECT id, state, attempts, turn, note, changed_at_ms, state_sum FROM inbound_marks WHERE id = ?",
            )?
            .query_row([row], |found| Ok(Self::of_row(found)))
            .optional()?
            .ok_or(LedgerError::Missing { table: inbound::TABLE, row })?;
        found.map_err(|CorruptRow| store.corrupt(inbound::TABLE, row).into())
    }

    /// The mark in a row that begins with its number and its mark.
    pub(super) fn of_row(row: &Row<'_>) -> Result<Self, CorruptRow> {
        verify(INBOUND, row.get(0)?, row, 1, MARK_COLUMNS)?;
        let turn: Option<String> = row.get(3)?;
        Ok(Self {
            state: inbound_state(row::code_at(row, 1)?).ok_or(CorruptRow)?,
            attempts: row.get(2)?,
            turn: turn.map(|turn| turn.parse()).transpose().map_err(|_| CorruptRow)?,
            note: row.get(4)?,
        })
    }

    /// Adds the mark of a new event.
    pub(super) fn insert(self, store: &mut Store<'_>, row: i64, hashes: KeyHashes) -> rusqlite::Result<()> {
        let turn = self.turn.map(|turn| turn.to_string());
        let mark = self.values(turn.as_deref(), store.now_ms);
        let hashes = [hashes.frame, hashes.message].map(|hash| hash.map_or(ValueRef::Null, ValueRef::Integer));
        store
            .connection
            .prepare_cached("INSERT INTO inbound_marks VALUES (?,?,?,?,?,?,?,?,?)")?
            .execute(params(new_row(row, INBOUND, mark).chain(hashes)))?;
        store.memory.set_inbound_mark(row, self);
        Ok(())
    }

    /// Replaces the mark of event `row`.
    ///
    /// # Errors
    /// There is no such row.
    pub(super) fn write(self, store: &mut Store<'_>, row: i64) -> Result<(), Failure> {
        let turn = self.turn.map(|turn| turn.to_string());
        let mark = self.values(turn.as_deref(), store.now_ms);
        let changed = store
            .connection
            .prepare_cached(
                "UPDATE inbound_marks SET state = ?, attempts = ?, turn = ?, note = ?, changed_at_ms = ?, state_sum = ? \
                 WHERE id = ?",
            )?
            .execute(params(changed_row(row, INBOUND, mark)))?;
        if changed == 0 {
            return Err(LedgerError::Missing { table: inbound::TABLE, row }.into());
        }
        store.memory.set_inbound_mark(row, self);
        Ok(())
    }

    fn values<'a>(&'a self, turn: Option<&'a str>, now_ms: i64) -> MarkValues<'a> {
        let attempts = ValueRef::Integer(self.attempts);
        let state = row::code(inbound_code(self.state));
        [state, attempts, maybe(turn), maybe(self.note.as_deref()), ValueRef::Integer(now_ms)]
    }
}

impl OutboundMark {
    /// The mark of reply `row`.
    ///
    /// # Errors
    /// There is no such row, or it is corrupt.
    pub(super) fn of_reply(store: &mut Store<'_>, row: i64) -> Result<Self, Failure> {
        if let Some(mark) = store.memory.outbound_mark(row) {
            return Ok(mark.clone());
        }
        let connection = store.connection;
        let found = connection
            .prepare_cached(
                "SELECT id, state, attempts, message_id, error, changed_at_ms, state_sum FROM outbound_marks \
                 WHERE id = ?",
            )?
            .query_row([row], |found| Ok(Self::of_row(found)))
            .optional()?
            .ok_or(LedgerError::Missing { table: outbound::TABLE, row })?;
        found.map_err(|CorruptRow| store.corrupt(outbound::TABLE, row).into())
    }

    /// The mark in a row that begins with its number and its mark.
    pub(super) fn of_row(row: &Row<'_>) -> Result<Self, CorruptRow> {
        verify(OUTBOUND, row.get(0)?, row, 1, MARK_COLUMNS)?;
        Ok(Self {
            state: outbound_state(row::code_at(row, 1)?).ok_or(CorruptRow)?,
            attempts: row.get(2)?,
            message_id: row.get(3)?,
            error: row.get(4)?,
        })
    }

    /// Adds the mark of a new reply.
    pub(super) fn insert(self, store: &mut Store<'_>, row: i64) -> rusqlite::Result<()> {
        let mark = self.values(store.now_ms);
        store
            .connection
            .prepare_cached("INSERT INTO outbound_marks VALUES (?,?,?,?,?,?,?)")?
            .execute(params(new_row(row, OUTBOUND, mark)))?;
        store.memory.set_outbound_mark(row, self);
        Ok(())
    }

    /// Replaces the mark of reply `row`.
    ///
    /// # Errors
    /// There is no such row.
    pub(super) fn write(self, store: &mut Store<'_>, row: i64) -> Result<(), Failure> {
        let mark = self.values(store.now_ms);
        let changed = store
            .connection
            .prepare_cached(
                "UPDATE outbound_marks SET state = ?, attempts = ?, message_id = ?, error = ?, changed_at_ms = ?, \
                 state_sum = ? WHERE id = ?",
            )?
            .execute(params(changed_row(row, OUTBOUND, mark)))?;
        if changed == 0 {
            return Err(LedgerError::Missing { table: outbound::TABLE, row }.into());
        }
        store.memory.set_outbound_mark(row, self);
        Ok(())
    }

    fn values(&self, now_ms: i64) -> MarkValues<'_> {
        let attempts = ValueRef::Integer(self.attempts);
        let (message_id, error) = (maybe(self.message_id.as_deref()), maybe(self.error.as_deref()));
        [row::code(outbound_code(self.state)), attempts, message_id, error, ValueRef::Integer(now_ms)]
    }
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
