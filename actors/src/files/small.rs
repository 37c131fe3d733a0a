//! Opens and reads small files; no other code does.
//!
//! A path in a home may lead to anything: opening a named pipe blocks, a device never ends, a log was renamed by mistake. So
//! each file is opened once and without blocking, checked by its descriptor, and read up to the caller's limit. A file system that
//! does not answer still blocks; where that matters the work belongs on a [`super::FileWorker`].

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use super::error::{FileError, FileKind, Unusable, explain, missing};

/// The longest file read there is the environment of a process, which has 2 MiB at most.
pub const KERNEL_LIMIT: u64 = 4 * 1024 * 1024;

/// Whether a symbolic link in place of a file is followed. Links in its directory part always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symlinks {
    /// For files that people write: a secret mounted by Kubernetes is a link, and so may be a shared `.env`.
    Follow,
    /// For files that the gateway writes itself: another user may have put a link there.
    Refuse,
}

/// A file that was read.
#[derive(Debug)]
pub struct Contents {
    /// All of it, wiped on drop.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The metadata at the time of opening.
    pub metadata: Metadata,
}

impl Contents {
    /// The content as text.
    ///
    /// # Errors
    /// [`Unusable::NotText`], which contains none of the content.
    pub fn text(&self) -> Result<&str, Unusable> {
        std::str::from_utf8(&self.bytes).map_err(|error| Unusable::NotText(error.valid_up_to()))
    }
}

/// Reads the file at `path`, of at most `limit` bytes.
///
/// # Errors
/// [`FileError`], with the path; also for a missing file.
pub fn read(path: &Path, limit: u64, symlinks: Symlinks) -> Result<Contents, FileError> {
    let fail = |why| FileError::new(path, why);
    let (file, metadata) = open(path, symlinks)?;
    if metadata.len() > limit {
        return Err(fail(Unusable::TooLarge(limit)));
    }
    // Room for all of it at once: a growing buffer leaves copies behind.
    let room = usize::try_from(metadata.len()).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| fail(Unusable::System(error)))?;
    if bytes.len() as u64 > limit {
        return Err(fail(Unusable::TooLarge(limit)));
    }
    Ok(Contents { bytes, metadata })
}

/// The same as text.
///
/// # Errors
/// [`FileError`]
pub fn read_text(path: &Path, limit: u64, symlinks: Symlinks) -> Result<Zeroizing<String>, FileError> {
    let contents = read(path, limit, symlinks)?;
    let text = contents.text().map_err(|why| FileError::new(path, why))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads up to `most` bytes from the start of the file at `path`, whatever its length.
///
/// # Errors
/// [`FileError`]
pub fn read_start(path: &Path, most: u64, symlinks: Symlinks) -> Result<Vec<u8>, FileError> {
    let (file, _) = open(path, symlinks)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(|error| FileError::new(path, Unusable::System(error)))?;
    Ok(bytes)
}

/// The text of a kernel file, for example below `/proc`; `None` if it does not exist or is not text.
#[must_use]
pub fn read_kernel_file(path: impl AsRef<Path>) -> Option<Zeroizing<String>> {
    read_text(path.as_ref(), KERNEL_LIMIT, Symlinks::Follow).ok()
}

/// Opens the regular file at `path` for reading, blocking on nothing except the file system.
///
/// # Errors
/// [`FileError`]
pub fn open(path: &Path, symlinks: Symlinks) -> Result<(File, Metadata), FileError> {
    let follow = symlinks == Symlinks::Follow;
    // First without opening it: opening alone may wake the other end of a pipe, or rewind a tape.
    regular(path, if follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) })?;
    let file =
        descriptor(path, OFlags::RDONLY, Mode::empty(), symlinks).map_err(|error| explain(path, follow, error))?;
    // Something else may have replaced it since.
    let metadata = regular(path, file.metadata())?;
    Ok((file, metadata))
}

/// The metadata of a regular file.
pub(super) fn regular(path: &Path, metadata: io::Result<Metadata>) -> Result<Metadata, FileError> {
    match metadata {
        Ok(found) if found.is_file() => Ok(found),
        Ok(found) => Err(FileError::new(path, Unusable::NotAFile(FileKind::of(found.file_type())))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(path)),
        Err(error) => Err(FileError::new(path, Unusable::System(error))),
    }
}

/// Opens without blocking: a pipe in place of the file must not block the caller, and a terminal must not become the controlling terminal.
#[expect(clippy::disallowed_methods, reason = "no other code opens")]
pub(super) fn descriptor(path: &Path, access: OFlags, mode: Mode, symlinks: Symlinks) -> io::Result<File> {
    let mut flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    flags.set(OFlags::NOFOLLOW, symlinks == Symlinks::Refuse);
    Ok(rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, mode))?.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::files::special::{SPECIAL, place};

    const LIMIT: u64 = 1000;

    #[test]
    fn special_and_oversized_files_are_refused_by_name_and_kind_and_do_not_block() {
        for (kind, expected) in SPECIAL {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("it");
            let _held = place(kind, &path);
            let error = read(&path, LIMIT, Symlinks::Follow).unwrap_err();
            let shown = error.to_string();
            assert!(shown.contains(expected) && shown.contains("it"), "{kind}: {shown}");
        }
    }

    #[test]
    fn a_link_is_followed_for_files_that_people_write_and_refused_for_files_of_the_gateway() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("real"), home.path().join("link"));
        fs::write(&file, "text").unwrap();
        symlink("real", &link).unwrap();
        assert_eq!(read(&link, LIMIT, Symlinks::Follow).unwrap().text().unwrap(), "text");
        let refused = read(&link, LIMIT, Symlinks::Refuse).unwrap_err();
        assert!(matches!(refused.why, Unusable::NotAFile(FileKind::Link)), "{refused}");
    }

    #[test]
    fn a_file_of_just_the_limit_is_read_and_one_byte_more_is_too_many() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("it");
        fs::write(&path, vec![b'x'; 1000]).unwrap();
        assert_eq!(read(&path, LIMIT, Symlinks::Follow).unwrap().bytes.len(), 1000);
        fs::write(&path, vec![b'x'; 1001]).unwrap();
        assert!(matches!(read(&path, LIMIT, Symlinks::Follow).unwrap_err().why, Unusable::TooLarge(LIMIT)));
        assert_eq!(read_start(&path, 3, Symlinks::Follow).unwrap(), b"xxx");
    }

    #[test]
    fn invalid_text_is_reported_by_its_position_and_not_by_its_bytes() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("it");
        fs::write(&path, b"KEY=hunter2\xff").unwrap();
        let error = read_text(&path, LIMIT, Symlinks::Follow).unwrap_err().to_string();
        assert!(error.ends_with("it is not UTF-8 at byte 11") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_file_of_the_system_that_has_no_size_is_read_whole() {
        assert!(read_kernel_file("/proc/self/status").unwrap().starts_with("Name:"));
    }
}
