//! Replaces a file in one step.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use crate::files::own;

/// Replaces the file at `path`, private to the current user: a reader sees the old one or the new one, and a power failure leaves one of them.
///
/// # Errors
/// The system's error. The old file is still there, or, if only the directory could not be synced, the new one.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_as(path, bytes, |file| own::give_to_owner_of(path.parent(), file))
}

/// The same; an existing file keeps its owner, also when root replaces it.
///
/// # Errors
/// See [`replace`].
pub fn replace_keeping_owner(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_as(path, bytes, |file| own::keep_owner_of(path, file))
}

fn replace_as(path: &Path, bytes: &[u8], set_owner: impl FnOnce(&File)) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file"));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut prefix = name.to_owned();
    prefix.push(".");
    // Created with mode 0600, before the first byte.
    let mut file = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder)?;
    set_owner(file.as_file());
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    own::sync_directory(folder)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_replaced_file_is_private_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_replacement_keeps_the_file_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"new").is_err());
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
