//! Classifies a system error: temporary, or in need of a person's action.

use std::io::{self, ErrorKind};

/// Whether the same operation may succeed later without a change of settings, permissions or paths: no space, too many open files, a
/// disk that fails to read.
#[must_use]
pub fn is_temporary(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidData
            | ErrorKind::Unsupported
            | ErrorKind::CrossesDevices
    ) && rustix::io::Errno::from_io_error(error) != Some(rustix::io::Errno::LOOP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn lack_of_space_is_temporary_and_lack_of_permission_is_not() {
        for passing in [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::STALE] {
            assert!(is_temporary(&passing.into()), "{passing:?}");
        }
        for lasting in [
            Errno::ACCESS,
            Errno::PERM,
            Errno::NOENT,
            Errno::NOTDIR,
            Errno::ISDIR,
            Errno::ROFS,
            Errno::LOOP,
            Errno::XDEV,
        ] {
            assert!(!is_temporary(&lasting.into()), "{lasting:?}");
        }
    }
}
