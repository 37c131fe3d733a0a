//! `honcho.json` on disk: read, and replaced in one step. Everything here blocks.
//!
//! Space for the new file is reserved *before* the token is presented, so that a full or read-only disk costs no token. A
//! file that does not parse is never replaced: the grant is then kept beside it.

use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use tempfile::NamedTempFile;

use super::file::{GrantFileError, HonchoFile};
use super::grant::Grant;
use super::lock::ConfigLock;
use super::steps::{RefreshStep, StepHook};
use crate::files::{Symlinks, Unusable, own, small};

/// The file has some kilobytes; a larger one is something else.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// How much longer than the old one a new grant may be.
const SLACK: usize = 8 * 1024;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system's error on reading.
    #[error("{path} cannot be read")]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// It does not parse; a person must repair it.
    #[error("{path} is broken")]
    Broken {
        /// Which file.
        path: PathBuf,
        /// The position.
        #[source]
        source: GrantFileError,
    },
}

/// Why a grant is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The file must be repaired first; it was left unchanged.
    #[error(transparent)]
    Unusable(#[from] ReadError),
    /// The system's error on writing; the old file is complete.
    #[error("{path} cannot be replaced")]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// Where the grant of a login was written.
#[derive(Debug, PartialEq, Eq)]
pub enum Installed {
    /// Into the file.
    InPlace,
    /// Beside the file, which can no longer be read or does not parse.
    Beside(PathBuf),
}

/// Where a grant was written.
#[derive(Debug)]
pub(super) enum Saved {
    /// Into the file.
    InPlace,
    /// Beside the file, which does not parse.
    Beside(PathBuf),
    /// Nowhere: another process wrote another grant into the file meanwhile, without the lock.
    Overtaken(Grant),
}

/// Reads the file at `path`; `None` if there is none.
///
/// # Errors
/// [`ReadError`]
pub fn read(path: &Path) -> Result<Option<HonchoFile>, ReadError> {
    let fail = |why: Unusable| ReadError::Io { path: path.to_owned(), source: why.into() };
    let contents = match small::read(path, MAX_FILE, Symlinks::Follow) {
        Ok(contents) => contents,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(fail(error.why)),
    };
    HonchoFile::parse(contents.text().map_err(fail)?)
        .map(Some)
        .map_err(|source| ReadError::Broken { path: path.to_owned(), source })
}

/// Whether a grant for `host` could be saved: the file, if there is one, can take it, and the disk has space.
///
/// # Errors
/// [`SaveError`], the same as of [`install`]; nothing was changed.
pub fn check_install(lock: &ConfigLock, host: &str) -> Result<(), SaveError> {
    let mut file = read(lock.target())?.unwrap_or_else(HonchoFile::empty);
    file.ensure_block(host).map_err(|source| ReadError::Broken { path: lock.target().to_owned(), source })?;
    ReservedFile::create(lock).map(drop)
}

/// Writes the grant of a login to the file, with the settings of the login, under a lock held by the caller.
///
/// # Errors
/// [`SaveError`]; the file is unchanged then.
pub fn install(
    lock: &ConfigLock,
    host: &str,
    grant: &Grant,
    config: Option<&Map<String, Value>>,
) -> Result<Installed, SaveError> {
    let reserved = ReservedFile::create(lock)?;
    let steps = StepHook::default();
    let mut file = match read(lock.target()) {
        Ok(file) => file.unwrap_or_else(HonchoFile::empty),
        Err(_) => return keep_beside(lock, reserved, host, grant, &steps).map(Installed::Beside),
    };
    if let Some(config) = config {
        file.merge(config);
    }
    let block = file.block_name(host);
    if file.set_grant(&block, grant).is_err() {
        return keep_beside(lock, reserved, host, grant, &steps).map(Installed::Beside);
    }
    reserved.replace(lock.target(), &file, &steps)?;
    remove_left_over_files(lock, &block, &file);
    Ok(Installed::InPlace)
}

/// A temporary file in the right directory, as large as needed. Dropping it removes it.
#[derive(Debug)]
pub(super) struct ReservedFile {
    file: NamedTempFile,
}

impl ReservedFile {
    pub(super) fn create(lock: &ConfigLock) -> Result<Self, SaveError> {
        let target = lock.target();
        let create = || {
            // A rename would replace it nevertheless; its permissions were set on purpose.
            if target.exists() {
                rustix::fs::access(target, rustix::fs::Access::WRITE_OK)?;
            }
            // The crate creates it with mode 0600.
            let mut file = tempfile::Builder::new().prefix(&temporary_prefix(target)).tempfile_in(directory(target))?;
            // Started as root on a user's file: the owner stays, as with the original.
            own::keep_owner_of(target, file.as_file());
            let old = fs::metadata(target).map_or(0, |old| usize::try_from(old.len()).unwrap_or(SLACK));
            file.write_all(&vec![0; old + SLACK])?;
            file.as_file().sync_all()?;
            Ok(Self { file })
        };
        create().map_err(|source| SaveError::Io { path: target.to_owned(), source })
    }

    /// Makes the temporary file the one at `path`.
    fn replace(mut self, path: &Path, content: &HonchoFile, steps: &StepHook) -> Result<(), SaveError> {
        let text = content.to_text();
        let mut write = || {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(text.as_bytes())?;
            self.file.as_file().set_len(text.len() as u64)?;
            self.file.as_file().sync_all()
        };
        let fail = |source| SaveError::Io { path: path.to_owned(), source };
        write().map_err(fail)?;
        steps.reached(RefreshStep::TemporaryWritten);
        self.file.persist(path).map_err(|error| fail(error.error))?;
        steps.reached(RefreshStep::Renamed);
        // For everything but a power failure the rename is enough; a file system that cannot sync a directory is tolerated.
        let _ = own::sync_directory(directory(path));
        Ok(())
    }
}

/// Writes `grant` to `block` of the file, in place of `before`. The file is read once more: its current content
/// decides.
pub(super) fn save(
    lock: &ConfigLock,
    reserved: ReservedFile,
    block: &str,
    grant: &Grant,
    before: &Grant,
    steps: &StepHook,
) -> Result<Saved, SaveError> {
    let target = lock.target();
    let mut file = match read(target) {
        Ok(file) => file.unwrap_or_else(HonchoFile::empty),
        Err(_) => return keep_beside(lock, reserved, block, grant, steps).map(Saved::Beside),
    };
    if let Some(now) = file.grant(block).filter(|now| !same_refresh_token(now, before)) {
        return Ok(Saved::Overtaken(now));
    }
    if file.set_grant(block, grant).is_err() {
        return keep_beside(lock, reserved, block, grant, steps).map(Saved::Beside);
    }
    reserved.replace(target, &file, steps)?;
    remove_left_over_files(lock, block, &file);
    Ok(Saved::InPlace)
}

fn keep_beside(
    lock: &ConfigLock,
    reserved: ReservedFile,
    block: &str,
    grant: &Grant,
    steps: &StepHook,
) -> Result<PathBuf, SaveError> {
    let path = kept_path(lock.target(), block);
    let mut file = HonchoFile::empty();
    file.set_grant(block, grant).map_err(|source| ReadError::Broken { path: path.clone(), source })?;
    reserved.replace(&path, &file, steps)?;
    Ok(path)
}

/// A grant that is kept beside the file for `block`, because the file could not take it.
pub(super) fn kept_beside(target: &Path, block: &str) -> Option<PathBuf> {
    Some(kept_path(target, block)).filter(|path| path.exists())
}

/// A grant that replaced `spent` and never got into the file: kept beside it, or in a temporary file of a process
/// that was killed at the last step.
pub(super) fn find_replacement(target: &Path, block: &str, spent: &Grant) -> Option<Grant> {
    let kept = std::iter::once(kept_path(target, block));
    kept.chain(temporary_files(target)).find_map(|path| replacement_in(spent, &read(&path).ok().flatten()?, block))
}

/// The grant in `block` of a left-over file, if it replaced `spent`.
fn replacement_in(spent: &Grant, left: &HonchoFile, block: &str) -> Option<Grant> {
    let grant = left.grant(block)?;
    (!same_refresh_token(&grant, spent) && grant.expires_at_ms > spent.expires_at_ms).then_some(grant)
}

/// Removes what [`find_replacement`] would find for `block`, if `written` has the grant; only the holder of the lock
/// has such files. Grants of other hosts in the file stay.
fn remove_left_over_files(lock: &ConfigLock, block: &str, written: &HonchoFile) {
    let notes = lock.notes();
    let is_awaited = |path: &PathBuf| {
        let Ok(Some(left)) = read(path) else { return false };
        written.hosts().filter(|host| *host != block).any(|host| {
            let presented = |grant: &Grant| notes.of(host).is_some_and(|note| note.is_about(&grant.refresh_token));
            written.grant(host).filter(presented).is_some_and(|spent| replacement_in(&spent, &left, host).is_some())
        })
    };
    let temporary_files = temporary_files(lock.target()).into_iter().filter(|path| !is_awaited(path));
    for path in std::iter::once(kept_path(lock.target(), block)).chain(temporary_files) {
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "left-over file of a grant not removed");
        }
    }
}

pub(super) fn same_refresh_token(one: &Grant, other: &Grant) -> bool {
    one.refresh_token.expose_secret() == other.refresh_token.expose_secret()
}

pub(super) fn same_tokens(one: &Grant, other: &Grant) -> bool {
    same_refresh_token(one, other) && one.access_token.expose_secret() == other.access_token.expose_secret()
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn temporary_prefix(target: &Path) -> String {
    format!(".{}.caduceus-", name(target))
}

/// Where a grant is kept while the file cannot take it.
fn kept_path(target: &Path, block: &str) -> PathBuf {
    let safe = |byte: char| byte.is_ascii_alphanumeric() || matches!(byte, '_' | '-' | '.');
    let block: String = block.chars().map(|byte| if safe(byte) { byte } else { '_' }).collect();
    target.with_file_name(format!("{}.kept-{block}", name(target)))
}

fn temporary_files(target: &Path) -> Vec<PathBuf> {
    let prefix = temporary_prefix(target);
    let ours = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&prefix);
    let entries = fs::read_dir(directory(target)).into_iter().flatten().flatten();
    entries.filter(ours).map(|entry| entry.path()).collect()
}
