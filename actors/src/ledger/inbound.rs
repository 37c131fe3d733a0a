//! Inbound events: recorded once, marked, listed.

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row};

use super::row::{self, CorruptRow, TARGET_COLUMNS, checksum, maybe, params, target_values, text, verify};
use super::states::{inbound_code, inbound_state};
use super::store::{Failure, Store, Work};
use caduceus_contract::messages::ledger::{
    InboundId, InboundRow, InboundState, LastInterrupted, LedgerError, ListInbound, ListWaiting, MarkInbound,
    ReadInbound, RecordInbound, Recorded, WaitingRow,
};
use caduceus_contract::wire::session::SessionKey;

/// The table's name in SQL and in errors.
pub(super) const TABLE: &str = "inbound";
/// Part of the checksum over the columns that a mark changes.
const STATE: &str = "inbound.state";
/// Columns that a mark changes: state, attempts, turn, note, `changed_at_ms`.
const STATE_COLUMNS: usize = 5;
/// Columns that never change.
const FIXED_COLUMNS: usize = TARGET_COLUMNS + 7;
/// The first of them in a row that is read: after the row's number and the state with its checksum.
const FIXED: usize = 1 + STATE_COLUMNS + 1;

impl Work for RecordInbound {
    type Answer = Recorded;

    fn run(&self, store: &mut Store<'_>) -> Result<Recorded, Failure> {
        let id = store.ids.inbound + 1;
        let session = super::session_text(&self.session);
        let [link, platform, chat, bot, scope, user, thread] = target_values(&self.target);
        let fixed: [ValueRef<'_>; FIXED_COLUMNS] = [
            link,
            platform,
            chat,
            bot,
            scope,
            user,
            thread,
            maybe(self.buffer_id.as_deref()),
            ValueRef::Blob(&self.digest),
            maybe(self.message_id.as_deref()),
            text(self.profile.as_str()),
            text(&session),
            ValueRef::Integer(store.now_ms),
            text(&self.event),
        ];
        let attempts = i64::from(self.state == InboundState::Running);
        let state = state_values(self.state, attempts, None, self.note.as_deref(), store.now_ms);
        let values = std::iter::once(ValueRef::Integer(id))
            .chain(state)
            .chain([ValueRef::Integer(checksum(STATE, id, &state))])
            .chain(fixed)
            .chain([ValueRef::Integer(checksum(TABLE, id, &fixed))]);
        let inserted = store
            .connection
            .prepare_cached(
                "INSERT INTO inbound VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
            )?
            .execute(params(values))?;
        if inserted == 0 {
            let (id, state) = find_duplicate(self, store)?;
            return Ok(Recorded::Duplicate { id, state });
        }
        store.ids.inbound = id;
        store.delta.inbound[inbound_code(self.state)] += 1;
        store.delta.written += 1;
        Ok(Recorded::New(InboundId(id)))
    }
}

/// The row that has a key of `message`: that of the frame is searched first, then that of the message.
fn find_duplicate(message: &RecordInbound, store: &Store<'_>) -> rusqlite::Result<(InboundId, InboundState)> {
    let [link, platform, chat, ..] = target_values(&message.target);
    let found = |row: &Row<'_>| {
        let code: i64 = row.get(1)?;
        // An unknown code is a corrupt row, which does not run.
        let state = usize::try_from(code).ok().and_then(inbound_state).unwrap_or(InboundState::Dead);
        Ok((InboundId(row.get(0)?), state))
    };
    if let Some(buffer) = &message.buffer_id {
        let mut statement = store.connection.prepare_cached(
            "SELECT id, state FROM inbound WHERE link = ? AND buffer_id = ? AND digest = ? AND buffer_id IS NOT NULL",
        )?;
        let by_frame = [link, text(buffer), ValueRef::Blob(&message.digest)];
        if let Some(found) = statement.query_row(params(by_frame), found).optional()? {
            return Ok(found);
        }
    }
    store
        .connection
        .prepare_cached(
            "SELECT id, state FROM inbound WHERE link = ? AND platform = ? AND chat_id = ? AND message_id = ? \
             AND message_id IS NOT NULL",
        )?
        .query_row(params([link, platform, chat, maybe(message.message_id.as_deref())]), found)
}

impl Work for MarkInbound {
    type Answer = ();

    fn run(&self, store: &mut Store<'_>) -> Result<(), Failure> {
        let row = self.id.0;
        let before = read_state(store, row)?;
        let is_final = matches!(
            before.state,
            InboundState::Done | InboundState::Failed | InboundState::Refused | InboundState::Dead
        );
        if self.state == InboundState::Running && is_final {
            return Err(LedgerError::Final { row }.into());
        }
        let attempts = before.attempts + i64::from(self.state == InboundState::Running);
        let turn = self.turn.map(|turn| turn.to_string()).or(before.turn);
        let note = self.note.as_deref().or(before.note.as_deref());
        write_state(store, row, state_values(self.state, attempts, turn.as_deref(), note, store.now_ms))?;
        store.delta.inbound[inbound_code(before.state)] -= 1;
        store.delta.inbound[inbound_code(self.state)] += 1;
        Ok(())
    }
}

/// Changes only the note of an event.
pub(super) struct NoteChange {
    pub(super) id: i64,
    pub(super) note: &'static str,
}

impl NoteChange {
    pub(super) fn run(&self, store: &mut Store<'_>) -> Result<(), Failure> {
        let InboundMark { state, attempts, turn, .. } = read_state(store, self.id)?;
        let values = state_values(state, attempts, turn.as_deref(), Some(self.note), store.now_ms);
        Ok(write_state(store, self.id, values)?)
    }
}

/// The columns that a mark changes, of row `row`.
fn read_state(store: &mut Store<'_>, row: i64) -> Result<InboundMark, Failure> {
    let connection = store.connection;
    let found = connection
        .prepare_cached("SELECT id, state, attempts, turn, note, changed_at_ms, state_sum FROM inbound WHERE id = ?")?
        .query_row([row], |found| Ok(mark_of_row(found)))
        .optional()?
        .ok_or(LedgerError::Missing { table: TABLE, row })?;
    found.map_err(|CorruptRow| store.corrupt(TABLE, row).into())
}

fn write_state(store: &Store<'_>, row: i64, state: [ValueRef<'_>; STATE_COLUMNS]) -> rusqlite::Result<()> {
    let sum = ValueRef::Integer(checksum(STATE, row, &state));
    store
        .connection
        .prepare_cached(
            "UPDATE inbound SET state = ?, attempts = ?, turn = ?, note = ?, changed_at_ms = ?, state_sum = ? \
             WHERE id = ?",
        )?
        .execute(params(state.into_iter().chain([sum, ValueRef::Integer(row)])))
        .map(|_| ())
}

impl Work for ListInbound {
    type Answer = Vec<InboundRow>;

    fn run(&self, store: &mut Store<'_>) -> Result<Vec<InboundRow>, Failure> {
        let (states, after) = (self.states.iter().copied().map(inbound_code), self.after.map(|id| id.0));
        Ok(store.list(TABLE, states, after, self.limit, inbound_row, |row| row.id.0)?)
    }
}

impl Work for ListWaiting {
    type Answer = Vec<WaitingRow>;

    fn run(&self, store: &mut Store<'_>) -> Result<Vec<WaitingRow>, Failure> {
        let (states, after) = (self.states.iter().copied().map(inbound_code), self.after.map(|id| id.0));
        Ok(store.list(TABLE, states, after, self.limit, waiting_row, |row| row.id.0)?)
    }
}

impl Work for ReadInbound {
    type Answer = InboundRow;

    fn run(&self, store: &mut Store<'_>) -> Result<InboundRow, Failure> {
        let row = self.id.0;
        let connection = store.connection;
        let found = connection
            .prepare_cached("SELECT * FROM inbound WHERE id = ?")?
            .query_row([row], |found| Ok(inbound_row(found)))
            .optional()?
            .ok_or(LedgerError::Missing { table: TABLE, row })?;
        found.map_err(|CorruptRow| store.corrupt(TABLE, row).into())
    }
}

impl Work for LastInterrupted {
    type Answer = Option<InboundRow>;

    fn run(&self, store: &mut Store<'_>) -> Result<Option<InboundRow>, Failure> {
        let (session, connection) = (super::session_text(&self.session), store.connection);
        let mut statement =
            connection.prepare_cached("SELECT * FROM inbound WHERE state = ? AND session = ? ORDER BY id DESC")?;
        let state = row::code(inbound_code(InboundState::Interrupted));
        let mut rows = statement.query(params([state, text(&session)]))?;
        while let Some(row) = rows.next()? {
            match inbound_row(row) {
                Ok(row) => return Ok(Some(row)),
                Err(CorruptRow) => drop(store.corrupt(TABLE, row.get(0)?)),
            }
        }
        Ok(None)
    }
}

fn state_values<'a>(
    state: InboundState,
    attempts: i64,
    turn: Option<&'a str>,
    note: Option<&'a str>,
    now_ms: i64,
) -> [ValueRef<'a>; STATE_COLUMNS] {
    [row::code(inbound_code(state)), ValueRef::Integer(attempts), maybe(turn), maybe(note), ValueRef::Integer(now_ms)]
}

/// The columns that a mark changes, as stored.
struct InboundMark {
    state: InboundState,
    attempts: i64,
    turn: Option<String>,
    note: Option<String>,
}

fn mark_of_row(row: &Row<'_>) -> Result<InboundMark, CorruptRow> {
    verify(STATE, row.get(0)?, row, 1, STATE_COLUMNS)?;
    Ok(InboundMark {
        state: inbound_state(row::code_at(row, 1)?).ok_or(CorruptRow)?,
        attempts: row.get(2)?,
        turn: row.get(3)?,
        note: row.get(4)?,
    })
}

/// A waiting event, verified as a whole row is: its checksums are checked, and only its event is not returned.
fn waiting_row(row: &Row<'_>) -> Result<WaitingRow, CorruptRow> {
    let InboundRow { id, target, session, turn, received_at_ms, .. } = inbound_row(row)?;
    Ok(WaitingRow { id, link: target.link, session, turn, received_at_ms })
}

pub(super) fn inbound_row(row: &Row<'_>) -> Result<InboundRow, CorruptRow> {
    let id = row.get(0)?;
    let before = mark_of_row(row)?;
    verify(TABLE, id, row, FIXED, FIXED_COLUMNS)?;
    let after_target = FIXED + TARGET_COLUMNS;
    let profile: String = row.get(after_target + 3)?;
    let session: String = row.get(after_target + 4)?;
    Ok(InboundRow {
        id: InboundId(id),
        target: row::target(row, FIXED)?,
        profile: profile.try_into().map_err(|_| CorruptRow)?,
        session: serde_json::from_str::<SessionKey>(&session).map_err(|_| CorruptRow)?,
        event: row.get(after_target + 6)?,
        state: before.state,
        attempts: u32::try_from(before.attempts).map_err(|_| CorruptRow)?,
        turn: before.turn.map(|turn| turn.parse()).transpose().map_err(|_| CorruptRow)?,
        received_at_ms: row.get(after_target + 5)?,
    })
}
