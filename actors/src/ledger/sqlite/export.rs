//! All rows with their texts, in pages.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rusqlite::OptionalExtension;

use super::belonging;
use super::history;
use super::inbound;
use super::listing;
use super::marks::{INBOUND_TABLE, OUTBOUND_TABLE};
use super::outbound;
use super::row::CorruptRow;
use super::scan::{MarksScan, ScannedPage, scan};
use super::transaction::SqliteTransaction;
use crate::ledger::belonging::{DeadLetters, ProfileFilter, is_conversation_of};
use crate::ledger::failure::Failure;
use caduceus_contract::api::ledger::{RowDetail, RowId};
use caduceus_contract::api::ledger_data::{ExportPage, ExportedHistory, ExportedRow, LedgerPart, LedgerPlace, Person};
use caduceus_contract::messages::ledger::{InboundId, OutboundId};
use caduceus_contract::messages::ledger_control::ExportRows;
use caduceus_contract::wire::session::SessionKey;

/// Rows that a page looks at.
const SCANNED: usize = 1_000;
/// Bytes of text after which a page ends.
const BYTES: usize = 1 << 20;
/// How long a page reads rows.
const SLICE: Duration = Duration::from_millis(10);

type ReadDetail = rusqlite::Result<Option<Result<ExportedDetail, CorruptRow>>>;

/// A row that may be one of the person that is asked for.
struct ExportedDetail {
    detail: RowDetail,
    is_of: bool,
    /// The stored name of its session; of a reply none.
    session: Option<String>,
}

/// One of the two tables.
struct ExportedSide {
    table: &'static str,
    marks: &'static str,
    id: fn(i64) -> RowId,
    line: fn(RowDetail) -> ExportedRow,
    /// Reads a row; `None` if it is gone.
    read: fn(&SqliteTransaction<'_>, Option<&Person>, i64) -> ReadDetail,
}

static EVENTS: ExportedSide = ExportedSide {
    table: INBOUND_TABLE,
    marks: "inbound_marks",
    id: |row| RowId::Event(InboundId(row)),
    line: ExportedRow::Event,
    read: |store, person, row| {
        listing::read_event(store, row, |found| {
            let (event, _) = inbound::marked_row(found)?;
            let is_of = person.is_none_or(|who| belonging::is_event_of(who, &event, DeadLetters::Naming));
            let session = Some(event.session.stored().to_owned());
            Ok(ExportedDetail { detail: listing::event_detail(store, found)?, is_of, session })
        })
    },
};

static REPLIES: ExportedSide = ExportedSide {
    table: OUTBOUND_TABLE,
    marks: "outbound_marks",
    id: |row| RowId::Reply(OutboundId(row)),
    line: ExportedRow::Reply,
    read: |store, person, row| {
        listing::read_reply(store, row, |found| {
            let (reply, _) = outbound::marked_row(found)?;
            let is_of =
                person.map_or(Ok(true), |who| belonging::is_reply_of(store, who, &reply, DeadLetters::Naming))?;
            Ok(ExportedDetail { detail: listing::reply_detail(store, found)?, is_of, session: None })
        })
    },
};

/// A page that is being made.
struct Page<'a> {
    request: &'a ExportRows,
    /// The table that is scanned.
    side: &'static ExportedSide,
    rows: Vec<ExportedRow>,
    sessions: BTreeSet<String>,
    bytes: usize,
    begun: Instant,
}

/// One page.
pub(super) fn page(store: &mut SqliteTransaction<'_>, request: &ExportRows) -> Result<ExportPage, Failure> {
    let first = if request.session.is_some() { LedgerPart::Conversations } else { LedgerPart::Events };
    let LedgerPlace { part, after } = request.from.unwrap_or(LedgerPlace::beginning(first));
    let (rows, sessions) = (Vec::new(), BTreeSet::new());
    let mut page = Page { request, side: &EVENTS, rows, sessions, bytes: 0, begun: Instant::now() };
    let (last, following) = match part {
        LedgerPart::Events => (page.scan(store, &EVENTS, after)?, Some(LedgerPart::Replies)),
        LedgerPart::Replies => (page.scan(store, &REPLIES, after)?, Some(LedgerPart::Conversations)),
        LedgerPart::Conversations => (page.conversations(store, after)?, None),
        LedgerPart::FreePages | LedgerPart::Filled | LedgerPart::Log => (None, None),
    };
    let next = last.map(|after| LedgerPlace { part, after }).or(following.map(LedgerPlace::beginning));
    Ok(ExportPage { rows: page.rows, sessions: page.sessions.into_iter().collect(), next })
}

impl ScannedPage for Page<'_> {
    fn is_full(&self, visited: usize) -> bool {
        visited > 0 && (self.bytes >= BYTES || self.begun.elapsed() > SLICE)
    }

    fn visit(&mut self, store: &mut SqliteTransaction<'_>, row: i64, _: Option<usize>) -> Result<(), Failure> {
        match (self.side.read)(store, self.request.person.as_ref(), row)? {
            Some(Ok(ExportedDetail { detail, is_of, session })) if is_of && self.is_of_profile(&detail) => {
                self.sessions.extend(session);
                let bytes = detail.text_bytes;
                self.push((self.side.line)(detail), bytes);
            }
            Some(Err(CorruptRow)) => {
                drop(store.corrupt(self.side.table, row));
                if self.is_of_all() {
                    self.push((self.side.line)(RowDetail::corrupt((self.side.id)(row))), None);
                }
            }
            Some(Ok(_)) | None => {}
        }
        Ok(())
    }
}

impl Page<'_> {
    /// Adds the rows of a table after `after`. Returns the last one that was visited, if others may follow.
    fn scan(
        &mut self,
        store: &mut SqliteTransaction<'_>,
        side: &'static ExportedSide,
        after: i64,
    ) -> Result<Option<i64>, Failure> {
        self.side = side;
        Ok(scan(store, MarksScan { marks: side.marks, after, limit: SCANNED }, self)?.next_after)
    }

    /// Whether rows of all people and profiles are asked for, and so those that say of neither what they are.
    fn is_of_all(&self) -> bool {
        self.request.person.is_none() && self.request.profile.is_none()
    }

    fn push(&mut self, row: ExportedRow, bytes: Option<u64>) {
        self.bytes += 500 + bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
        self.rows.push(row);
    }

    fn is_of_profile(&self, detail: &RowDetail) -> bool {
        let ExportRows { profile, person, .. } = self.request;
        ProfileFilter { wanted: profile.as_ref(), person: person.as_ref() }.admits(detail.row.profile.as_deref())
    }

    /// As [`Page::scan`], of the rows of conversations.
    fn conversations(&mut self, store: &mut SqliteTransaction<'_>, after: i64) -> Result<Option<i64>, Failure> {
        let one = match &self.request.session {
            None => None,
            Some(session) => match number_of(store, session)? {
                None => return Ok(None),
                number => number,
            },
        };
        let only = one.map(|number| format!("history.session = {number} AND")).unwrap_or_default();
        let sql = format!(
            "SELECT history.id, length, entries, sum, sessions.session FROM history \
             LEFT JOIN sessions ON sessions.id = history.session WHERE {only} history.id > ? ORDER BY history.id LIMIT ?"
        );
        let connection = store.connection;
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([after, i64::try_from(SCANNED).unwrap_or(i64::MAX)])?;
        let (mut last, mut read) = (after, 0);
        while let Some(row) = rows.next()? {
            if self.is_full(read) {
                return Ok(Some(last));
            }
            let id: i64 = row.get(0)?;
            (last, read) = (last.max(id), read + 1);
            let session: Option<String> = row.get(4).unwrap_or_default();
            let key = session.as_deref().and_then(|session| serde_json::from_str::<SessionKey>(session).ok());
            let is_wanted = key.as_ref().map_or_else(|| self.is_of_all(), |key| self.wants_conversation(key));
            if !is_wanted {
                continue;
            }
            let entries = history::entries(row, session.as_deref().unwrap_or_default());
            if entries.is_err() {
                drop(store.corrupt.add(history::TABLE, id));
            }
            let bytes = row.get_ref(2)?.as_str().map(|text| text.len() as u64).ok();
            let history = ExportedHistory {
                row: id,
                session: key.as_ref().map(SessionKey::text),
                profile: key.map(|key| key.profile().to_string()),
                entries: entries.ok(),
            };
            self.push(ExportedRow::History(history), bytes);
        }
        Ok((read == SCANNED).then_some(last))
    }

    fn wants_conversation(&self, key: &SessionKey) -> bool {
        let ExportRows { profile, person, session, .. } = self.request;
        let of_profile = profile.as_ref().is_none_or(|wanted| key.profile() == wanted);
        // A conversation that is asked for by its name was found by an event of the person.
        let of_person = session.is_some() || person.as_ref().is_none_or(|who| is_conversation_of(key, who));
        of_profile && of_person
    }
}

/// The number of a session, by its stored name.
pub(super) fn number_of(store: &SqliteTransaction<'_>, session: &str) -> rusqlite::Result<Option<i64>> {
    let mut statement = store.connection.prepare_cached("SELECT id FROM sessions WHERE session = ?")?;
    statement.query_row([session], |row| row.get(0)).optional()
}
