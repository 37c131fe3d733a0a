//! Copies the rows that are whole from a damaged file into a new one.
//!
//! A row is whole if its checksum is right. A page that cannot be read costs its own rows: those behind it are found by number. Of an event
//! or a reply whose mark is lost the rest is kept, as a corrupt row, so that a repeated event is still found.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::history;
use super::inbound;
use super::marks::{self, INBOUND_TABLE, MARK_COLUMNS, OUTBOUND_TABLE};
use super::outbound;
use super::restarts;
use super::row::{self, CorruptRow, checksum, is_damage, params, text, verify};
use super::sent_again;
use super::terms;
use super::unread;
use crate::ledger::states::{inbound_code, outbound_code};
use caduceus_contract::messages::ledger::{InboundState, OutboundId, OutboundState};

/// Numbers that are tried one by one behind a row that cannot be read: more than the rows of some hundred pages. Behind these, and where
/// nothing says how far a table goes, only some are tried.
const TRIED: i64 = 20_000;

/// Sessions that are tried in all for entries of conversations whose own session is lost: a second or two.
const SEARCHES: usize = 5_000_000;

/// What was not carried over, by table.
pub(super) type LostRows = BTreeSet<(&'static str, i64)>;

/// The two tables of events, or of replies.
struct CopiedPair {
    name: &'static str,
    columns: usize,
    marks: &'static str,
    part: &'static str,
    insert: &'static str,
    insert_mark: &'static str,
    /// Adds an empty mark, whose checksum is wrong.
    insert_empty: &'static str,
    /// Columns behind the checksum of a mark, if its keys are corrupt.
    without_keys: &'static [ValueRef<'static>],
    /// The state of a row whose later state may be lost.
    uncertain: fn(usize) -> Option<usize>,
}

const PAIRS: [CopiedPair; 2] = [
    CopiedPair {
        name: INBOUND_TABLE,
        columns: inbound::FIXED_COLUMNS,
        marks: "inbound_marks",
        part: marks::INBOUND,
        insert: "INSERT OR IGNORE INTO inbound VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        insert_mark: "INSERT OR IGNORE INTO inbound_marks VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
        insert_empty: "INSERT OR IGNORE INTO inbound_marks (id, state, attempts, changed_at_ms, term, state_sum, keys_sum) \
                       VALUES (?, 0, 0, 0, 0, 0, 0)",
        without_keys: &[ValueRef::Null, ValueRef::Null, ValueRef::Integer(0)],
        uncertain: |code| {
            let waits = [InboundState::Received, InboundState::Running, InboundState::Held];
            waits.map(inbound_code).contains(&code).then_some(inbound_code(InboundState::Interrupted))
        },
    },
    CopiedPair {
        name: OUTBOUND_TABLE,
        columns: outbound::FIXED_COLUMNS,
        marks: "outbound_marks",
        part: marks::OUTBOUND,
        insert: "INSERT OR IGNORE INTO outbound VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        insert_mark: "INSERT OR IGNORE INTO outbound_marks VALUES (?,?,?,?,?,?,?,?,?)",
        insert_empty: "INSERT OR IGNORE INTO outbound_marks (id, state, attempts, changed_at_ms, term, state_sum) \
                       VALUES (?, 0, 0, 0, 0, 0)",
        without_keys: &[],
        uncertain: |code| {
            let waits = [OutboundState::Pending, OutboundState::Sending];
            waits.map(outbound_code).contains(&code).then_some(outbound_code(OutboundState::Ambiguous))
        },
    },
];

/// Copies from `old` to `new`, which is empty and of the same version. `is_cut`: the end of the log is lost, so a row may have had a later
/// state; what would run or go out is marked as what may have done so.
pub(super) fn copy(old: &Connection, new: &Connection, is_cut: bool) -> rusqlite::Result<LostRows> {
    // Each read is otherwise a transaction of its own.
    let _reads = old.unchecked_transaction()?;
    let mut lost = LostRows::new();
    for pair in &PAIRS {
        copy_pair(old, new, pair, is_cut, &mut lost)?;
    }
    copy_history(old, new, &mut lost)?;
    copy_sent_again(old, new, &mut lost)?;
    let tables = [
        (restarts::TABLE, 0, "INSERT OR IGNORE INTO restarts VALUES (?,?)"),
        (terms::TABLE, 2, "INSERT OR IGNORE INTO terms VALUES (?,?,?,?)"),
        ("hash_key", 1, "INSERT OR IGNORE INTO hash_key VALUES (?,?,?)"),
    ];
    for (table, columns, insert) in tables {
        let mut insert = new.prepare(insert)?;
        each_row(old, table, None, |id, row| {
            if verify(table, id, row, 1, columns).is_err() {
                lost.insert((table, id));
                return Ok(false);
            }
            insert.execute(params(values(row, columns + 2)?))?;
            Ok(true)
        })?;
    }
    new.execute_batch(&format!("INSERT INTO unread {}", unread::ROWS))?;
    Ok(lost)
}

fn copy_pair(
    old: &Connection,
    new: &Connection,
    pair: &CopiedPair,
    is_cut: bool,
    lost: &mut LostRows,
) -> rusqlite::Result<()> {
    let (mut good, mut marked) = (BTreeSet::new(), BTreeSet::new());
    let mut insert = new.prepare(pair.insert)?;
    let end = last_row(old, pair.name).max(last_row(old, pair.marks));
    each_row(old, pair.name, end, |id, row| {
        if verify(pair.name, id, row, 1, pair.columns).is_err() {
            lost.insert((pair.name, id));
            return Ok(false);
        }
        insert.execute(params(values(row, pair.columns + 2)?))?;
        good.insert(id);
        Ok(true)
    })?;
    let mut insert = new.prepare(pair.insert_mark)?;
    each_row(old, pair.marks, end, |id, row| {
        if verify(pair.part, id, row, 1, MARK_COLUMNS).is_err() {
            lost.insert((pair.name, id));
            return Ok(false);
        }
        let mut mark = values(row, MARK_COLUMNS + 2)?;
        if is_cut && let Some(state) = row::code_at(row, 1).ok().and_then(pair.uncertain) {
            mark[1] = row::code(state);
            mark[MARK_COLUMNS + 1] = ValueRef::Integer(checksum(pair.part, id, &mark[1..=MARK_COLUMNS]));
        }
        if !pair.without_keys.is_empty() {
            match marks::key_hashes(row, id, MARK_COLUMNS + 2) {
                Ok(hashes) => mark.extend(marks::key_values(id, hashes)),
                Err(CorruptRow) => mark.extend(pair.without_keys),
            }
        }
        insert.execute(params(mark))?;
        marked.insert(id);
        Ok(true)
    })?;
    let mut insert = new.prepare(pair.insert_empty)?;
    for id in good.difference(&marked) {
        insert.execute([id])?;
    }
    lost.extend(good.symmetric_difference(&marked).map(|id| (pair.name, *id)));
    Ok(())
}

/// Of a damaged row stays that its reply was sent again.
fn copy_sent_again(old: &Connection, new: &Connection, lost: &mut LostRows) -> rusqlite::Result<()> {
    let mut damaged = Vec::new();
    each_row(old, sent_again::TABLE, None, |id, row| {
        let is_whole = verify(sent_again::TABLE, id, row, 1, 1).is_ok();
        if is_whole {
            sent_again::write(new, id, OutboundId(row.get(1)?))?;
        } else {
            damaged.push(id);
        }
        Ok(is_whole)
    })?;
    for id in damaged {
        // The number may be what is wrong of it, and that of a whole row.
        sent_again::write_unknown(new, id)?;
        lost.insert((sent_again::TABLE, id));
    }
    Ok(())
}

/// A row belongs to the session whose text is in its checksum, so a session's text is good if it is that of a good row. The text is in the
/// index too.
fn copy_history(old: &Connection, new: &Connection, lost: &mut LostRows) -> rusqlite::Result<()> {
    let mut sessions: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    each_row(old, "sessions", None, |id, row| {
        Ok(row.get(1).map(|session| sessions.entry(id).or_default().insert(session)).is_ok())
    })?;
    let mut index = old.prepare("SELECT id, session FROM sessions INDEXED BY sessions_session ORDER BY session")?;
    let mut entries = index.query(())?;
    // The rest of an index that cannot be read is in the table.
    while let Ok(Some(entry)) = entries.next() {
        if let (Ok(id), Ok(session)) = (entry.get(0), entry.get(1)) {
            sessions.entry(id).or_default().insert(session);
        }
    }
    let mut searches = SEARCHES;
    let mut numbers: BTreeMap<String, i64> = BTreeMap::new();
    let mut create = new.prepare("INSERT INTO sessions (session) VALUES (?)")?;
    let mut insert = new.prepare("INSERT OR IGNORE INTO history VALUES (?,?,?,?,?)")?;
    each_row(old, history::TABLE, None, |id, row| {
        let (number, length, entries, sum) = (row.get_ref(1)?, row.get_ref(2)?, row.get_ref(3)?, row.get_ref(4)?);
        let is_of = |session: &&String| {
            ValueRef::Integer(checksum(history::TABLE, id, &[text(session), length, entries])) == sum
        };
        let ValueRef::Integer(number) = number else {
            lost.insert((history::TABLE, id));
            return Ok(false);
        };
        let mut left = searches;
        let own = sessions.get(&number).into_iter().flatten();
        // The number may be damaged and the rest whole.
        let others = sessions.values().flatten().take(searches);
        let Some(session) = own.chain(others.inspect(|_| left -= 1)).find(is_of) else {
            searches = left;
            lost.insert((history::TABLE, id));
            return Ok(false);
        };
        searches = left;
        let number = match numbers.get(session) {
            Some(number) => *number,
            None => create.insert([session])?,
        };
        numbers.insert(session.clone(), number);
        insert.execute(params([ValueRef::Integer(id), ValueRef::Integer(number), length, entries, sum]))?;
        Ok(true)
    })
}

/// The columns of a row.
fn values<'a>(row: &'a Row<'_>, columns: usize) -> rusqlite::Result<Vec<ValueRef<'a>>> {
    (0..columns).map(|column| row.get_ref(column)).collect()
}

/// The last row of a table, if it can be read and is plausible.
fn last_row(old: &Connection, table: &str) -> Option<i64> {
    let last = old.query_row(&format!("SELECT max(id) FROM {table}"), (), |row| row.get::<_, Option<i64>>(0));
    last.ok().map(Option::unwrap_or_default).filter(|last| *last < row::BEYOND)
}

/// Calls `copy` with the number of each row that can be read; it returns whether the row is good. `last`: the last row, if it is
/// known from another table.
fn each_row(
    old: &Connection,
    table: &str,
    last: Option<i64>,
    mut copy: impl FnMut(i64, &Row<'_>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    let mut read = old.prepare(&format!("SELECT * FROM {table} WHERE id > ? ORDER BY id"))?;
    let last = last.max(last_row(old, table));
    let mut after = 0;
    let mut tried = 0;
    loop {
        let mut rows = read.query([after])?;
        let error = loop {
            match rows.next() {
                Ok(None) => return Ok(()),
                Ok(Some(row)) => {
                    // The number of a corrupt row may be anything.
                    let id = row.get(0)?;
                    if row::is_plausible(id) && copy(id, row)? {
                        (after, tried) = (after.max(id), 0);
                    }
                }
                Err(error) => break error,
            }
        };
        if !is_damage(&error) {
            return Err(error);
        }
        tried += 1;
        after += if tried <= TRIED { 1 } else { after };
        if after > last.unwrap_or(row::BEYOND) || (last.is_none() && tried > TRIED) {
            return Ok(());
        }
    }
}
