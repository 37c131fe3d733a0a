//! The rows of outbound messages: added, marked, listed. As with inbound events, a mark changes a short row.

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row};

use super::marks::{self, MARK_COLUMNS, OUTBOUND_TABLE as TABLE};
use super::memory::RowKind;
use super::row::{self, CorruptRow, TARGET_COLUMNS, checksum, maybe, params, target_values, text, verify};
use super::sent_again;
use super::transaction::{ListedTable, SqliteTransaction};
use crate::ledger::failure::Failure;
use crate::ledger::states::outbound_code;
use crate::ledger::store::OutboundMark;
use caduceus_contract::messages::ledger::{
    InboundId, LedgerError, ListOutbound, OutboundId, OutboundRow, OutboundState, RecordOutbound,
};

/// Columns that never change.
pub(super) const FIXED_COLUMNS: usize = TARGET_COLUMNS + 5;
/// The first of them in a row that is read: after the row's number, the state with its checksum, and the number again.
pub(super) const FIXED: usize = 1 + MARK_COLUMNS + 2;
/// Reads whole rows. A row whose action is missing is corrupt, not absent.
pub(super) const READ: &str = "SELECT marks.id, state, attempts, marks.message_id, error, changed_at_ms, sent_at_ms, marks.term, \
     state_sum, outbound.*, again, sent_again.sum FROM outbound_marks AS marks LEFT JOIN outbound ON outbound.id = marks.id \
     LEFT JOIN sent_again ON sent_again.id = marks.id";

const LIST: ListedTable = ListedTable { kind: RowKind::Outbound, name: TABLE, read: READ };

/// Adds a reply.
pub(super) fn record(
    store: &mut SqliteTransaction<'_>,
    message: &RecordOutbound,
    mark: OutboundMark,
) -> Result<OutboundId, Failure> {
    let id = store.ids.outbound + 1;
    let turn = message.turn.map(|turn| turn.to_string());
    let [link, platform, chat, bot, scope, user, thread] = target_values(&message.target);
    let fixed: [ValueRef<'_>; FIXED_COLUMNS] = [
        link,
        platform,
        chat,
        bot,
        scope,
        user,
        thread,
        message.inbound.map_or(ValueRef::Null, |inbound| ValueRef::Integer(inbound.0)),
        maybe(turn.as_deref()),
        ValueRef::Integer(store.now_ms),
        ValueRef::Integer(store.term),
        text(message.action.get()),
    ];
    let values =
        std::iter::once(ValueRef::Integer(id)).chain(fixed).chain([ValueRef::Integer(checksum(TABLE, id, &fixed))]);
    // First, because it is refused if the action is too large; without a row of marks it is not a row of the ledger.
    store
        .connection
        .prepare_cached("INSERT INTO outbound VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)")?
        .execute(params(values))?;
    let code = outbound_code(mark.state);
    marks::insert_of_reply(store, id, mark)?;
    store.ids.outbound = id;
    store.memory.move_row(RowKind::Outbound, id, None, Some(code));
    Ok(OutboundId(id))
}

/// Replaces the mark of a reply.
pub(super) fn write_mark(
    store: &mut SqliteTransaction<'_>,
    OutboundId(row): OutboundId,
    before: OutboundState,
    after: OutboundMark,
) -> Result<(), Failure> {
    let code = outbound_code(after.state);
    match after.sent_again_as {
        None => marks::write_of_reply(store, row, after)?,
        Some(again) => store.atomically(|store| {
            marks::write_of_reply(store, row, after)?;
            Ok(sent_again::write(store.connection, row, again)?)
        })?,
    }
    store.memory.move_row(RowKind::Outbound, row, Some(outbound_code(before)), Some(code));
    Ok(())
}

pub(super) fn read(store: &mut SqliteTransaction<'_>, OutboundId(row): OutboundId) -> Result<OutboundRow, Failure> {
    let connection = store.connection;
    let found = connection
        .prepare_cached(&format!("{READ} WHERE marks.id = ?"))?
        .query_row([row], |found| Ok(outbound_row(found)))
        .optional()?
        .ok_or(LedgerError::Missing { table: TABLE, row })?;
    found.map_err(|CorruptRow| store.corrupt(TABLE, row).into())
}

pub(super) fn list(store: &mut SqliteTransaction<'_>, list: &ListOutbound) -> Result<Vec<OutboundRow>, Failure> {
    let states: Vec<_> = list.states.iter().copied().map(outbound_code).collect();
    Ok(store.list(LIST, &states, list.after.map(|id| id.0), list.limit, |_, _| Ok(true), outbound_row)?)
}

fn outbound_row(row: &Row<'_>) -> Result<OutboundRow, CorruptRow> {
    marked_row(row).map(|(row, _)| row)
}

/// A reply and its mark, of a row of [`READ`].
pub(super) fn marked_row(row: &Row<'_>) -> Result<(OutboundRow, OutboundMark), CorruptRow> {
    let id = row.get(0)?;
    // Behind the fixed columns and their checksum.
    let before = marks::reply_mark(row, FIXED + FIXED_COLUMNS + 1)?;
    verify(TABLE, id, row, FIXED, FIXED_COLUMNS)?;
    let after_target = FIXED + TARGET_COLUMNS;
    let reply = OutboundRow {
        id: OutboundId(id),
        inbound: row.get::<_, Option<i64>>(after_target)?.map(InboundId),
        target: row::target(row, FIXED)?,
        action: row.get(after_target + 4)?,
        state: before.state,
        attempts: u32::try_from(before.attempts).map_err(|_| CorruptRow)?,
        recorded_at_ms: row.get(after_target + 2)?,
    };
    Ok((reply, before))
}
