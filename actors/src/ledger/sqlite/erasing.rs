//! What the ledger has of a person, erased in steps.
//!
//! The row of an event or a reply stays: its keys say that a repeated frame ran already. Its text, its person and the name of its session are
//! replaced, and its checksum is made again. Pages that become free keep what they had until `free_pages` fills them.

use std::time::{Duration, Instant};

use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::belonging::{self, EVENT_COLUMNS, text_at};
use super::export::number_of;
use super::free_pages;
use super::inbound;
use super::marks::{self, INBOUND_TABLE, OUTBOUND_TABLE};
use super::outbound;
use super::row::{checksum, params, text, verify};
use super::transaction::SqliteTransaction;
use crate::ledger::belonging::{DeadLetters, ProfileFilter, ReplyColumns, is_conversation_of};
use crate::ledger::failure::Failure;
use crate::ledger::store::{ErasedRows, InboundMark, OutboundMark};
use caduceus_contract::api::ledger_data::{ErasedPart, ErasurePlace, LedgerPart, LedgerPlace};
use caduceus_contract::messages::ledger::{ERASED, InboundId, InboundState, LedgerError, OutboundId, OutboundState};
use caduceus_contract::messages::ledger_control::ErasePerson;
use caduceus_contract::wire::session::SessionKey;

/// Rows that a step looks at: some milliseconds.
const SCANNED: i64 = 2_000;
/// How long a step changes rows.
const SLICE: Duration = Duration::from_millis(10);
/// Note of an interrupted event that can no longer run.
const NOTE: &str = "erased";
/// Forgets the error of a reply whose mark is corrupt.
const FORGET_ERROR: &str = "UPDATE outbound_marks SET error = NULL WHERE id = ?";

/// One step.
pub(super) fn step(store: &mut SqliteTransaction<'_>, request: &ErasePerson) -> Result<ErasedRows, Failure> {
    store.atomically(|store| {
        let mut erased = ErasedRows::default();
        let LedgerPlace { part, after } = request.from.at;
        let (last, following) = match part {
            LedgerPart::Events => return events_and_replies(store, request, request.from),
            // Where erasures of earlier versions began.
            LedgerPart::Replies => return events_and_replies(store, request, ErasurePlace::BEGINNING),
            LedgerPart::Conversations => {
                (conversations(store, request, after, &mut erased.part)?, Some(LedgerPart::FreePages))
            }
            LedgerPart::FreePages => (free_pages::fill(store, after)?, Some(LedgerPart::Filled)),
            LedgerPart::Filled => (free_pages::release(store)?, Some(LedgerPart::Log)),
            LedgerPart::Log => (None, None),
        };
        let same_part = last.map(|after| ErasurePlace { at: LedgerPlace { part, after }, ..request.from });
        erased.part.next = same_part.or(following.map(ErasurePlace::beginning));
        Ok(erased)
    })
}

/// The next replies; and the next events once no reply is left, in the same transaction. So no event is erased before a reply to it, which
/// belongs to the person by this event only, also not before one that was recorded since the erasure began.
fn events_and_replies(
    store: &mut SqliteTransaction<'_>,
    request: &ErasePerson,
    mut place: ErasurePlace,
) -> Result<ErasedRows, Failure> {
    let mut erased = ErasedRows::default();
    let next = match replies(store, request, &mut place, &mut erased.part)? {
        Passed::Some => Some(place),
        Passed::All => match events(store, request, &mut place, &mut erased)? {
            Passed::Some => Some(place),
            Passed::All => Some(ErasurePlace::beginning(LedgerPart::Conversations)),
        },
    };
    erased.part.next = next;
    Ok(erased)
}

/// How many of the rows of a table were gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    Some,
    All,
}

/// A row that may be one of the person, and what is needed of it.
struct Candidate<T> {
    row: i64,
    columns: T,
}

/// The next rows of a table.
struct Candidates<T> {
    found: Vec<Candidate<T>>,
    /// The last row that was looked at.
    last: i64,
    passed: Passed,
}

fn events(
    store: &mut SqliteTransaction<'_>,
    request: &ErasePerson,
    place: &mut ErasurePlace,
    erased: &mut ErasedRows,
) -> Result<Passed, Failure> {
    let sql =
        format!("SELECT id, profile, session, {EVENT_COLUMNS} FROM inbound WHERE id > ? ORDER BY id LIMIT {SCANNED}");
    let candidate = |row: &Row<'_>| {
        let of_person = belonging::event_at(row, 3, |event| event.is_of(&request.person, DeadLetters::Mentioning));
        (of_person && is_of_profile(request, row)).then(|| row.get::<_, String>(2).unwrap_or_default())
    };
    let left_from = place.left_from.unwrap_or(i64::MAX);
    let candidates = candidates(store, &sql, place.at.after, candidate)?;
    each(candidates, &mut place.at.after, |Candidate { row, columns: session }| {
        if row >= left_from {
            erased.part.open += 1;
            return Ok(());
        }
        let mark = match marks::of_event(store, row) {
            Ok(mark) => Some(mark),
            Err(Failure::Answered(LedgerError::Corrupt { .. } | LedgerError::Missing { .. })) => None,
            Err(failure) => return Err(failure),
        };
        let is_open = |mark: &InboundMark| {
            let waits = [InboundState::Received, InboundState::Held, InboundState::Running];
            waits.contains(&mark.state) || mark.is_unread()
        };
        if mark.as_ref().is_some_and(is_open) {
            erased.part.open += 1;
            return Ok(());
        }
        if let Some(before) = mark
            && before.state == InboundState::Interrupted
        {
            let after = InboundMark { state: InboundState::Refused, note: Some(NOTE.to_owned()), ..before.clone() };
            inbound::write_mark(store, InboundId(row), &before, after)?;
            erased.interrupted += 1;
        }
        let key = serde_json::from_str::<SessionKey>(&session).ok();
        let left = key.as_ref().map(SessionKey::without_user);
        replace(store, &EVENT, row, left.as_ref().map(SessionKey::stored))?;
        erased.part.events += 1;
        if delete_conversation(store, &session)? {
            erased.part.conversations += 1;
            erased.part.shared_conversations += u64::from(key.is_some_and(|key| key.is_shared()));
        }
        Ok(())
    })
}

/// A reply that may be one of the person.
struct ReplyCandidate {
    /// The event that it answers, if it belongs to the person by this event only.
    only_by: Option<i64>,
}

fn replies(
    store: &mut SqliteTransaction<'_>,
    request: &ErasePerson,
    place: &mut ErasurePlace,
    erased: &mut ErasedPart,
) -> Result<Passed, Failure> {
    let sql = format!(
        "SELECT outbound.id, inbound.profile, outbound.user_id, outbound.platform, {EVENT_COLUMNS}, outbound.inbound \
         FROM outbound LEFT JOIN inbound ON inbound.id = outbound.inbound WHERE outbound.id > ? \
         ORDER BY outbound.id LIMIT {SCANNED}"
    );
    let candidate = |row: &Row<'_>| {
        let (user, platform) = (text_at(row, 2), text_at(row, 3));
        let reply = ReplyColumns { user: user.as_deref(), platform: platform.as_deref() };
        let person = &request.person;
        let is_its_own = reply.is_of(person, None, DeadLetters::Mentioning);
        let is_of = is_its_own
            || belonging::event_at(row, 4, |event| reply.is_of(person, Some(event), DeadLetters::Mentioning));
        let only_by = row.get(8).ok().filter(|_| !is_its_own);
        (is_of && is_of_profile(request, row)).then_some(ReplyCandidate { only_by })
    };
    let candidates = candidates(store, &sql, place.replies, candidate)?;
    let left_from = &mut place.left_from;
    each(candidates, &mut place.replies, |Candidate { row, columns: ReplyCandidate { only_by } }| {
        let mark = match marks::of_reply(store, row) {
            Ok(mark) => Some(mark),
            Err(Failure::Answered(LedgerError::Corrupt { .. } | LedgerError::Missing { .. })) => None,
            Err(failure) => return Err(failure),
        };
        let waits = [OutboundState::Pending, OutboundState::Sending, OutboundState::Ambiguous];
        if mark.as_ref().is_some_and(|mark| waits.contains(&mark.state)) {
            erased.open += 1;
            // What belongs to it by its name is found again without its event.
            *left_from = left_from.iter().copied().chain(only_by).min();
            return Ok(());
        }
        // The connector's words about a reply may repeat it, in whatever state it is.
        match mark {
            Some(mark) if mark.error.is_some() => {
                outbound::write_mark(store, OutboundId(row), mark.state, OutboundMark { error: None, ..mark })?;
            }
            Some(_) => {}
            // Its checksum is wrong, and stays so.
            None => drop(store.connection.prepare_cached(FORGET_ERROR)?.execute([row])?),
        }
        replace(store, &REPLY, row, None)?;
        erased.replies += 1;
        Ok(())
    })
}

fn conversations(
    store: &mut SqliteTransaction<'_>,
    request: &ErasePerson,
    after: i64,
    erased: &mut ErasedPart,
) -> Result<Option<i64>, Failure> {
    let sql = format!("SELECT id, session FROM sessions WHERE id > ? ORDER BY id LIMIT {SCANNED}");
    let candidate = |row: &Row<'_>| {
        let session: String = row.get(1).ok()?;
        let key = serde_json::from_str::<SessionKey>(&session).ok()?;
        let of_profile = request.profile.as_ref().is_none_or(|wanted| key.profile() == wanted);
        (of_profile && is_conversation_of(&key, &request.person)).then_some(session)
    };
    let candidates = candidates(store, &sql, after, candidate)?;
    let mut last = after;
    let passed = each(candidates, &mut last, |Candidate { columns: session, .. }| {
        let is_deleted = delete_conversation(store, &session)?;
        erased.conversations += u64::from(is_deleted);
        Ok(())
    })?;
    Ok((passed == Passed::Some).then_some(last))
}

/// The candidates among the next rows, for a limited time.
fn candidates<T>(
    store: &SqliteTransaction<'_>,
    sql: &str,
    after: i64,
    candidate: impl Fn(&Row<'_>) -> Option<T>,
) -> rusqlite::Result<Candidates<T>> {
    let mut statement = store.connection.prepare_cached(sql)?;
    let mut rows = statement.query([after])?;
    let (mut found, mut read, mut last) = (Vec::new(), 0, after);
    let begun = Instant::now();
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        read += 1;
        found.extend(candidate(row).map(|columns| Candidate { row: last, columns }));
        // Frames that could not be used may be long.
        if read == SCANNED || begun.elapsed() > SLICE {
            return Ok(Candidates { found, last, passed: Passed::Some });
        }
    }
    Ok(Candidates { found, last, passed: Passed::All })
}

/// Changes the candidates one by one, for a limited time, and moves `last` to the last row that is done.
fn each<T>(
    candidates: Candidates<T>,
    last: &mut i64,
    mut change: impl FnMut(Candidate<T>) -> Result<(), Failure>,
) -> Result<Passed, Failure> {
    let begun = Instant::now();
    let mut done = None;
    for candidate in candidates.found {
        if let Some(done) = done
            && begun.elapsed() > SLICE
        {
            *last = done;
            return Ok(Passed::Some);
        }
        done = Some(candidate.row);
        change(candidate)?;
    }
    *last = candidates.last;
    Ok(candidates.passed)
}

/// Whether the profile in column 1 is the one that is asked for, if one is.
fn is_of_profile(request: &ErasePerson, row: &Row<'_>) -> bool {
    let profiles = ProfileFilter { wanted: request.profile.as_ref(), person: Some(&request.person) };
    profiles.admits(text_at(row, 1).as_deref())
}

/// A table with a text and a person: the columns under its checksum begin behind its number.
struct ErasedTable {
    part: &'static str,
    columns: usize,
    /// The columns of the person and the text, and of the name of the session, among those under the checksum.
    user: usize,
    text: usize,
    session: Option<usize>,
    read: &'static str,
    write: &'static str,
}

const EVENT: ErasedTable = ErasedTable {
    part: INBOUND_TABLE,
    columns: inbound::FIXED_COLUMNS,
    user: 5,
    text: inbound::FIXED_COLUMNS - 1,
    session: Some(11),
    read: "SELECT * FROM inbound WHERE id = ?",
    write: "UPDATE inbound SET user_id = NULL, event = ?1, sum = ?2, session = ?3 WHERE id = ?4",
};

const REPLY: ErasedTable = ErasedTable {
    part: OUTBOUND_TABLE,
    columns: outbound::FIXED_COLUMNS,
    user: 5,
    text: outbound::FIXED_COLUMNS - 1,
    session: None,
    read: "SELECT * FROM outbound WHERE id = ?",
    write: "UPDATE outbound SET user_id = NULL, action = ?1, sum = ?2 WHERE ?3 IS NULL AND id = ?4",
};

/// Replaces the text, the person and the name of the session in a row. A row that was corrupt stays so.
fn replace(
    store: &mut SqliteTransaction<'_>,
    table: &ErasedTable,
    row: i64,
    session: Option<&str>,
) -> rusqlite::Result<()> {
    let ErasedTable { part, columns, .. } = *table;
    let session = table.session.map(|column| (column, session.unwrap_or_default()));
    let connection = store.connection;
    let sum = connection.prepare_cached(table.read)?.query_row([row], |found| {
        let mut values = (1..=columns).map(|column| found.get_ref(column)).collect::<Result<Vec<_>, _>>()?;
        values[table.user] = ValueRef::Null;
        values[table.text] = text(ERASED);
        if let Some((column, session)) = session {
            values[column] = text(session);
        }
        let sum = checksum(part, row, &values);
        // A wrong checksum stays wrong.
        Ok(if verify(part, row, found, 1, columns).is_ok() { sum } else { !sum })
    })?;
    let session = session.map_or(ValueRef::Null, |(_, session)| text(session));
    let values = [text(ERASED), ValueRef::Integer(sum), session, ValueRef::Integer(row)];
    connection.prepare_cached(table.write)?.execute(params(values)).map(drop)
}

/// Deletes a conversation, and returns whether there was one.
fn delete_conversation(store: &mut SqliteTransaction<'_>, session: &str) -> rusqlite::Result<bool> {
    let Some(number) = number_of(store, session)? else { return Ok(false) };
    store.connection.prepare_cached("DELETE FROM history WHERE session = ?")?.execute([number])?;
    store.connection.prepare_cached("DELETE FROM sessions WHERE id = ?")?.execute([number])?;
    let digest = store.memory.session_digest(session);
    store.memory.forget_session(digest);
    Ok(true)
}
