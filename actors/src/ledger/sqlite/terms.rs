//! The terms of the file: one for each process that opened it, so that a row names the process that wrote it.
//!
//! The lock of the file admits one process at a time, so a row of an earlier term was written by a process that has ended.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::row::{checksum, text};

/// The table in SQL, and the part of its checksum.
const TABLE: &str = "terms";
/// Terms that are kept, some 60 bytes each. A row of an older one is good, and the process that wrote it is not known.
const KEPT: i64 = 100_000;

/// Begins the next term, that of `member`. Terms count from 1; 0 is that of rows from before there were terms.
pub(super) fn begin(connection: &Connection, member: &str, now_ms: i64) -> rusqlite::Result<i64> {
    let last: i64 = connection.query_row("SELECT coalesce(max(id), 0) FROM terms", (), |row| row.get(0))?;
    let term = last.saturating_add(1);
    let sum = checksum(TABLE, term, &[text(member), ValueRef::Integer(now_ms)]);
    let transaction = connection.unchecked_transaction()?;
    transaction.execute("INSERT INTO terms VALUES (?, ?, ?, ?)", (term, member, now_ms, sum))?;
    transaction.execute("DELETE FROM terms WHERE id <= ?", [term.saturating_sub(KEPT)])?;
    transaction.commit()?;
    Ok(term)
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
        assert_eq!([begin(&file, "a", 1).unwrap(), begin(&file, "b", 2).unwrap()], [1, 2]);
        file.execute("UPDATE terms SET id = ? WHERE id = 2", [KEPT]).unwrap();
        assert_eq!(begin(&file, "c", 3).unwrap(), KEPT + 1);
        let members = "SELECT group_concat(member) FROM (SELECT member FROM terms ORDER BY id)";
        let members: String = file.query_row(members, (), |row| row.get(0)).unwrap();
        assert_eq!(members, "b,c");
    }
}
