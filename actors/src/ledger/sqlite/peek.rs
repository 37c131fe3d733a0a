//! Examines the ledger's file without opening it as a database or touching its locks, so that it is harmless beside a gateway.

use std::io;
use std::path::Path;

use super::head_page::MAGIC;
use super::schema;
use crate::files::{Symlinks, small};

/// The position of the user's version in the header of a SQLite file: four bytes, big endian.
const VERSION_AT: usize = 60;

/// The kind of the file, by its header alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peek {
    /// There is none; the first start creates it.
    Missing,
    /// It is empty, or all of its content is still in the write-ahead log.
    Fresh,
    /// A ledger of this version. The write-ahead log may have a newer one.
    Version(u32),
    /// Not a file of SQLite.
    Foreign,
}

/// The version that this build writes; it reads older ones as well.
pub const KNOWN_VERSION: i64 = schema::VERSION;

/// Examines the file at `path`.
///
/// # Errors
/// The system's error.
pub fn peek(path: &Path) -> io::Result<Peek> {
    let head = match small::read_start(path, VERSION_AT as u64 + 4, Symlinks::Refuse) {
        Ok(head) => head,
        Err(error) if error.is_missing() => return Ok(Peek::Missing),
        Err(error) => return Err(error.into()),
    };
    if head.is_empty() {
        return Ok(Peek::Fresh);
    }
    let version = head.get(VERSION_AT..).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    Ok(match version {
        Some(0) if head.starts_with(MAGIC) => Peek::Fresh,
        Some(version) if head.starts_with(MAGIC) => Peek::Version(version),
        _ => Peek::Foreign,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::ledger::LedgerWriter;

    #[test]
    fn a_file_that_a_ledger_left_has_its_version_and_is_not_changed_by_the_check() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ledger.db");
        assert_eq!(peek(&path).unwrap(), Peek::Missing);
        let writer = LedgerWriter::open(path.clone()).unwrap();
        assert!(matches!(peek(&path).unwrap(), Peek::Fresh | Peek::Version(_)), "it is open");
        writer.close(Duration::from_secs(20)).unwrap();
        drop(writer);
        let before = fs::read(&path).unwrap();
        assert_eq!(peek(&path).unwrap(), Peek::Version(u32::try_from(KNOWN_VERSION).unwrap()));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_foreign_file_is_distinguished_from_an_empty_ledger() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ledger.db");
        fs::write(&path, "").unwrap();
        assert_eq!(peek(&path).unwrap(), Peek::Fresh);
        fs::write(&path, "hello").unwrap();
        assert_eq!(peek(&path).unwrap(), Peek::Foreign);
        fs::write(&path, vec![b'x'; 4096]).unwrap();
        assert_eq!(peek(&path).unwrap(), Peek::Foreign);
    }
}
