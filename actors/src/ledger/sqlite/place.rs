//! Where the ledger lies in a home, and the move of one that an earlier version kept elsewhere. Blocks.

use std::fs::{remove_file, rename, symlink_metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tracing::info;

use super::high_water::FollowError;
pub use super::names::COMPANIONS;
use super::names::{SYNCED, log_path, with_ending};
use super::open::{OpenError, Opened, open};
use crate::files::{LockFile, Symlinks, own, small};

/// Path in the home. The directory is ours alone, so that writes to the ledger do not wake the watch on the home.
pub const PATH: &str = "caduceus/ledger.db";
/// Where versions with files up to version 5 kept it.
pub const FORMER_PATH: &str = "caduceus.db";

/// The path of the ledger of `home`; one that an earlier version kept at `<home>/caduceus.db` is moved there.
///
/// The log is written back first, so the move is that of one file: a process that is killed meanwhile leaves a whole ledger at one of
/// the two paths.
///
/// # Errors
/// [`OpenError`] of the former ledger, or there are two, or the system refuses the move. Nothing was deleted.
pub fn prepare(home: &Path) -> Result<PathBuf, OpenError> {
    let (path, former) = (home.join(PATH), home.join(FORMER_PATH));
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::File { path, source }
    };
    let directory = path.parent().unwrap_or(home);
    own::make_directory(directory).map_err(at(directory))?;
    // Otherwise a power failure could remove the directory of a ledger whose content is on disk.
    own::sync_directory(home).map_err(at(home))?;
    match small::open(&former, Symlinks::Refuse) {
        Ok(_) => {}
        Err(error) if error.is_missing() => return Ok(path),
        Err(error) => return Err(at(&former)(error.into())),
    }
    // A log that was left there belongs to another file.
    if [path.clone(), log_path(&path)].iter().any(|path| symlink_metadata(path).is_ok()) {
        return Err(OpenError::Two { path, former });
    }
    // It says of a ledger that is gone how its files should be.
    match remove_file(with_ending(&path, SYNCED)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(&with_ending(&path, SYNCED))(error)),
        _ => {}
    }
    let lock = write_back(&former)?;
    rename(&former, &path).map_err(at(&former))?;
    for directory in [directory, home] {
        own::sync_directory(directory).map_err(at(directory))?;
    }
    // They have no content that is needed.
    for ending in [".lock", SYNCED] {
        let _ = remove_file(with_ending(&former, ending));
    }
    drop(lock);
    info!(from = %former.display(), to = %path.display(), "ledger moved");
    Ok(path)
}

/// Writes the log of the ledger at `path` back into its file, and closes it. The lock stays.
fn write_back(path: &Path) -> Result<LockFile, OpenError> {
    let Opened { connection, synced, database: _database, lock, .. } = open(path)?;
    let database = |source| OpenError::Database { path: path.to_owned(), source };
    synced.release(&connection).map_err(|error| match error {
        FollowError::File(source) => OpenError::File { path: path.to_owned(), source },
        FollowError::Sql(source) => database(source),
    })?;
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    let is_busy: bool = connection.query_row(sql, [], |row| row.get(0)).map_err(database)?;
    connection.close().map_err(|(_, source)| database(source))?;
    // With another program in the file its log may remain.
    let has_log = symlink_metadata(log_path(path)).is_ok_and(|log| log.len() > 0);
    if is_busy || has_log { Err(OpenError::Locked(path.to_owned())) } else { Ok(lock) }
}

/// The path of a former ledger beside the present one: a gateway does not start with both.
#[must_use]
pub fn second(home: &Path) -> Option<PathBuf> {
    let former = home.join(FORMER_PATH);
    (find(home) != former && symlink_metadata(&former).is_ok()).then_some(former)
}

/// The path at which the ledger of `home` is read: the former one until a gateway has moved it.
#[must_use]
pub fn find(home: &Path) -> PathBuf {
    let (path, former) = (home.join(PATH), home.join(FORMER_PATH));
    if symlink_metadata(&path).is_err() && symlink_metadata(&former).is_ok() { former } else { path }
}
