//! The connection of the writer: its settings, the migration, and what is read at open.

use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::free_pages;
use super::high_water::{FollowError, HighWaterFile};
use super::loading::{self, LoadedRows};
use super::row;
use super::schema;
use super::terms;
use super::transaction::Ids;
use crate::time::now_ms;

/// Timeout of a write for the lock of the file, which an operator's `sqlite3` may hold.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// More than the statements of this module, so that none is ever prepared twice.
const STATEMENTS: usize = 64;

/// Why a file was not opened.
pub(super) enum OpenRefusal {
    Newer(i64),
    NoLog,
    /// The file of the high-water mark fails.
    Synced(io::Error),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for OpenRefusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<FollowError> for OpenRefusal {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::File(error) => Self::Synced(error),
            FollowError::Sql(error) => Self::Sql(error),
        }
    }
}

/// A connection, with what was read at open.
pub(super) struct Connected {
    pub(super) connection: Connection,
    pub(super) rows: LoadedRows,
    pub(super) ids: Ids,
    /// The term that began.
    pub(super) term: i64,
}

/// Opens the file at `path` as a database of this version.
pub(super) fn connect(path: &Path, synced: &HighWaterFile) -> Result<Connected, OpenRefusal> {
    // Not CREATE: a file made by SQLite would have the mode of the umask.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    let prepared = prepare(&mut connection, path, synced);
    let (rows, ids, term) = prepared.inspect_err(|_| {
        // The connection removes the log when it is closed. The first error is the one that counts.
        let _ = synced.release(&connection);
    })?;
    Ok(Connected { connection, rows, ids, term })
}

fn prepare(
    connection: &mut Connection,
    path: &Path,
    synced: &HighWaterFile,
) -> Result<(LoadedRows, Ids, i64), OpenRefusal> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Otherwise SQLite prepares some statements again whenever a bound value changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Before anything is written: a newer file is left unchanged.
    let found = schema::version(connection)?;
    if found > schema::VERSION {
        return Err(OpenRefusal::Newer(found));
    }
    // SQLite answers with the mode that applies instead, and reports no error.
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenRefusal::NoLog);
    }
    // What is deleted is overwritten where that costs no further page; `free_pages` overwrites the pages that become free.
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = OFF;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA secure_delete = FAST;
         PRAGMA temp_store = MEMORY;
         PRAGMA journal_size_limit = 67108864;",
    )?;
    synced.follow(connection, path)?;
    schema::migrate(connection, found)?;
    schema::identify(connection)?;
    free_pages::release_left(connection)?;
    let (rows, ids) = (loading::load(connection)?, last_ids(connection)?);
    let term = terms::begin(connection, &terms::host_name(), rows.last_term, now_ms())?;
    Ok((rows, ids, term))
}

fn last_ids(connection: &Connection) -> rusqlite::Result<Ids> {
    let last = |table| {
        // The number of a corrupt row may be anything, and leave none for later rows.
        let sql = format!("SELECT coalesce(max(id), 0) FROM {table} WHERE id < ?");
        connection.query_row(&sql, [row::BEYOND], |row| row.get::<_, i64>(0))
    };
    // The tables of a pair have the same rows, unless another program deleted some.
    Ok(Ids {
        inbound: last("inbound")?.max(last("inbound_marks")?),
        outbound: last("outbound")?.max(last("outbound_marks")?),
        history: last("history")?,
    })
}
