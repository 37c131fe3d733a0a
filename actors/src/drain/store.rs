//! The marker on disk: read, written and removed off the arbiters.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::atomic;
use crate::files::{Symlinks, own, small};
use caduceus_contract::files::epoch::Epoch;
use caduceus_contract::files::marker::{self, Marker, MarkerReading};

/// The path of the marker of a home.
#[must_use]
pub fn path(home: &Path) -> PathBuf {
    home.join(marker::FILE_NAME)
}

/// The marker in `home`: `None` if there is none; an unreadable one still drains.
#[must_use]
pub fn read(home: &Path, epoch: Option<&Epoch>) -> Option<MarkerReading> {
    // A link is followed: the original's tools may have created one, and its presence counts.
    match small::read(&path(home), marker::MAX_BYTES as u64, Symlinks::Follow) {
        Ok(contents) => Some(marker::read(&contents.bytes, epoch)),
        Err(error) if error.is_missing() => None,
        Err(_) => Some(marker::read(b"", epoch)),
    }
}

/// Writes the marker so that a reader sees the old one or the new one, and a power failure leaves one of them.
///
/// # Errors
/// The system's error.
pub fn write(home: &Path, marker: &Marker) -> io::Result<()> {
    atomic::replace(&path(home), &marker.to_json())
}

/// Removes the marker, or an empty directory in its place. Returns whether there was one.
///
/// # Errors
/// The system's error; the marker may still exist.
pub fn remove(home: &Path) -> io::Result<bool> {
    let path = path(home);
    let removed = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => Err(error),
        Ok(found) if found.is_dir() => fs::remove_dir(&path),
        Ok(_) => fs::remove_file(&path),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        removed => removed?,
    }
    own::sync_directory(home)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> Marker {
        Marker {
            requested_at: jiff::Timestamp::now(),
            principal: "cli".to_owned(),
            epoch: None,
            suppress_notification: false,
            deadline: None,
        }
    }

    #[test]
    fn a_written_marker_is_read_and_removed_once() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(read(home.path(), None), None);
        write(home.path(), &begun()).unwrap();
        assert_eq!(read(home.path(), None).unwrap().principal.as_deref(), Some("cli"));
        assert!(remove(home.path()).unwrap());
        assert!(!remove(home.path()).unwrap());
    }

    #[test]
    fn a_directory_in_its_place_drains_and_can_be_removed() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(path(home.path())).unwrap();
        assert!(read(home.path(), None).unwrap().draining);
        assert!(remove(home.path()).unwrap());
        assert_eq!(read(home.path(), None), None);
    }

    #[test]
    fn a_pipe_in_its_place_drains_without_blocking_and_can_be_removed() {
        let home = tempfile::tempdir().unwrap();
        crate::files::special::place("pipe", &path(home.path()));
        assert!(read(home.path(), None).unwrap().malformed);
        assert!(read(home.path(), None).unwrap().draining);
        assert!(remove(home.path()).unwrap());
        assert_eq!(read(home.path(), None), None);
    }

    #[test]
    fn a_socket_in_its_place_drains_and_can_be_removed() {
        let home = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path(home.path())).unwrap();
        assert!(read(home.path(), None).unwrap().draining);
        assert!(remove(home.path()).unwrap());
        assert_eq!(read(home.path(), None), None);
    }

    #[test]
    fn a_link_is_followed() {
        let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(path(elsewhere.path()), path(home.path())).unwrap();
        assert_eq!(read(home.path(), None), None, "its target does not exist");
        write(elsewhere.path(), &begun()).unwrap();
        assert_eq!(read(home.path(), None).unwrap().principal.as_deref(), Some("cli"));
    }

    #[test]
    fn a_directory_with_something_in_it_is_not_removed() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(path(home.path()).join("full")).unwrap();
        assert!(remove(home.path()).is_err());
        assert!(read(home.path(), None).unwrap().draining);
    }

    #[test]
    fn writing_leaves_no_other_file() {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), &begun()).unwrap();
        write(home.path(), &begun()).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
