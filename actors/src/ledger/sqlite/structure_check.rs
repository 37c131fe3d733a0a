//! The check of the whole file after the start: the structure of tables and indexes, and whether indexes agree with their tables.
//!
//! It takes a second for each gigabyte or so, therefore it has a connection and a thread of its own, and commits do not wait for it.

use std::fmt;
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, InterruptHandle, OpenFlags};

use super::schema;

/// Lines of the result that are read.
const MOST: usize = 100;

/// What the check found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct StructureFindings {
    /// Indexes that do not agree with their table.
    pub(super) indexes: Vec<&'static str>,
    /// Damage that only a new file mends, in the words of SQLite.
    pub(super) damage: Vec<String>,
}

/// A check that runs. Dropped, it is interrupted.
pub(super) struct StructureCheck {
    interrupt: InterruptHandle,
    result: Receiver<rusqlite::Result<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl StructureCheck {
    /// Starts the check of the database at `path`, which is open.
    pub(super) fn start(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        let interrupt = connection.get_interrupt_handle();
        let (sender, result) = channel();
        let check = move || {
            // Without a receiver the check was interrupted.
            let _ = sender.send(lines(&connection));
        };
        let thread = thread::Builder::new().name("ledger-check".to_owned()).spawn(check)?;
        Ok(Self { interrupt, result, thread: Some(thread) })
    }

    /// The findings, once it has ended.
    pub(super) fn findings(&self) -> Option<rusqlite::Result<StructureFindings>> {
        match self.result.try_recv() {
            Ok(lines) => Some(lines.map(|lines| findings(&lines))),
            Err(TryRecvError::Empty) => None,
            // The thread ended without a result; nothing is known.
            Err(TryRecvError::Disconnected) => Some(Ok(StructureFindings::default())),
        }
    }
}

impl fmt::Debug for StructureCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StructureCheck").finish_non_exhaustive()
    }
}

impl Drop for StructureCheck {
    fn drop(&mut self) {
        self.interrupt.interrupt();
        if let Some(thread) = self.thread.take() {
            // A connection that is closed later than that of the writer would leave the log behind.
            let _ = thread.join();
        }
    }
}

fn lines(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({MOST})"))?;
    statement.query_map((), |row| row.get(0))?.collect()
}

/// Sorts the lines: an index that does not agree with its table is made again; a value of the wrong type is a corrupt row, which the check
/// of the rows finds.
fn findings(lines: &[String]) -> StructureFindings {
    let mut found = StructureFindings::default();
    for line in lines.iter().filter(|line| *line != "ok" && !line.contains(" value in ")) {
        let is_entry =
            line.contains("missing from index") || line.contains("entries in index") || line.contains("entry in index");
        match schema::INDEXES.iter().find(|index| is_entry && line.ends_with(**index)) {
            Some(index) if found.indexes.contains(index) => {}
            Some(index) => found.indexes.push(index),
            None => found.damage.push(line.clone()),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_disagrees_is_distinguished_from_damage_to_the_structure() {
        let lines = [
            "row 3 missing from index history_session",
            "wrong # of entries in index history_session",
            "NULL value in inbound.link",
            "Tree 5 page 9 cell 2: Rowid 7 out of order",
            "row 3 missing from index other",
        ];
        let found = findings(&lines.map(str::to_owned));
        assert_eq!(found.indexes, ["history_session"]);
        assert_eq!(found.damage, [lines[3], lines[4]]);
        assert_eq!(findings(&["ok".to_owned()]), StructureFindings::default());
    }
}
