//! Inbound events: recorded once, marked, listed.
//!
//! A mark changes a short row beside that of the event, so that it writes few pages whatever the length of the event.

use std::collections::BTreeSet;

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row};

use super::duplicates::KeyHashes;
use super::marks::{InboundMark, MARK_COLUMNS};
use super::memory::RowKind;
use super::row::{self, CorruptRow, TARGET_COLUMNS, checksum, maybe, params, target_values, text, verify};
use super::states::{inbound_code, inbound_state};
use super::store::{Failure, ListedTable, Store, Work};
use super::unread;
use caduceus_contract::messages::ledger::{
    InboundId, InboundRow, InboundState, LastInterrupted, LedgerError, ListInbound, ListWaiting, MarkInbound,
    REFUSED_BY_DRAIN, ReadInbound, RecordInbound, Recorded, WaitingRow, WithdrawTurns,
};
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::session::SessionKey;

/// The table's name in SQL and in errors.
pub(super) const TABLE: &str = "inbound";
/// Columns that never change.
const FIXED_COLUMNS: usize = TARGET_COLUMNS + 7;
/// The first of them in a row that is read: after the row's number, the state with its checksum, and the number again.
const FIXED: usize = 1 + MARK_COLUMNS + 2;
/// Reads whole rows. A row whose event is missing is corrupt, not absent.
pub(super) const READ: &str = "SELECT marks.id, state, attempts, turn, note, changed_at_ms, state_sum, inbound.* \
     FROM inbound_marks AS marks LEFT JOIN inbound ON inbound.id = marks.id";

const LIST: ListedTable = ListedTable { kind: RowKind::Inbound, name: TABLE, read: READ };

impl Work for RecordInbound {
    type Answer = Recorded;

    fn run(&self, store: &mut Store<'_>) -> Result<Recorded, Failure> {
        let hashes = hashes(self, store);
        if let Some((id, state)) = find_duplicate(self, hashes, store)? {
            return Ok(Recorded::Duplicate { id, state });
        }
        let id = if is_unread(self.state, self.note.as_deref()) {
            store.atomically(|store| {
                let id = insert(self, hashes, store)?;
                Ok(unread::add(store, id).map(|()| id)?)
            })?
        } else {
            insert(self, hashes, store)?
        };
        store.memory.add_keys(hashes, id);
        store.moved(RowKind::Inbound, id, None, inbound_code(self.state));
        store.delta.written += 1;
        Ok(Recorded::New(InboundId(id)))
    }
}

/// Adds the row of `message`, and returns its number.
fn insert(message: &RecordInbound, hashes: KeyHashes, store: &mut Store<'_>) -> rusqlite::Result<i64> {
    let id = store.ids.inbound + 1;
    let [link, platform, chat, bot, scope, user, thread] = target_values(&message.target);
    let fixed: [ValueRef<'_>; FIXED_COLUMNS] = [
        link,
        platform,
        chat,
        bot,
        scope,
        user,
        thread,
        maybe(message.buffer_id.as_deref()),
        ValueRef::Blob(&message.digest),
        maybe(message.message_id.as_deref()),
        text(message.profile.as_str()),
        text(message.session.stored()),
        ValueRef::Integer(store.now_ms),
        text(message.event.get()),
    ];
    let values =
        std::iter::once(ValueRef::Integer(id)).chain(fixed).chain([ValueRef::Integer(checksum(TABLE, id, &fixed))]);
    // First, because it is refused if the event is too large; without a row of marks it is not a row of the ledger.
    store
        .connection
        .prepare_cached("INSERT INTO inbound VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")?
        .execute(params(values))?;
    let attempts = i64::from(message.state == InboundState::Running);
    let mark = InboundMark { state: message.state, attempts, turn: message.turn, note: message.note.clone() };
    mark.insert(store, id, hashes)?;
    store.ids.inbound = id;
    Ok(id)
}

fn hashes(message: &RecordInbound, store: &Store<'_>) -> KeyHashes {
    let [link, platform, chat, ..] = target_values(&message.target);
    let key = &store.memory.hash_key;
    let frame = message.buffer_id.as_deref();
    let frame = frame.map(|buffer| key.frame(link, text(buffer), ValueRef::Blob(&message.digest)));
    let name = message.message_id.as_deref();
    KeyHashes { frame, message: name.map(|name| key.message([link, platform, chat, text(name)])) }
}

/// The row that has a key of `message`: that of the frame is searched first, then that of the message.
fn find_duplicate(
    message: &RecordInbound,
    hashes: KeyHashes,
    store: &Store<'_>,
) -> rusqlite::Result<Option<(InboundId, InboundState)>> {
    let [link, platform, chat, ..] = target_values(&message.target);
    let found = |row: &Row<'_>| {
        let code: i64 = row.get(1)?;
        // An unknown code is a corrupt row, which does not run.
        let state = usize::try_from(code).ok().and_then(inbound_state).unwrap_or(InboundState::Dead);
        Ok((InboundId(row.get(0)?), state))
    };
    for row in hashes.frame.into_iter().flat_map(|hash| store.memory.rows_with(hash)) {
        let mut statement = store.connection.prepare_cached(
            "SELECT id, state FROM inbound JOIN inbound_marks USING (id) \
             WHERE id = ? AND link = ? AND buffer_id = ? AND digest = ?",
        )?;
        let buffer = maybe(message.buffer_id.as_deref());
        let by_frame = [ValueRef::Integer(row), link, buffer, ValueRef::Blob(&message.digest)];
        if let Some(found) = statement.query_row(params(by_frame), found).optional()? {
            return Ok(Some(found));
        }
    }
    for row in hashes.message.into_iter().flat_map(|hash| store.memory.rows_with(hash)) {
        let mut statement = store.connection.prepare_cached(
            "SELECT id, state FROM inbound JOIN inbound_marks USING (id) \
             WHERE id = ? AND link = ? AND platform = ? AND chat_id = ? AND message_id = ?",
        )?;
        let name = maybe(message.message_id.as_deref());
        let by_message = [ValueRef::Integer(row), link, platform, chat, name];
        if let Some(found) = statement.query_row(params(by_message), found).optional()? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether a mark was the first of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marked {
    Now,
    /// The row is in the state of the same turn already: the mark was handed over twice.
    Before,
}

impl Work for MarkInbound {
    type Answer = ();

    fn run(&self, store: &mut Store<'_>) -> Result<(), Failure> {
        apply(self, store).map(|_| ())
    }

    fn is_owed(&self) -> bool {
        self.state != InboundState::Running
    }
}

/// Changes the state of an event.
pub(super) fn apply(mark: &MarkInbound, store: &mut Store<'_>) -> Result<Marked, Failure> {
    let row = mark.id.0;
    let before = InboundMark::of_event(store, row)?;
    if mark.turn.is_some() && before.turn == mark.turn && before.state == mark.state {
        return Ok(Marked::Before);
    }
    let is_final =
        matches!(before.state, InboundState::Done | InboundState::Failed | InboundState::Refused | InboundState::Dead);
    if mark.state == InboundState::Running && is_final {
        return Err(LedgerError::Final { row }.into());
    }
    let was_unread = is_unread(before.state, before.note.as_deref());
    let after = InboundMark {
        state: mark.state,
        attempts: before.attempts + i64::from(mark.state == InboundState::Running),
        turn: mark.turn.or(before.turn),
        note: mark.note.clone().or(before.note),
    };
    match (was_unread, is_unread(mark.state, after.note.as_deref())) {
        (false, false) | (true, true) => after.write(store, row)?,
        (false, true) => store.atomically(|store| {
            after.write(store, row)?;
            Ok(unread::add(store, row)?)
        })?,
        (true, false) => store.atomically(|store| {
            after.write(store, row)?;
            Ok(unread::remove(store.connection, row)?)
        })?,
    }
    store.moved(RowKind::Inbound, row, Some(inbound_code(before.state)), inbound_code(mark.state));
    Ok(Marked::Now)
}

impl Work for WithdrawTurns {
    type Answer = Vec<(TurnId, InboundId)>;

    fn run(&self, store: &mut Store<'_>) -> Result<Self::Answer, Failure> {
        let mut turns: BTreeSet<TurnId> = self.turns.iter().copied().collect();
        let mut withdrawn = Vec::new();
        let running = store.memory.open_rows(RowKind::Inbound, inbound_code(InboundState::Running));
        // They were recorded last.
        let rows: Vec<i64> = running.into_iter().flatten().rev().copied().collect();
        for row in rows {
            if turns.is_empty() {
                break;
            }
            let before = match InboundMark::of_event(store, row) {
                Ok(before) => before,
                // A corrupt row is not that of one of them, as far as can be known.
                Err(Failure::Answered(_)) => continue,
                Err(failure) => return Err(failure),
            };
            let Some(turn) = before.turn.filter(|turn| turns.remove(turn)) else { continue };
            let (from, state) = (before.state, InboundState::Received);
            InboundMark { state, attempts: before.attempts - 1, turn: None, ..before }.write(store, row)?;
            store.moved(RowKind::Inbound, row, Some(inbound_code(from)), inbound_code(state));
            withdrawn.push((turn, InboundId(row)));
        }
        Ok(withdrawn)
    }

    fn is_owed(&self) -> bool {
        true
    }
}

/// Whether the chat of an event is to be notified that a drain refused it.
fn is_unread(state: InboundState, note: Option<&str>) -> bool {
    state == InboundState::Refused && note == Some(REFUSED_BY_DRAIN)
}

/// Changes only the note of an unread event, which is read then.
pub(super) struct NoteChange {
    pub(super) id: i64,
    pub(super) note: &'static str,
}

impl NoteChange {
    pub(super) fn run(&self, store: &mut Store<'_>) -> Result<(), Failure> {
        let before = InboundMark::of_event(store, self.id)?;
        store.atomically(|store| {
            InboundMark { note: Some(self.note.to_owned()), ..before }.write(store, self.id)?;
            Ok(unread::remove(store.connection, self.id)?)
        })
    }
}

impl Work for ListInbound {
    type Answer = Vec<InboundRow>;

    fn run(&self, store: &mut Store<'_>) -> Result<Vec<InboundRow>, Failure> {
        let (states, after) = (self.states.iter().copied().map(inbound_code), self.after.map(|id| id.0));
        Ok(store.list(LIST, states, after, self.limit, inbound_row, |row| row.id.0)?)
    }
}

impl Work for ListWaiting {
    type Answer = Vec<WaitingRow>;

    fn run(&self, store: &mut Store<'_>) -> Result<Vec<WaitingRow>, Failure> {
        let (states, after) = (self.states.iter().copied().map(inbound_code), self.after.map(|id| id.0));
        Ok(store.list(LIST, states, after, self.limit, waiting_row, |row| row.id.0)?)
    }
}

impl Work for ReadInbound {
    type Answer = InboundRow;

    fn run(&self, store: &mut Store<'_>) -> Result<InboundRow, Failure> {
        let row = self.id.0;
        let connection = store.connection;
        let found = connection
            .prepare_cached(&format!("{READ} WHERE marks.id = ?"))?
            .query_row([row], |found| Ok(inbound_row(found)))
            .optional()?
            .ok_or(LedgerError::Missing { table: TABLE, row })?;
        found.map_err(|CorruptRow| store.corrupt(TABLE, row).into())
    }
}

impl Work for LastInterrupted {
    type Answer = Option<InboundRow>;

    fn run(&self, store: &mut Store<'_>) -> Result<Option<InboundRow>, Failure> {
        let (session, connection) = (self.session.stored(), store.connection);
        let interrupted = inbound_code(InboundState::Interrupted);
        let mut of_session = connection.prepare_cached("SELECT 1 FROM inbound WHERE id = ? AND session = ?")?;
        let mut before = i64::MAX;
        loop {
            let rows = store.memory.open_rows(RowKind::Inbound, interrupted);
            let Some(row) = rows.and_then(|rows| rows.range(..before).next_back().copied()) else { return Ok(None) };
            before = row;
            if !of_session.exists(params([ValueRef::Integer(row), text(session)]))? {
                continue;
            }
            if let Some(Ok(row)) = store.read_in_state(LIST, row, interrupted, inbound_row)? {
                return Ok(Some(row));
            }
        }
    }
}

/// A waiting event, verified as a whole row is: its checksums are checked, and only its event is not returned.
fn waiting_row(row: &Row<'_>) -> Result<WaitingRow, CorruptRow> {
    let InboundRow { id, target, session, turn, received_at_ms, .. } = inbound_row(row)?;
    Ok(WaitingRow { id, link: target.link.clone(), session, turn, received_at_ms })
}

pub(super) fn inbound_row(row: &Row<'_>) -> Result<InboundRow, CorruptRow> {
    let id = row.get(0)?;
    let before = InboundMark::of_row(row)?;
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
        turn: before.turn,
        received_at_ms: row.get(after_target + 5)?,
    })
}
