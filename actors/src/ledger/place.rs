//! Where the ledger lies in a home, and the move of one that an earlier version kept elsewhere. Blocks.

use std::fs::{remove_file, rename, symlink_metadata};
use std::io;
use std::path::{Path, PathBuf};

use tracing::info;

use super::open::{OpenError, lock, with_ending};
use crate::files::{Symlinks, own, small};

/// Path in the home. The directory is ours alone, so that writes to the ledger do not wake the watch on the home.
pub const PATH: &str = "caduceus/ledger.db";
/// Where versions with files up to version 5 kept it.
pub const FORMER_PATH: &str = "caduceus.db";

/// The path of the ledger of `home`; one that an earlier version kept at `<home>/caduceus.db` is moved there.
///
/// A process that is killed meanwhile leaves at most the log at the new path and the file at the former, and the next call moves the
/// rest.
///
/// # Errors
/// [`OpenError`]: another process has the former ledger, there are two, or the system refuses the move. Nothing was deleted.
pub fn prepare(home: &Path) -> Result<PathBuf, OpenError> {
    let (path, former) = (home.join(PATH), home.join(FORMER_PATH));
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::File { path, source }
    };
    let directory = path.parent().unwrap_or(home);
    own::make_directory(directory).map_err(at(directory))?;
    match small::open(&former, Symlinks::Refuse) {
        Ok(_) => {}
        Err(error) if error.is_missing() => return Ok(path),
        Err(error) => return Err(at(&former)(error.into())),
    }
    let lock = lock(&former)?;
    if symlink_metadata(&path).is_ok() {
        return Err(OpenError::Two { path, former });
    }
    // The log first: without its file it is nothing, but a file without its log has lost the last messages.
    move_if_there(&with_ending(&former, "-wal"), &with_ending(&path, "-wal")).map_err(at(&former))?;
    sync_both(home, directory).map_err(at(&former))?;
    rename(&former, &path).map_err(at(&former))?;
    sync_both(home, directory).map_err(at(&former))?;
    for ending in ["-shm", ".lock"] {
        // Neither has content of its own.
        let _ = remove_file(with_ending(&former, ending));
    }
    drop(lock);
    info!(from = %former.display(), to = %path.display(), "ledger moved");
    Ok(path)
}

/// The path at which the ledger of `home` is read: the former one until a gateway has moved it.
#[must_use]
pub fn find(home: &Path) -> PathBuf {
    let (path, former) = (home.join(PATH), home.join(FORMER_PATH));
    if symlink_metadata(&path).is_err() && symlink_metadata(&former).is_ok() { former } else { path }
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved,
    }
}

fn sync_both(home: &Path, directory: &Path) -> io::Result<()> {
    own::sync_directory(directory)?;
    own::sync_directory(home)
}
