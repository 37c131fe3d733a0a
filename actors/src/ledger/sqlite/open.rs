//! From a path to a writable connection: locked, private, intact, of the right version.
//!
//! Each step is a separate function. Of a file that is not migrated only the short rows of marks are read.

use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::file_check::LedgerFiles;
use super::high_water::{self, FollowError, HighWaterFile};
use super::loading::{self, LoadedRows};
use super::schema;
use super::terms;
use super::transaction::Ids;
use crate::files::{LockFile, Symlinks, own, small};
use crate::system_error::is_temporary;
use crate::time::now_ms;

/// Timeout of a write for the lock of the file, which an operator's `sqlite3` may hold.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// More than the statements of this module, so that none is ever prepared twice.
const STATEMENTS: usize = 64;
/// First bytes of every SQLite file.
pub(super) const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The files with these endings beside it are parts of it.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", high_water::ENDING];

/// Why the ledger was not opened. In every case nothing was deleted.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process or writer has it; worth retrying after that has ended.
    #[error("the ledger {0} is in use by another process")]
    Locked(PathBuf),
    /// It is corrupt and was moved away; the next try starts an empty one.
    #[error("the ledger {path} is corrupt and was set aside as {set_aside}: {detail}")]
    Corrupt {
        /// Its path.
        path: PathBuf,
        /// Its new path, with its write-ahead log beside it.
        set_aside: PathBuf,
        /// The problem.
        detail: String,
    },
    /// There is one at the present path, or its log, and one at the former, which an earlier version wrote later.
    #[error(
        "there are two ledgers, {path} and {former} of an earlier version: move one of them away, with its -wal and -shm"
    )]
    Two {
        /// The path of this version.
        path: PathBuf,
        /// That of the earlier one.
        former: PathBuf,
    },
    /// It is corrupt and could not be moved away.
    #[error("the ledger {path} is corrupt and cannot be set aside")]
    Stuck {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A newer build wrote it; only that build can read it.
    #[error(
        "the ledger {path} has version {found}, and this build supports versions up to {known}: run the newer build"
    )]
    Newer {
        /// Its path.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that this build supports.
        known: i64,
    },
    /// The file system cannot have a write-ahead log, for example a network file system; a local disk can.
    #[error("the ledger {0} needs a local disk: its file system does not support the write-ahead log")]
    NoLog(PathBuf),
    /// The system refuses access.
    #[error("the ledger {path} cannot be opened")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// SQLite refuses.
    #[error("the ledger {path} cannot be opened")]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        source: rusqlite::Error,
    },
}

impl OpenError {
    /// Whether it may open later without intervention: the disk has no room, or fails to read.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Locked(_) => true,
            Self::File { source, .. } | Self::Stuck { source, .. } => is_temporary(source),
            Self::Database { path, source } => match source.sqlite_error_code() {
                Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => true,
                // SQLite does not report this cause; without a spare descriptor nothing else can be opened either.
                Some(ErrorCode::CannotOpen) => {
                    small::open(path, Symlinks::Refuse).is_err_and(|error| is_temporary(&error.why.into()))
                }
                _ => false,
            },
            Self::Corrupt { .. } | Self::Newer { .. } | Self::NoLog(_) | Self::Two { .. } => false,
        }
    }
}

/// An open ledger, which only this process writes.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) rows: LoadedRows,
    pub(super) ids: Ids,
    /// The term that began with this open.
    pub(super) term: i64,
    /// Its files, for the check of their paths.
    pub(super) files: LedgerFiles,
    /// How far the log is on disk.
    pub(super) synced: HighWaterFile,
    /// Held until the connection is closed, so it is declared below it.
    pub(super) lock: LockFile,
}

/// Opens the ledger at `path`, making an empty one if there is none.
///
/// # Errors
/// [`OpenError`].
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    let file = |source| OpenError::File { path: path.to_owned(), source };
    let lock = lock(path)?;
    make_private(path).map_err(file)?;
    if let Some(detail) = examine(path).map_err(file)? {
        return Err(set_aside(path, detail));
    }
    let synced = HighWaterFile::open(path).map_err(file)?;
    match connect(path, &synced) {
        Ok((connection, rows, ids, term)) => {
            Ok(Opened { connection, rows, ids, term, files: LedgerFiles::of(path), synced, lock })
        }
        Err(OpenRefusal::NoLog) => Err(OpenError::NoLog(path.to_owned())),
        Err(OpenRefusal::Synced(source)) => Err(file(source)),
        Err(OpenRefusal::Newer(found)) => {
            Err(OpenError::Newer { path: path.to_owned(), found, known: schema::VERSION })
        }
        Err(OpenRefusal::Sql(source)) => Err(match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked(path.to_owned()),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => set_aside(path, source.to_string()),
            _ => OpenError::Database { path: path.to_owned(), source },
        }),
    }
}

/// Ensures that none of our processes writes the file. The lock is a separate file, because SQLite loses its own locks when
/// any code in the process closes the file.
fn lock(path: &Path) -> Result<LockFile, OpenError> {
    let lock = with_ending(path, ".lock");
    let file = |source| OpenError::File { path: lock.clone(), source };
    let lock_file = LockFile::new(private(&lock).map_err(file)?);
    match lock_file.try_lock() {
        Ok(()) => Ok(lock_file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(file(source)),
    }
}

/// Ensures that the file exists and is private to its owner, as are its companions. SQLite gives new ones the mode of the file.
fn make_private(path: &Path) -> io::Result<()> {
    let fresh = std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    private(path)?.set_permissions(Permissions::from_mode(0o600))?;
    if fresh && let Some(directory) = path.parent() {
        // Otherwise a power failure could remove the name of a file whose content is on disk.
        own::sync_directory(directory)?;
    }
    // SQLite would open them whatever they are, and block on a pipe.
    for companion in COMPANIONS.into_iter().chain(["-journal"]).map(|ending| with_ending(path, ending)) {
        match small::open(&companion, Symlinks::Refuse) {
            Ok((file, _)) => file.set_permissions(Permissions::from_mode(0o600))?,
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The problem of the files before SQLite opens them, if there is one. The scan of the write-ahead log belongs here,
/// because SQLite silently drops what follows a bad frame.
fn examine(path: &Path) -> io::Result<Option<String>> {
    let head = small::read_start(path, MAGIC.len() as u64, Symlinks::Refuse).map_err(|error| error.why)?;
    let good = head.is_empty() || head == MAGIC;
    Ok((!good).then(|| "it does not begin as a SQLite file does".to_owned()))
}

enum OpenRefusal {
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

fn connect(path: &Path, synced: &HighWaterFile) -> Result<(Connection, LoadedRows, Ids, i64), OpenRefusal> {
    // Not CREATE: a file made by SQLite would have the mode of the umask.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Otherwise SQLite prepares some statements again whenever a bound value changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Before anything is written: a newer file is left unchanged.
    let found = schema::version(&connection)?;
    if found > schema::VERSION {
        return Err(OpenRefusal::Newer(found));
    }
    // SQLite answers with the mode that applies instead, and reports no error.
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenRefusal::NoLog);
    }
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = OFF;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA journal_size_limit = 67108864;",
    )?;
    synced.follow(&mut connection, path)?;
    schema::migrate(&connection, found)?;
    let (rows, ids) = (loading::load(&connection)?, last_ids(&connection)?);
    let term = terms::begin(&connection, &terms::host_name(), rows.last_term, now_ms())?;
    Ok((connection, rows, ids, term))
}

fn last_ids(connection: &Connection) -> rusqlite::Result<Ids> {
    let last = |table| {
        let sql = format!("SELECT coalesce(max(id), 0) FROM {table}");
        connection.query_row(&sql, [], |row| row.get::<_, i64>(0))
    };
    // The tables of a pair have the same rows, unless another program deleted some.
    Ok(Ids {
        inbound: last("inbound")?.max(last("inbound_marks")?),
        outbound: last("outbound")?.max(last("outbound_marks")?),
        history: last("history")?,
    })
}

/// Moves the file and its companions away, with the time in the new name.
fn set_aside(path: &Path, detail: String) -> OpenError {
    let aside = with_ending(path, &format!(".damaged-{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ")));
    // The log first: without it the file is still valid, but a new file beside an old log is not.
    for ending in COMPANIONS.into_iter().chain([""]) {
        match std::fs::rename(with_ending(path, ending), with_ending(&aside, ending)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return OpenError::Stuck { path: path.to_owned(), source };
            }
            _ => {}
        }
    }
    OpenError::Corrupt { path: path.to_owned(), set_aside: aside, detail }
}

fn private(path: &Path) -> io::Result<File> {
    Ok(own::open_or_create(path, own::OpenMode::ReadWrite, 0o600).map_err(|error| error.why)?)
}

pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
