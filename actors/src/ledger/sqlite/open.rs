//! From a path to a writable connection: locked, private, intact, of the right version.
//!
//! Each step is a separate function. Of a file that is neither migrated nor damaged only the short rows of marks are read, and the frames of
//! the log below the high-water mark.

use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::carry_over::{self, CarryError, DamagedFile};
use super::connect::{Connected, OpenRefusal, connect};
use super::examination::{Examination, examine};
use super::file_check::LedgerFiles;
use super::head_page;
use super::high_water::{self, HighWaterFile};
use super::loading::LoadedRows;
use super::names::{COMPANIONS, JOURNAL, SYNCED, with_ending};
use super::schema;
use super::transaction::Ids;
use super::whole_rows::LostRows;
use crate::error_chain::error_chain;
use crate::files::{LockFile, Symlinks, own, small};
use crate::system_error::is_temporary;

/// How long an open waits for the lock: a child of a killed gateway that has not executed its program yet has it for a moment,
/// a command that lists rows for some milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the ledger was not opened. In every case nothing was deleted.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process or writer has it; worth retrying after that has ended.
    #[error("the ledger {0} is in use by another process")]
    Locked(PathBuf),
    /// It is corrupt, nothing of it can be read, and it was moved away; the next try starts an empty one.
    #[error("the ledger {path} is corrupt and was set aside as {set_aside}: {detail}")]
    Corrupt {
        /// Its path.
        path: PathBuf,
        /// Its new path, with its write-ahead log and its journal beside it.
        set_aside: PathBuf,
        /// The problem.
        detail: String,
    },
    /// There is one at the present path, or its log, and one at the former, which an earlier version wrote later.
    #[error(
        "there are two ledgers, {path} and {former} of an earlier version: move one of them away, with its -wal, -shm and -synced"
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
    /// Held until the connection is closed, as [`Opened::lock`]: SQLite loses its locks when any code in the process closes the file.
    pub(super) database: File,
    /// Held until the connection is closed, so it is declared below it.
    pub(super) lock: LockFile,
}

/// Opens the ledger at `path`, making an empty one if there is none. What is whole of a damaged file is carried over to a new one.
///
/// # Errors
/// [`OpenError`].
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    let file = |source| OpenError::File { path: path.to_owned(), source };
    let lock = lock(path)?;
    let is_finished = carry_over::finish(path).map_err(file)?;
    make_private(path)?;
    let aside = aside(path);
    let mut synced = HighWaterFile::open(path).map_err(|source| error(path, OpenRefusal::Synced(source)))?;
    let mut examination = examine(path, &synced, &aside).map_err(file)?;
    if is_finished {
        examination
            .found
            .push("the file was made of a damaged one, which is beside it, by a start that was ended".to_owned());
    }
    if let Some(detail) = examination.foreign {
        return Err(set_aside(path, detail.to_owned()));
    }
    let mut lost = LostRows::new();
    let connected = if examination.is_damaged {
        match carry_over(path, &aside, &synced, &mut examination) {
            Ok(carried) => (synced, lost) = carried,
            // Without room for a new file what is whole of the old one is served, unless rows would be in earlier states.
            Err(error) if error.is_temporary() && !examination.is_cut && !examination.without_log => {
                examination.found.push(format!("no new file could be made of it: {}", error_chain(&error)));
            }
            Err(error) => return Err(error),
        }
        connect(path, &synced)
    } else {
        match connect(path, &synced) {
            Err(OpenRefusal::Sql(error)) if is_corrupt(&error) => {
                examination.found.push(error.to_string());
                (synced, lost) = carry_over(path, &aside, &synced, &mut examination)?;
                connect(path, &synced)
            }
            connected => connected,
        }
    };
    let Connected { connection, mut rows, ids, term } = connected.map_err(|refusal| error(path, refusal))?;
    let database = private(path).map_err(file)?;
    if let Err(refusal) = keep_head(&connection, &database, &synced) {
        // A precaution for another start. The file is open, so it is not set aside here: the check of the structure names what is wrong.
        let reason = match refusal {
            OpenRefusal::Synced(error) => error.to_string(),
            OpenRefusal::Sql(error) => error.to_string(),
            OpenRefusal::Newer(_) | OpenRefusal::NoLog => String::new(),
        };
        tracing::warn!(reason, "no copy of the ledger's first page is kept");
    }
    for (table, row) in lost {
        drop(rows.corrupt.add(table, row));
    }
    examination.found.into_iter().for_each(|what| rows.corrupt.add_place(what));
    Ok(Opened { connection, rows, ids, term, files: LedgerFiles::of(path), synced, database, lock })
}

/// Carries over what is whole, and returns the new file of the mark with the rows that are lost.
fn carry_over(
    path: &Path,
    aside: &Path,
    synced: &HighWaterFile,
    examination: &mut Examination,
) -> Result<(HighWaterFile, LostRows), OpenError> {
    let file = |source| OpenError::File { path: path.to_owned(), source };
    let head = synced.head().map_err(file)?;
    let Examination { is_cut, without_log, .. } = *examination;
    let lost = carry_over::carry_over(&DamagedFile { path, aside, head: head.as_ref(), is_cut, without_log });
    let lost = lost.map_err(|error| match error {
        CarryError::Unreadable(error) => set_aside(path, format!("{}; {error}", examination.found.join("; "))),
        CarryError::Newer(found) => OpenError::Newer { path: path.to_owned(), found, known: schema::VERSION },
        CarryError::Sql(source) => OpenError::Database { path: path.to_owned(), source },
        CarryError::File(source) => file(source),
    })?;
    let count = lost.len();
    examination.found.push(format!("the damaged file is {}; {count} rows of it are lost or corrupt", aside.display()));
    Ok((HighWaterFile::open(path).map_err(file)?, lost))
}

/// Keeps a copy of the first page, if there is none of this schema. It is read when the whole log was written back.
fn keep_head(connection: &Connection, database: &File, synced: &HighWaterFile) -> Result<(), OpenRefusal> {
    let read = || head_page::read(database).map_err(OpenRefusal::Synced);
    let copy = synced.head().map_err(OpenRefusal::Synced)?.filter(|copy| head_page::is_whole(copy, schema::VERSION));
    let Some(page) = read()? else { return Ok(()) };
    if copy.is_some_and(|copy| head_page::is_copied(&page, &copy)) {
        return Ok(());
    }
    if high_water::write_back(connection)?
        && let Some(page) = read()?
        && head_page::is_whole(&page, schema::VERSION)
    {
        synced.keep_head(&page).map_err(OpenRefusal::Synced)?;
    }
    Ok(())
}

fn error(path: &Path, refusal: OpenRefusal) -> OpenError {
    let path = path.to_owned();
    match refusal {
        OpenRefusal::NoLog => OpenError::NoLog(path),
        OpenRefusal::Synced(source) => OpenError::File { path: with_ending(&path, SYNCED), source },
        OpenRefusal::Newer(found) => OpenError::Newer { path, found, known: schema::VERSION },
        OpenRefusal::Sql(source) => match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked(path),
            Some(_) if is_corrupt(&source) => set_aside(&path, source.to_string()),
            _ => OpenError::Database { path, source },
        },
    }
}

/// Whether SQLite says that the file is damaged.
fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Ensures that none of our processes writes the file. The lock is a separate file, because SQLite loses its own locks when
/// any code in the process closes the file. Waits for a child of a killed gateway.
fn lock(path: &Path) -> Result<LockFile, OpenError> {
    let lock = with_ending(path, ".lock");
    let file = |source| OpenError::File { path: lock.clone(), source };
    let lock_file = LockFile::new(private(&lock).map_err(file)?);
    match lock_file.lock_within(LOCK_TIMEOUT) {
        Ok(()) => Ok(lock_file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(file(source)),
    }
}

/// Ensures that the file exists and is private to its owner, as are its companions. SQLite gives new ones the mode of the file.
fn make_private(path: &Path) -> Result<(), OpenError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::File { path, source }
    };
    let fresh = std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let mode = || Permissions::from_mode(0o600);
    private(path).and_then(|file| file.set_permissions(mode())).map_err(at(path))?;
    if fresh && let Some(directory) = path.parent() {
        // Otherwise a power failure could remove the name of a file whose content is on disk.
        own::sync_directory(directory).map_err(at(directory))?;
    }
    // SQLite would open them whatever they are, and block on a pipe.
    for companion in COMPANIONS.into_iter().chain([JOURNAL]).map(|ending| with_ending(path, ending)) {
        match small::open(&companion, Symlinks::Refuse) {
            Ok((file, _)) => file.set_permissions(mode()).map_err(at(&companion))?,
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(at(&companion)(error.into())),
        }
    }
    Ok(())
}

/// Moves the file and its companions away, with the time in the new name.
fn set_aside(path: &Path, detail: String) -> OpenError {
    let aside = aside(path);
    // Log and journal first: without them the file is still valid, but a new file beside an old one of them is not.
    for ending in COMPANIONS.into_iter().chain([JOURNAL, ""]) {
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

/// A new name without an ending, with the time.
fn aside(path: &Path) -> PathBuf {
    with_ending(path, &format!(".damaged-{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_set_aside_with_everything_that_belongs_to_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ledger.db");
        for ending in ["", "-wal", "-shm", "-synced", "-journal", ".lock"] {
            std::fs::write(with_ending(&path, ending), ending).unwrap();
        }
        let error = set_aside(&path, "not a database".to_owned());
        let OpenError::Corrupt { set_aside: aside, .. } = error else { panic!("{error:?}") };
        for ending in ["", "-wal", "-shm", "-synced", "-journal"] {
            assert_eq!(std::fs::read_to_string(with_ending(&aside, ending)).unwrap(), ending);
        }
        let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.iter().filter(|name| !name.to_string_lossy().contains(".damaged-")).count(), 1, "{left:?}");
    }
}
