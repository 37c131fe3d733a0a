//! Opens files that the gateway writes: locks, logs, directories. Nothing is truncated, and no link is followed.
//!
//! Files created by root in a home belong to the owner of the directory, so that a command run with `sudo` never locks out the
//! gateway's own user.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::error::{FileError, Unusable, explain};
use super::small::{Symlinks, descriptor, regular};

/// How often a file may be created and deleted by others while it is opened.
const TRIES: u32 = 16;

/// The purpose of opening a file of the gateway. None of them changes its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Reading and writing in place.
    ReadWrite,
    /// Reading, and writing at its end.
    ReadAppend,
    /// Writing at its end.
    Append,
}

impl OpenMode {
    fn flags(self) -> OFlags {
        match self {
            Self::ReadWrite => OFlags::RDWR,
            Self::ReadAppend => OFlags::RDWR | OFlags::APPEND,
            Self::Append => OFlags::WRONLY | OFlags::APPEND,
        }
    }
}

/// Opens the file at `path`, creating an empty one with `mode` if there is none.
///
/// # Errors
/// [`FileError`]; a link, or anything else that is not a regular file, is left unchanged.
pub fn open_or_create(path: &Path, open_mode: OpenMode, mode: u32) -> Result<File, FileError> {
    for _ in 0..TRIES {
        match regular(path, fs::symlink_metadata(path)) {
            Ok(_) => {}
            Err(error) if error.is_missing() => match create_new(path, open_mode, mode) {
                Err(error) if error.why.kind() == ErrorKind::AlreadyExists => continue,
                created => return created,
            },
            Err(error) => return Err(error),
        }
        match descriptor(path, open_mode.flags(), Mode::empty(), Symlinks::Refuse) {
            Ok(file) => {
                regular(path, file.metadata())?;
                return Ok(file);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(explain(path, false, error)),
        }
    }
    Err(FileError::new(path, Unusable::System(io::Error::other("it is created and deleted repeatedly"))))
}

/// Creates a new file at `path` with `mode`, before its first byte.
///
/// # Errors
/// [`FileError`]; an existing file is left unchanged.
pub fn create_new(path: &Path, open_mode: OpenMode, mode: u32) -> Result<File, FileError> {
    let flags = open_mode.flags() | OFlags::CREATE | OFlags::EXCL;
    match descriptor(path, flags, Mode::from_raw_mode(mode), Symlinks::Refuse) {
        Ok(file) => {
            give_to_owner_of(path.parent(), &file);
            Ok(file)
        }
        // An existing file is not an obstacle here, but another process was first.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(FileError::new(path, Unusable::System(error))),
        // Here the directory is missing, not the file.
        Err(error) => Err(FileError::new(path, Unusable::System(error))),
    }
}

/// Creates a directory and its parents; new ones are private to our user.
///
/// # Errors
/// The system's error.
pub fn make_directory(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            if let Ok((uid, gid)) = owner_for(path.parent()) {
                // Without the permission to change the owner it keeps the current user.
                let _ = std::os::unix::fs::lchown(path, Some(uid), Some(gid));
            }
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty()).ok_or(error)?;
            make_directory(above)?;
            make_directory(path)
        }
        Err(_) if path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Syncs the names in `folder` to disk.
///
/// # Errors
/// The system's error.
pub fn sync_directory(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    descriptor(folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty(), Symlinks::Follow)?.sync_all()
}

/// As root, gives a file just created in `folder` to the owner of the folder.
pub fn give_to_owner_of(folder: Option<&Path>, file: &File) {
    if let Ok((uid, gid)) = owner_for(folder) {
        // Without the permission to change the owner it keeps the current user.
        let _ = std::os::unix::fs::fchown(file, Some(uid), Some(gid));
    }
}

/// Gives a file that will replace the one at `path` the owner of that file; if there is none, see [`give_to_owner_of`].
pub fn keep_owner_of(path: &Path, file: &File) {
    give_to_owner_of(path.parent(), file);
    let (Ok(old), Ok(new)) = (fs::metadata(path), file.metadata()) else { return };
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        // Without the permission to change the owner it keeps the current user.
        let _ = std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()));
    }
}

/// The owner of `folder`; an error if new files there belong to the current user anyway.
fn owner_for(folder: Option<&Path>) -> io::Result<(u32, u32)> {
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let found = fs::metadata(folder)?;
    if rustix::process::geteuid().is_root() && found.uid() != 0 {
        Ok((found.uid(), found.gid()))
    } else {
        Err(Errno::PERM.into())
    }
}

/// Whether `path` still leads to the open `file`.
///
/// # Errors
/// The system's error, except that nothing is there.
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::files::special::{SPECIAL, place};

    #[test]
    fn an_existing_directory_keeps_its_mode_and_a_new_one_is_private() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("log");
        open_or_create(&path, OpenMode::Append, 0o600).unwrap().write_all(b"one ").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        open_or_create(&path, OpenMode::Append, 0o600).unwrap().write_all(b"two").unwrap();
        let mut text = String::new();
        open_or_create(&path, OpenMode::ReadWrite, 0o600).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
    }

    #[test]
    fn no_link_is_followed_and_only_a_regular_file_is_opened() {
        for (kind, _) in SPECIAL.iter().filter(|(kind, _)| *kind != "10 GB") {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("it");
            let _held = place(kind, &path);
            for open_mode in [OpenMode::ReadWrite, OpenMode::ReadAppend, OpenMode::Append] {
                let error = open_or_create(&path, open_mode, 0o600).unwrap_err();
                assert!(matches!(error.why, Unusable::NotAFile(_)), "{kind}: {error}");
            }
        }
        let home = tempfile::tempdir().unwrap();
        let (target, link) = (home.path().join("precious"), home.path().join("lock"));
        fs::write(&target, "precious").unwrap();
        symlink(&target, &link).unwrap();
        assert!(open_or_create(&link, OpenMode::ReadWrite, 0o600).is_err());
        assert_eq!(fs::read_to_string(target).unwrap(), "precious");
    }

    #[test]
    fn a_file_created_by_root_belongs_to_the_owner_of_the_directory() {
        if !rustix::process::geteuid().is_root() {
            // Without root, new files always belong to the user.
            return;
        }
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(home.path(), Some(65534), Some(65534)).unwrap();
        open_or_create(&home.path().join("lock"), OpenMode::ReadWrite, 0o600).unwrap();
        make_directory(&home.path().join("logs/deep")).unwrap();
        for name in ["lock", "logs", "logs/deep"] {
            let found = fs::metadata(home.path().join(name)).unwrap();
            assert_eq!((found.uid(), found.gid()), (65534, 65534), "{name}");
        }
    }

    #[test]
    fn a_file_that_was_renamed_or_replaced_is_no_longer_at_its_path() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("it");
        let file = open_or_create(&path, OpenMode::Append, 0o600).unwrap();
        assert!(is_at(&file, &path).unwrap());
        fs::rename(&path, home.path().join("other")).unwrap();
        assert!(!is_at(&file, &path).unwrap());
        let _new = open_or_create(&path, OpenMode::Append, 0o600).unwrap();
        assert!(!is_at(&file, &path).unwrap());
    }
}
