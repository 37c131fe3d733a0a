//! The terms of the file: each open begins one, so that a row names the process that wrote it.
//!
//! The lock of the file admits one process at a time, so a row of an earlier term was written by a process that has ended.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};

use super::row::{checksum, text, verify};

/// The table in SQL, and the part of its checksum.
pub(super) const TABLE: &str = "terms";
/// Terms that are kept, some 60 bytes each. A row of an older one is good, and the process that wrote it is not known.
const KEPT: i64 = 100_000;

/// A number above this is damage: it would leave no numbers for later terms.
const MOST: i64 = 1 << 48;

/// Begins the next term, that of `member`. `last`: the last term in the marks of rows, after which a term is given even if rows of this table
/// were lost. Terms count from 1; 0 is that of rows from before there were terms.
pub(super) fn begin(connection: &Connection, member: &str, last: i64, now_ms: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(id), 0) FROM terms WHERE id < ?";
    let begun: i64 = connection.query_row(sql, [MOST], |row| row.get(0))?;
    let term = begun.max(last) + 1;
    let sum = checksum(TABLE, term, &[text(member), ValueRef::Integer(now_ms)]);
    let transaction = connection.unchecked_transaction()?;
    transaction.execute("INSERT OR REPLACE INTO terms VALUES (?, ?, ?, ?)", (term, member, now_ms, sum))?;
    transaction.execute("DELETE FROM terms WHERE id <= ?", [term - KEPT])?;
    transaction.commit()?;
    Ok(term)
}

/// The host and the start of a term; `None` if it is not known any more, or damaged.
pub(super) fn find(connection: &Connection, term: i64) -> rusqlite::Result<Option<(String, i64)>> {
    let mut statement = connection.prepare_cached("SELECT id, member, started_at_ms, sum FROM terms WHERE id = ?")?;
    let found = statement.query_row([term], |row| {
        Ok(verify(TABLE, term, row, 1, 2).ok().and_then(|()| row.get(1).ok().zip(row.get(2).ok())))
    });
    Ok(found.optional()?.flatten())
}

/// The term of a row, or 0 if it is damaged.
pub(super) fn plausible(term: i64) -> i64 {
    if (0..MOST).contains(&term) { term } else { 0 }
}

/// The name of this host, which names the member.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_never_given_twice_and_the_oldest_are_forgotten() {
        let file = Connection::open_in_memory().unwrap();
        let table = "CREATE TABLE terms (id INTEGER PRIMARY KEY, member TEXT, started_at_ms INTEGER, sum INTEGER)";
        file.execute_batch(table).unwrap();
        assert_eq!([begin(&file, "a", 0, 1).unwrap(), begin(&file, "b", 1, 2).unwrap()], [1, 2]);
        file.execute("UPDATE terms SET id = ? WHERE id = 2", [KEPT]).unwrap();
        assert_eq!(begin(&file, "c", 2, 3).unwrap(), KEPT + 1);
        let members = "SELECT group_concat(member) FROM (SELECT member FROM terms ORDER BY id)";
        let members: String = file.query_row(members, (), |row| row.get(0)).unwrap();
        assert_eq!(members, "b,c");
        // Rows of the table were lost, and another is damaged.
        file.execute("DELETE FROM terms WHERE id > 1", ()).unwrap();
        file.execute("INSERT INTO terms VALUES (?, 'd', 4, 0)", [i64::MAX]).unwrap();
        assert_eq!(begin(&file, "e", plausible(9), 5).unwrap(), 10);
        assert_eq!([plausible(-1), plausible(i64::MAX), plausible(MOST - 1)], [0, 0, MOST - 1]);
    }
}
