//! The files beside the ledger.

use std::path::{Path, PathBuf};

/// Ending of the file of the high-water mark.
pub(super) const SYNCED: &str = "-synced";
/// The files with these endings beside the ledger are parts of it.
pub const COMPANIONS: [&str; 3] = ["-wal", "-shm", SYNCED];

/// Ending of the journal of a first start, which sets the mode of the log. SQLite applies one to whatever file it lies beside.
pub(super) const JOURNAL: &str = "-journal";

/// `path` with `ending` behind its name.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The path of the write-ahead log of the database at `path`.
pub(super) fn log_path(path: &Path) -> PathBuf {
    with_ending(path, "-wal")
}
