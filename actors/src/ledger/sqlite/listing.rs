//! Rows as operators see them: pages of them, and one with all that is known of it.
//!
//! A page looks at a limited number of marks, and reads rows for a limited time, so that a list delays no event however many rows there are.

use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension, Row};

use super::belonging;
use super::inbound;
use super::marks::{INBOUND_TABLE, OUTBOUND_TABLE};
use super::outbound;
use super::row::{CorruptRow, TARGET_COLUMNS};
use super::scan::{MarksScan, ScannedPage, scan};
use super::terms;
use super::transaction::SqliteTransaction;
use crate::ledger::belonging::{DeadLetters, ProfileFilter};
use crate::ledger::failure::Failure;
use crate::ledger::states::{inbound_state, outbound_state};
use crate::ledger::store::{InboundMark, OutboundMark};
use caduceus_contract::api::ledger::{RowDetail, RowId, RowState, RowSummary, RowWriter, RowsPage};
use caduceus_contract::link::Target;
use caduceus_contract::messages::ledger::{InboundId, InboundRow, LedgerError, OutboundId, OutboundRow};
use caduceus_contract::messages::ledger_control::{ListRows, ShowRow};

/// Marks that a page looks at: a millisecond or two.
const SCANNED: usize = 5_000;
/// Most rows of a page, whatever it asks for.
const MOST: usize = 1_000;
/// How long a page reads rows, which may be long.
const SLICE: Duration = Duration::from_millis(10);

/// The columns of a row that are not in its row of the dispatcher.
const AFTER_TARGET: usize = inbound::FIXED + TARGET_COLUMNS;

type ReadSummary = rusqlite::Result<Option<Result<(bool, RowSummary), CorruptRow>>>;

/// One of the two tables.
struct Side {
    table: &'static str,
    marks: &'static str,
    id: fn(i64) -> RowId,
    /// Whether a state is asked for. One that is unknown is that of a corrupt row.
    is_wanted: fn(&ListRows, Option<usize>) -> bool,
    /// Reads a row, and whether it is one of the person that is asked for; `None` if it is gone.
    summary: fn(&SqliteTransaction<'_>, &ListRows, i64) -> ReadSummary,
}

static EVENTS: Side = Side {
    table: INBOUND_TABLE,
    marks: "inbound_marks",
    id: |row| RowId::Event(InboundId(row)),
    is_wanted: |list, code| {
        let state = code.and_then(inbound_state);
        state.is_none_or(|state| list.states.iter().any(|wanted| wanted.of_event() == Some(state)))
    },
    summary: |store, list, row| {
        read_event(store, row, |found| {
            let (event, mark) = inbound::marked_row(found)?;
            let is_of =
                list.person.as_ref().is_none_or(|who| belonging::is_event_of(who, &event, DeadLetters::Mentioning));
            Ok((is_of, event_summary(store, (event, mark))))
        })
    },
};

static REPLIES: Side = Side {
    table: OUTBOUND_TABLE,
    marks: "outbound_marks",
    id: |row| RowId::Reply(OutboundId(row)),
    is_wanted: |list, code| {
        let state = code.and_then(outbound_state);
        state.is_none_or(|state| list.states.iter().any(|wanted| wanted.of_reply() == Some(state)))
    },
    summary: |store, list, row| {
        read_reply(store, row, |found| {
            let (reply, _) = outbound::marked_row(found)?;
            let person = list.person.as_ref();
            let is_of =
                person.map_or(Ok(true), |who| belonging::is_reply_of(store, who, &reply, DeadLetters::Mentioning))?;
            Ok((is_of, reply_summary(store, &reply)))
        })
    },
};

/// One page of a list.
pub(super) fn list(store: &mut SqliteTransaction<'_>, list: &ListRows) -> Result<RowsPage, Failure> {
    let limit = list.limit.clamp(1, MOST);
    let mut page = ListPage { list, side: &EVENTS, rows: Vec::new(), limit, begun: Instant::now() };
    let mut left = SCANNED;
    let (events_after, replies_after) = match list.after {
        None => (Some(0), 0),
        Some(RowId::Event(InboundId(after))) => (Some(after), 0),
        Some(RowId::Reply(OutboundId(after))) => (None, after),
    };
    if let Some(after) = events_after {
        let scanned = scan(store, MarksScan { marks: EVENTS.marks, after, limit: left }, &mut page)?;
        if let Some(last) = scanned.next_after {
            return Ok(RowsPage { rows: page.rows, next: Some(RowId::Event(InboundId(last))) });
        }
        left -= scanned.visited;
    }
    page.side = &REPLIES;
    let scanned = scan(store, MarksScan { marks: REPLIES.marks, after: replies_after, limit: left }, &mut page)?;
    Ok(RowsPage { rows: page.rows, next: scanned.next_after.map(|last| RowId::Reply(OutboundId(last))) })
}

/// A page that is being made.
struct ListPage<'a> {
    list: &'a ListRows,
    /// The table that is scanned.
    side: &'static Side,
    rows: Vec<RowSummary>,
    limit: usize,
    begun: Instant,
}

impl ScannedPage for ListPage<'_> {
    fn is_full(&self, visited: usize) -> bool {
        self.rows.len() >= self.limit || (visited > 0 && self.begun.elapsed() > SLICE)
    }

    fn visit(&mut self, store: &mut SqliteTransaction<'_>, row: i64, state: Option<usize>) -> Result<(), Failure> {
        let (list, side) = (self.list, self.side);
        let is_corrupt = store.corrupt.has(side.table, row);
        if !is_corrupt && !(side.is_wanted)(list, state) {
            return Ok(());
        }
        match (side.summary)(store, list, row)? {
            Some(Ok((is_of, summary))) if !is_corrupt => {
                self.rows.extend((is_of && fits(list, &summary)).then_some(summary));
            }
            Some(_) => {
                drop(store.corrupt(side.table, row));
                self.rows.push(RowSummary::corrupt((side.id)(row)));
            }
            None => {}
        }
        Ok(())
    }
}

fn fits(list: &ListRows, row: &RowSummary) -> bool {
    let profiles = ProfileFilter { wanted: list.profile.as_ref(), person: list.person.as_ref() };
    let is_old = list.recorded_before_ms.is_none_or(|before| row.recorded_at_ms.is_some_and(|at| at < before));
    profiles.admits(row.profile.as_deref()) && is_old
}

/// Reads an event with `read`; `None` if there is none.
pub(super) fn read_event<T>(
    store: &SqliteTransaction<'_>,
    row: i64,
    read: impl FnOnce(&Row<'_>) -> Result<T, CorruptRow>,
) -> rusqlite::Result<Option<Result<T, CorruptRow>>> {
    let sql = format!("{} WHERE marks.id = ?", inbound::READ);
    store.connection.prepare_cached(&sql)?.query_row([row], |found| Ok(read(found))).optional()
}

/// As [`read_event`], of a reply.
pub(super) fn read_reply<T>(
    store: &SqliteTransaction<'_>,
    row: i64,
    read: impl FnOnce(&Row<'_>) -> Result<T, CorruptRow>,
) -> rusqlite::Result<Option<Result<T, CorruptRow>>> {
    let sql = format!("{} WHERE marks.id = ?", outbound::READ);
    store.connection.prepare_cached(&sql)?.query_row([row], |found| Ok(read(found))).optional()
}

fn event_summary(store: &SqliteTransaction<'_>, (row, mark): (InboundRow, InboundMark)) -> RowSummary {
    let profile = Some(row.profile.to_string());
    let summary = summary_of(store, RowId::Event(row.id), row.state.into(), &row.target, row.received_at_ms);
    RowSummary { profile, attempts: Some(row.attempts), note: mark.note, ..summary }
}

fn reply_summary(store: &SqliteTransaction<'_>, row: &OutboundRow) -> RowSummary {
    let summary = summary_of(store, RowId::Reply(row.id), row.state.into(), &row.target, row.recorded_at_ms);
    RowSummary {
        profile: row.inbound.and_then(|event| profile_of(store, event)),
        attempts: Some(row.attempts),
        ..summary
    }
}

fn summary_of(store: &SqliteTransaction<'_>, id: RowId, state: RowState, target: &Target, at_ms: i64) -> RowSummary {
    RowSummary {
        state,
        link: Some(target.link.0.to_string()),
        platform: Some(target.platform.clone()),
        chat_id: Some(target.chat_id.clone()),
        thread_id: target.thread_id.clone(),
        recorded_at_ms: Some(at_ms),
        // A clock that was set back makes no negative age.
        age_ms: Some(u64::try_from(store.now_ms.saturating_sub(at_ms)).unwrap_or_default()),
        ..RowSummary::corrupt(id)
    }
}

/// The profile of an event, if it is there.
fn profile_of(store: &SqliteTransaction<'_>, InboundId(event): InboundId) -> Option<String> {
    let mut statement = store.connection.prepare_cached("SELECT profile FROM inbound WHERE id = ?").ok()?;
    statement.query_row([event], |row| row.get(0)).ok()
}

/// One row.
pub(super) fn show(store: &mut SqliteTransaction<'_>, show: &ShowRow) -> Result<RowDetail, Failure> {
    let (table, row, found) = match show.id {
        RowId::Event(InboundId(row)) => {
            let detail = |found: &Row<'_>| event_detail(store, found);
            (INBOUND_TABLE, row, read_event(store, row, detail)?)
        }
        RowId::Reply(OutboundId(row)) => {
            let detail = |found: &Row<'_>| reply_detail(store, found);
            (OUTBOUND_TABLE, row, read_reply(store, row, detail)?)
        }
    };
    let Ok(detail) = found.ok_or(LedgerError::Missing { table, row })? else {
        drop(store.corrupt(table, row));
        return Ok(RowDetail::corrupt(show.id));
    };
    Ok(RowDetail { text: detail.text.filter(|_| show.with_text), ..detail })
}

/// All that is known of an event, with its text.
pub(super) fn event_detail(store: &SqliteTransaction<'_>, found: &Row<'_>) -> Result<RowDetail, CorruptRow> {
    let (row, mark) = inbound::marked_row(found)?;
    let target = &row.target;
    Ok(RowDetail {
        session: Some(row.session.text()),
        user_id: target.user_id.clone(),
        scope_id: target.scope_id.clone(),
        bot_id: target.bot_id.clone(),
        turn: row.turn.map(|turn| turn.to_string()),
        gateway: found.get(AFTER_TARGET + 7)?,
        message_id: found.get(AFTER_TARGET + 2)?,
        arrived_at_ms: found.get(AFTER_TARGET + 6)?,
        begun_at_ms: mark.begun_at_ms,
        changed_at_ms: found.get(5)?,
        recorded_by: Some(writer(store, found.get(AFTER_TARGET + 8)?)),
        changed_by: Some(writer(store, found.get(7)?)),
        text_bytes: Some(row.event.len() as u64),
        text: Some(row.event.clone()),
        row: event_summary(store, (row, mark)),
        ..RowDetail::corrupt(RowId::Event(InboundId(0)))
    })
}

/// As [`event_detail`], of a reply.
pub(super) fn reply_detail(store: &SqliteTransaction<'_>, found: &Row<'_>) -> Result<RowDetail, CorruptRow> {
    let (row, mark): (OutboundRow, OutboundMark) = outbound::marked_row(found)?;
    let target = &row.target;
    Ok(RowDetail {
        answers: row.inbound.map(RowId::Event),
        user_id: target.user_id.clone(),
        scope_id: target.scope_id.clone(),
        bot_id: target.bot_id.clone(),
        turn: found.get(AFTER_TARGET + 1)?,
        message_id: mark.message_id,
        error: mark.error,
        sent_again_as: mark.sent_again_as.map(RowId::Reply),
        sent_at_ms: mark.sent_at_ms,
        changed_at_ms: found.get(5)?,
        recorded_by: Some(writer(store, found.get(AFTER_TARGET + 3)?)),
        changed_by: Some(writer(store, found.get(7)?)),
        text_bytes: Some(row.action.len() as u64),
        text: Some(row.action.clone()),
        row: reply_summary(store, &row),
        ..RowDetail::corrupt(RowId::Reply(OutboundId(0)))
    })
}

/// The process of a term.
fn writer(store: &SqliteTransaction<'_>, term: i64) -> RowWriter {
    // What a damaged table of terms had is not known.
    let found = terms::find(store.connection, term).ok().flatten();
    let (host, started_at_ms) = found.unzip();
    RowWriter { term, host, started_at_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::states::{inbound_code, outbound_code};

    #[test]
    fn each_state_of_a_table_is_wanted_by_its_own_word_alone() {
        let list = |state| ListRows {
            states: vec![state],
            profile: None,
            person: None,
            recorded_before_ms: None,
            after: None,
            limit: 1,
        };
        for (state, word) in RowState::ALL {
            let events: Vec<_> = (0..8).filter(|code| (EVENTS.is_wanted)(&list(state), Some(*code))).collect();
            let replies: Vec<_> = (0..6).filter(|code| (REPLIES.is_wanted)(&list(state), Some(*code))).collect();
            assert_eq!(events, state.of_event().map(inbound_code).into_iter().collect::<Vec<_>>(), "{word}");
            assert_eq!(replies, state.of_reply().map(outbound_code).into_iter().collect::<Vec<_>>(), "{word}");
            assert!((EVENTS.is_wanted)(&list(state), Some(9)), "an unknown state is that of a corrupt row");
        }
    }
}
