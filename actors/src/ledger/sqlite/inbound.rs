//! The rows of inbound events: added once, marked, found, listed.
//!
//! A mark changes a short row beside that of the event, so that it writes few pages whatever the length of the event.

use std::collections::BTreeSet;

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row};

use super::duplicates::KeyHashes;
use super::marks::{self, INBOUND_TABLE as TABLE, MARK_COLUMNS};
use super::memory::RowKind;
use super::row::{self, CorruptRow, TARGET_COLUMNS, checksum, maybe, params, target_values, text, verify};
use super::transaction::{ListedTable, SqliteTransaction};
use super::unread;
use crate::ledger::failure::Failure;
use crate::ledger::states::inbound_code;
use crate::ledger::store::InboundMark;
use caduceus_contract::messages::ledger::{
    InboundId, InboundRow, InboundState, InterruptedPage, LedgerError, ListInbound, ListInterrupted, ListWaiting,
    RecordInbound, Recorded, WaitingPage, WaitingRow,
};
use caduceus_contract::share::DispatchShare;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::session::SessionKey;

/// Interrupted events of all chats that one search for those of a chat looks at: some 10 ms.
const SEARCHED: usize = 5_000;

/// Columns that never change.
pub(super) const FIXED_COLUMNS: usize = TARGET_COLUMNS + 10;
/// The first of them in a row that is read: after the row's number, the state with its checksum, and the number again.
pub(super) const FIXED: usize = 1 + MARK_COLUMNS + 2;
/// Reads whole rows. A row whose event is missing is corrupt, not absent.
pub(super) const READ: &str = "SELECT marks.id, state, attempts, turn, note, changed_at_ms, begun_at_ms, marks.term, \
     state_sum, inbound.* FROM inbound_marks AS marks LEFT JOIN inbound ON inbound.id = marks.id";

const LIST: ListedTable = ListedTable { kind: RowKind::Inbound, name: TABLE, read: READ };

/// Adds an event, unless there is one with a key of it.
pub(super) fn record(
    store: &mut SqliteTransaction<'_>,
    message: &RecordInbound,
    mark: InboundMark,
) -> Result<Recorded, Failure> {
    let hashes = hashes(message, store);
    if let Some((id, state)) = find_duplicate(message, hashes, store)? {
        return Ok(Recorded::Duplicate { id, state });
    }
    let code = inbound_code(mark.state);
    let id = if mark.is_unread() {
        store.atomically(|store| {
            let id = insert(message, mark, hashes, store)?;
            Ok(unread::add(store, id).map(|()| id)?)
        })?
    } else {
        insert(message, mark, hashes, store)?
    };
    store.memory.add_keys(hashes, id);
    store.memory.move_row(RowKind::Inbound, id, None, Some(code));
    Ok(Recorded::New(InboundId(id)))
}

/// Adds the row of `message`, and returns its number.
fn insert(
    message: &RecordInbound,
    mark: InboundMark,
    hashes: KeyHashes,
    store: &mut SqliteTransaction<'_>,
) -> rusqlite::Result<i64> {
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
        ValueRef::Integer(message.receipt.arrived_at_ms),
        maybe(message.receipt.gateway.as_deref()),
        ValueRef::Integer(store.term),
        text(message.event.get()),
    ];
    let values =
        std::iter::once(ValueRef::Integer(id)).chain(fixed).chain([ValueRef::Integer(checksum(TABLE, id, &fixed))]);
    // First, because it is refused if the event is too large; without a row of marks it is not a row of the ledger.
    store
        .connection
        .prepare_cached("INSERT INTO inbound VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")?
        .execute(params(values))?;
    marks::insert_of_event(store, id, mark, hashes)?;
    store.ids.inbound = id;
    Ok(id)
}

fn hashes(message: &RecordInbound, store: &SqliteTransaction<'_>) -> KeyHashes {
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
    store: &mut SqliteTransaction<'_>,
) -> Result<Option<(InboundId, InboundState)>, Failure> {
    let [link, platform, chat, ..] = target_values(&message.target);
    let connection = store.connection;
    let rows: Vec<i64> = hashes.frame.into_iter().flat_map(|hash| store.memory.rows_with(hash)).collect();
    for row in rows {
        let mut statement = connection
            .prepare_cached("SELECT 1 FROM inbound WHERE id = ? AND link = ? AND buffer_id = ? AND digest = ?")?;
        let buffer = maybe(message.buffer_id.as_deref());
        let by_frame = [ValueRef::Integer(row), link, buffer, ValueRef::Blob(&message.digest)];
        if statement.exists(params(by_frame))?
            && let Some(state) = state_of(row, store)?
        {
            return Ok(Some((InboundId(row), state)));
        }
    }
    let rows: Vec<i64> = hashes.message.into_iter().flat_map(|hash| store.memory.rows_with(hash)).collect();
    for row in rows {
        let mut statement = connection.prepare_cached(
            "SELECT 1 FROM inbound WHERE id = ? AND link = ? AND platform = ? AND chat_id = ? AND message_id = ?",
        )?;
        let name = maybe(message.message_id.as_deref());
        let by_message = [ValueRef::Integer(row), link, platform, chat, name];
        if statement.exists(params(by_message))?
            && let Some(state) = state_of(row, store)?
        {
            return Ok(Some((InboundId(row), state)));
        }
    }
    Ok(None)
}

/// The state of a row, if it has one. A corrupt one does not run.
fn state_of(row: i64, store: &mut SqliteTransaction<'_>) -> Result<Option<InboundState>, Failure> {
    match marks::of_event(store, row) {
        Ok(mark) => Ok(Some(mark.state)),
        Err(Failure::Answered(LedgerError::Corrupt { .. })) => Ok(Some(InboundState::Dead)),
        Err(Failure::Answered(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Replaces the mark of an event.
pub(super) fn write_mark(
    store: &mut SqliteTransaction<'_>,
    InboundId(row): InboundId,
    before: &InboundMark,
    after: InboundMark,
) -> Result<(), Failure> {
    let code = inbound_code(after.state);
    match (before.is_unread(), after.is_unread()) {
        // Another program may have left it in the list of unread events.
        (false, false) if before.state == InboundState::Refused => store.atomically(|store| {
            marks::write_of_event(store, row, after)?;
            Ok(unread::remove(store.connection, row)?)
        })?,
        (false, false) | (true, true) => marks::write_of_event(store, row, after)?,
        (false, true) => store.atomically(|store| {
            marks::write_of_event(store, row, after)?;
            Ok(unread::add(store, row)?)
        })?,
        (true, false) => store.atomically(|store| {
            marks::write_of_event(store, row, after)?;
            Ok(unread::remove(store.connection, row)?)
        })?,
    }
    store.memory.move_row(RowKind::Inbound, row, Some(inbound_code(before.state)), Some(code));
    Ok(())
}

/// The newest running event of each of `turns`, newest first.
pub(super) fn running(
    store: &mut SqliteTransaction<'_>,
    turns: &[TurnId],
) -> Result<Vec<(InboundId, InboundMark)>, Failure> {
    let mut turns: BTreeSet<TurnId> = turns.iter().copied().collect();
    let mut found = Vec::new();
    let running = store.memory.open_rows(RowKind::Inbound, inbound_code(InboundState::Running));
    // They were recorded last.
    let rows: Vec<i64> = running.into_iter().flatten().rev().copied().collect();
    for row in rows {
        if turns.is_empty() {
            break;
        }
        match marks::of_event(store, row) {
            Ok(mark) if mark.turn.is_some_and(|turn| turns.remove(&turn)) => found.push((InboundId(row), mark)),
            Ok(_) | Err(Failure::Answered(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(found)
}

pub(super) fn list(store: &mut SqliteTransaction<'_>, list: &ListInbound) -> Result<Vec<InboundRow>, Failure> {
    let states: Vec<_> = list.states.iter().copied().map(inbound_code).collect();
    let is_wanted = |store: &mut SqliteTransaction<'_>, row| is_of(store, row, list.share);
    Ok(store.list(LIST, &states, list.after.map(|id| id.0), list.limit, is_wanted, inbound_row)?)
}

pub(super) fn list_waiting(store: &mut SqliteTransaction<'_>, list: &ListWaiting) -> Result<WaitingPage, Failure> {
    let states: Vec<_> = list.states.iter().copied().map(inbound_code).collect();
    let page = store.next_rows(LIST, &states, list.after.map(|id| id.0), list.limit)?;
    let next_after = page.last().filter(|_| page.len() == list.limit).map(|(row, _)| InboundId(*row));
    let mut rows = Vec::new();
    for (row, state) in page {
        if is_of(store, row, list.share)? {
            rows.extend(store.read_in_state(LIST, row, state, waiting_row)?.and_then(Result::ok));
        }
    }
    Ok(WaitingPage { rows, next_after })
}

/// Whether an event belongs to the chats of a dispatcher. A row whose chat cannot be read belongs to the first, which finds it corrupt.
fn is_of(store: &mut SqliteTransaction<'_>, row: i64, share: DispatchShare) -> rusqlite::Result<bool> {
    if share.is_all() {
        return Ok(true);
    }
    if let Some(chat) = store.memory.chat(row) {
        return Ok(share.contains_chat(chat));
    }
    // Without its event, which may be long, and its checksums: they are read and verified for one dispatcher only.
    let mut session = store.connection.prepare_cached("SELECT session FROM inbound WHERE id = ?")?;
    let session = session.query_row([row], |found| Ok(found.get::<_, String>(0).ok())).optional()?.flatten();
    let session = session.and_then(|session| serde_json::from_str::<SessionKey>(&session).ok());
    let Some(chat) = session.map(|session| session.chat_hash()) else { return Ok(share.is_first()) };
    store.memory.set_chat(row, chat);
    Ok(share.contains_chat(chat))
}

pub(super) fn read(store: &mut SqliteTransaction<'_>, InboundId(row): InboundId) -> Result<InboundRow, Failure> {
    let connection = store.connection;
    let found = connection
        .prepare_cached(&format!("{READ} WHERE marks.id = ?"))?
        .query_row([row], |found| Ok(inbound_row(found)))
        .optional()?
        .ok_or(LedgerError::Missing { table: TABLE, row })?;
    found.map_err(|CorruptRow| store.corrupt(TABLE, row).into())
}

/// A page of the interrupted events of a chat that are not corrupt, newest first.
pub(super) fn list_interrupted(
    store: &mut SqliteTransaction<'_>,
    list: &ListInterrupted,
) -> Result<InterruptedPage, Failure> {
    let [link, platform, chat, bot, _, _, thread] = target_values(&list.chat);
    let interrupted = inbound_code(InboundState::Interrupted);
    let mut in_chat = store.connection.prepare_cached(
        "SELECT 1 FROM inbound WHERE id = ? AND link = ? AND platform = ? AND chat_id = ? AND bot_id IS ? AND thread_id IS ?",
    )?;
    let mut before = list.before.map_or(i64::MAX, |before| before.0);
    let mut found = Vec::new();
    for _ in 0..SEARCHED {
        let rows = store.memory.open_rows(RowKind::Inbound, interrupted);
        let Some(row) = rows.and_then(|rows| rows.range(..before).next_back().copied()) else {
            return Ok(InterruptedPage { rows: found, next_before: None });
        };
        before = row;
        if in_chat.exists(params([ValueRef::Integer(row), link, platform, chat, bot, thread]))? {
            found.extend(store.read_in_state(LIST, row, interrupted, inbound_row)?.and_then(Result::ok));
        }
        if found.len() >= list.limit {
            break;
        }
    }
    Ok(InterruptedPage { rows: found, next_before: Some(InboundId(before)) })
}

/// A waiting event, verified as a whole row is: its checksums are checked, and only its event is not returned.
fn waiting_row(row: &Row<'_>) -> Result<WaitingRow, CorruptRow> {
    let InboundRow { id, target, session, turn, received_at_ms, .. } = inbound_row(row)?;
    Ok(WaitingRow { id, link: target.link.clone(), session, turn, received_at_ms })
}

pub(super) fn inbound_row(row: &Row<'_>) -> Result<InboundRow, CorruptRow> {
    marked_row(row).map(|(row, _)| row)
}

/// An event and its mark, of a row of [`READ`].
pub(super) fn marked_row(row: &Row<'_>) -> Result<(InboundRow, InboundMark), CorruptRow> {
    let id = row.get(0)?;
    let before = marks::event_mark(row)?;
    verify(TABLE, id, row, FIXED, FIXED_COLUMNS)?;
    let after_target = FIXED + TARGET_COLUMNS;
    let profile: String = row.get(after_target + 3)?;
    let session: String = row.get(after_target + 4)?;
    let event = InboundRow {
        id: InboundId(id),
        target: row::target(row, FIXED)?,
        profile: profile.try_into().map_err(|_| CorruptRow)?,
        session: serde_json::from_str::<SessionKey>(&session).map_err(|_| CorruptRow)?,
        event: row.get(after_target + 9)?,
        state: before.state,
        attempts: u32::try_from(before.attempts).map_err(|_| CorruptRow)?,
        turn: before.turn,
        received_at_ms: row.get(after_target + 5)?,
    };
    Ok((event, before))
}
