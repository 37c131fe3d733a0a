//! A new file with what is whole of a damaged one, which is set aside. Blocks.
//!
//! The new file is complete and synced before it gets the name `-carried`; from then on the exchange of the two is finished by this start
//! or by the next one. The damaged file has a second name before it loses its first one, so a process that is killed leaves it whole.

use std::fs::{File, hard_link, remove_file, rename};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::head_page::{self, PAGE, Page};
use super::names::{COMPANIONS, JOURNAL, SYNCED, log_path, with_ending as with};
use super::schema;
use super::whole_rows::{self, LostRows};
use crate::files::{Symlinks, own, small};

/// Endings of files that exist meanwhile: the copy that is read with its companions, the new file before it is complete, and after that.
const SOURCE: [&str; 4] = ["-source", "-source-wal", "-source-shm", "-source-journal"];
const UNFINISHED: [&str; 2] = ["-new", "-new-journal"];
const CARRIED: &str = "-carried";
/// Most pages that a header may say are missing at the end of the file: 4 GiB, more than any disk loses of a file. Above that the header is
/// damaged.
const MOST_MISSING: u32 = 1 << 20;

/// What is known of a damaged file.
#[derive(Debug)]
pub(super) struct DamagedFile<'a> {
    pub(super) path: &'a Path,
    /// The path without an ending at which it is set aside.
    pub(super) aside: &'a Path,
    /// An earlier copy of its first page.
    pub(super) head: Option<&'a Page>,
    /// Whether the end of the log is lost.
    pub(super) is_cut: bool,
    /// Whether the log is left out: what is good of it is in the file, and some of that is newer.
    pub(super) without_log: bool,
}

/// Why nothing was carried over. The damaged file is at its path.
#[derive(Debug, thiserror::Error)]
pub(super) enum CarryError {
    /// There are no tables that could be read.
    #[error("nothing of it can be read")]
    Unreadable(#[source] rusqlite::Error),
    /// A newer build wrote it.
    #[error("it has version {0}")]
    Newer(i64),
    #[error("its rows cannot be carried over")]
    Sql(#[source] rusqlite::Error),
    #[error("its rows cannot be carried over")]
    File(#[from] io::Error),
}

/// Makes a new file of what is whole in a damaged one, and puts it in its place. Returns the rows that are lost or corrupt.
pub(super) fn carry_over(damaged: &DamagedFile<'_>) -> Result<LostRows, CarryError> {
    let carried = exchange(damaged);
    if carried.is_err() {
        // What was copied takes room that may be missing. The error of the exchange is the one that counts.
        let _ = discard(damaged.path, SOURCE.iter().chain(&UNFINISHED));
    }
    carried
}

fn exchange(damaged: &DamagedFile<'_>) -> Result<LostRows, CarryError> {
    let path = damaged.path;
    discard(path, SOURCE.iter().chain(&UNFINISHED))?;
    copy_source(damaged)?;
    let lost = copy_rows(path, damaged.is_cut)?;
    discard(path, SOURCE.iter())?;
    for ending in ["", "-wal", JOURNAL, SYNCED] {
        keep(&with(path, ending), &with(damaged.aside, ending))?;
    }
    sync_names(path)?;
    rename(with(path, UNFINISHED[0]), with(path, CARRIED))?;
    sync_names(path)?;
    finish(path)?;
    Ok(lost)
}

/// Gives a file a second name, or copies it where the file system has no second names.
fn keep(path: &Path, aside: &Path) -> io::Result<()> {
    match hard_link(path, aside) {
        Ok(()) => Ok(()),
        // A copy was set aside before it was restored.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => Ok(()),
        Err(_) => copy_file(path, aside)?.sync_all().inspect_err(|_| drop(remove_file(aside))),
    }
}

/// Finishes an exchange that an earlier process began, which has kept the damaged file under a second name. Returns whether there was one.
pub(super) fn finish(path: &Path) -> io::Result<bool> {
    let carried = with(path, CARRIED);
    if std::fs::symlink_metadata(&carried).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Ok(false);
    }
    // Without the log the old file is another one, and the new file must get neither the old log nor the old journal.
    discard(path, COMPANIONS.iter().chain([&JOURNAL]))?;
    sync_names(path)?;
    rename(carried, path)?;
    sync_names(path)?;
    Ok(true)
}

/// Copies the file, and what is used of its log, so that the original is only read.
fn copy_source(damaged: &DamagedFile<'_>) -> io::Result<()> {
    let path = damaged.path;
    let source = copy_file(path, &with(path, SOURCE[0]))?;
    if !damaged.without_log && std::fs::symlink_metadata(log_path(path)).is_ok_and(|log| log.len() > 0) {
        copy_file(&log_path(path), &with(path, SOURCE[1]))?;
    }
    let length = source.metadata()?.len();
    let in_file = u32::try_from(length.div_ceil(PAGE as u64)).unwrap_or(u32::MAX);
    let Some(found) = head_page::read(&source)?.or(damaged.head.copied()) else { return Ok(()) };
    let mut head = damaged.head.and_then(|copy| head_page::restored(&found, copy)).unwrap_or(found);
    let pages = head_page::pages(&head).filter(|pages| pages.saturating_sub(in_file) < MOST_MISSING);
    let pages = pages.unwrap_or(in_file).max(in_file).max(1);
    // Pages that are missing are pages that cannot be read, and no reason to refuse the others.
    source.set_len(u64::from(pages) * PAGE as u64)?;
    head_page::set_pages(&mut head, pages);
    source.write_all_at(&head, 0)
}

fn copy_file(from: &Path, to: &Path) -> io::Result<File> {
    let (mut from, _) = small::open(from, Symlinks::Refuse)?;
    let mut to = own::create_new(to, own::OpenMode::ReadWrite, 0o600).map_err(|error| error.why)?;
    io::copy(&mut from, &mut to)?;
    Ok(to)
}

/// Copies the rows of the source into the new file.
fn copy_rows(path: &Path, is_cut: bool) -> Result<LostRows, CarryError> {
    let old = open(&with(path, SOURCE[0])).map_err(of_source)?;
    let version = schema::version(&old).map_err(of_source)?;
    if version > schema::VERSION {
        return Err(CarryError::Newer(version));
    }
    schema::migrate(&old, version).map_err(of_source)?;
    let target = with(path, UNFINISHED[0]);
    let file = own::create_new(&target, own::OpenMode::ReadWrite, 0o600).map_err(|error| io::Error::from(error.why))?;
    let new = open(&target).map_err(CarryError::Sql)?;
    // It is synced at the end, and unused if this process ends before.
    new.execute_batch("PRAGMA synchronous = OFF").map_err(CarryError::Sql)?;
    schema::migrate(&new, 0).map_err(CarryError::Sql)?;
    schema::identify(&new).map_err(CarryError::Sql)?;
    let transaction = new.unchecked_transaction().map_err(CarryError::Sql)?;
    let lost = whole_rows::copy(&old, &transaction, is_cut).map_err(of_source)?;
    transaction.commit().map_err(CarryError::Sql)?;
    new.close().map_err(|(_, error)| CarryError::Sql(error))?;
    file.sync_all()?;
    Ok(lost)
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// A disk that fails says nothing about the file.
fn of_source(error: rusqlite::Error) -> CarryError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory | ErrorCode::CannotOpen) => {
            CarryError::Sql(error)
        }
        _ => CarryError::Unreadable(error),
    }
}

fn discard<'a>(path: &Path, endings: impl Iterator<Item = &'a &'a str>) -> io::Result<()> {
    for ending in endings {
        match remove_file(with(path, ending)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn sync_names(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), own::sync_directory)
}
