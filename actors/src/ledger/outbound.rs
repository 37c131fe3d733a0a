//! Outbound messages: recorded before they are sent, marked, listed. As with inbound events, a mark changes a short row.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::marks::{MARK_COLUMNS, OutboundMark};
use super::memory::RowKind;
use super::row::{self, CorruptRow, TARGET_COLUMNS, checksum, maybe, params, target_values, text, verify};
use super::states::outbound_code;
use super::store::{Failure, ListedTable, Store, Work};
use caduceus_contract::messages::ledger::{
    InboundId, ListOutbound, MarkOutbound, OutboundId, OutboundRow, OutboundState, RecordOutbound,
};

/// The table's name in SQL and in errors.
pub(super) const TABLE: &str = "outbound";
/// Columns that never change.
const FIXED_COLUMNS: usize = TARGET_COLUMNS + 4;
/// The first of them in a row that is read: after the row's number, the state with its checksum, and the number again.
const FIXED: usize = 1 + MARK_COLUMNS + 2;
/// Reads whole rows. A row whose action is missing is corrupt, not absent.
const READ: &str = "SELECT marks.id, state, attempts, marks.message_id, error, changed_at_ms, state_sum, outbound.* \
     FROM outbound_marks AS marks LEFT JOIN outbound ON outbound.id = marks.id";

const LIST: ListedTable = ListedTable { kind: RowKind::Outbound, name: TABLE, read: READ };

impl Work for RecordOutbound {
    type Answer = OutboundId;

    fn run(&self, store: &mut Store<'_>) -> Result<OutboundId, Failure> {
        let reply = self.turn.zip(self.number);
        if let Some(row) = reply.and_then(|reply| store.memory.row_of_reply(reply)) {
            return Ok(OutboundId(row));
        }
        let id = store.ids.outbound + 1;
        let turn = self.turn.map(|turn| turn.to_string());
        let [link, platform, chat, bot, scope, user, thread] = target_values(&self.target);
        let fixed: [ValueRef<'_>; FIXED_COLUMNS] = [
            link,
            platform,
            chat,
            bot,
            scope,
            user,
            thread,
            self.inbound.map_or(ValueRef::Null, |inbound| ValueRef::Integer(inbound.0)),
            maybe(turn.as_deref()),
            ValueRef::Integer(store.now_ms),
            text(&self.action),
        ];
        let values =
            std::iter::once(ValueRef::Integer(id)).chain(fixed).chain([ValueRef::Integer(checksum(TABLE, id, &fixed))]);
        // First, because it is refused if the action is too large; without a row of marks it is not a row of the ledger.
        store
            .connection
            .prepare_cached("INSERT INTO outbound VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)")?
            .execute(params(values))?;
        let attempts = i64::from(self.state == OutboundState::Sending);
        OutboundMark { state: self.state, attempts, message_id: None, error: None }.insert(store, id)?;
        store.ids.outbound = id;
        store.moved(RowKind::Outbound, id, None, outbound_code(self.state));
        if let Some(reply) = reply {
            store.memory.add_reply(reply, id);
        }
        store.delta.written += 1;
        Ok(OutboundId(id))
    }

    fn is_owed(&self) -> bool {
        self.turn.is_none()
    }
}

impl Work for MarkOutbound {
    type Answer = ();

    fn run(&self, store: &mut Store<'_>) -> Result<(), Failure> {
        let row = self.id.0;
        let before = OutboundMark::of_reply(store, row)?;
        // A reply that waits again was not sent, so it was no attempt.
        let was_not_sent = before.state == OutboundState::Sending && self.state == OutboundState::Pending;
        let attempts = before.attempts + i64::from(self.state == OutboundState::Sending) - i64::from(was_not_sent);
        let from = before.state;
        let after = OutboundMark {
            state: self.state,
            attempts,
            message_id: self.message_id.clone().or(before.message_id),
            error: self.error.clone().or(before.error),
        };
        after.write(store, row)?;
        store.moved(RowKind::Outbound, row, Some(outbound_code(from)), outbound_code(self.state));
        Ok(())
    }

    fn is_owed(&self) -> bool {
        self.state != OutboundState::Sending
    }
}

impl Work for ListOutbound {
    type Answer = Vec<OutboundRow>;

    fn run(&self, store: &mut Store<'_>) -> Result<Vec<OutboundRow>, Failure> {
        let (states, after) = (self.states.iter().copied().map(outbound_code), self.after.map(|id| id.0));
        Ok(store.list(LIST, states, after, self.limit, outbound_row, |row| row.id.0)?)
    }
}

fn outbound_row(row: &Row<'_>) -> Result<OutboundRow, CorruptRow> {
    let id = row.get(0)?;
    let before = OutboundMark::of_row(row)?;
    verify(TABLE, id, row, FIXED, FIXED_COLUMNS)?;
    let after_target = FIXED + TARGET_COLUMNS;
    Ok(OutboundRow {
        id: OutboundId(id),
        inbound: row.get::<_, Option<i64>>(after_target)?.map(InboundId),
        target: row::target(row, FIXED)?,
        action: row.get(after_target + 3)?,
        state: before.state,
        attempts: u32::try_from(before.attempts).map_err(|_| CorruptRow)?,
        recorded_at_ms: row.get(after_target + 2)?,
    })
}
