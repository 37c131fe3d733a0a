//! What the errors of SQLite prevent.

use rusqlite::{ErrorCode, ffi};

use crate::ledger::failure::{ErrorClass, Failure, StoreError};

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self { class: class(&error), text: error.to_string() }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

fn class(error: &rusqlite::Error) -> ErrorClass {
    let unreadable = [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHORT_READ, ffi::SQLITE_IOERR_CORRUPTFS];
    match error.sqlite_error() {
        None => ErrorClass::Operation,
        Some(error) if unreadable.contains(&error.extended_code) => ErrorClass::Unreadable,
        Some(error) => match error.code {
            ErrorCode::ConstraintViolation
            | ErrorCode::TooBig
            | ErrorCode::TypeMismatch
            | ErrorCode::ParameterOutOfRange => ErrorClass::Operation,
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OperationInterrupted
            | ErrorCode::OutOfMemory => ErrorClass::Temporary,
            _ => ErrorClass::Permanent,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_the_class_of_what_it_prevents() {
        let of_code = |code| class(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        for (codes, expected) in [
            (vec![ffi::SQLITE_CONSTRAINT_TRIGGER, ffi::SQLITE_TOOBIG, ffi::SQLITE_RANGE], ErrorClass::Operation),
            (vec![ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_BUSY_SNAPSHOT], ErrorClass::Temporary),
            (vec![ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHORT_READ], ErrorClass::Unreadable),
            (vec![ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_ERROR], ErrorClass::Permanent),
        ] {
            assert!(codes.iter().all(|code| of_code(*code) == expected), "{codes:?} {expected:?}");
        }
        assert_eq!(class(&rusqlite::Error::InvalidQuery), ErrorClass::Operation);
    }
}
