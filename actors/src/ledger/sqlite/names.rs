//! The names of files beside the ledger.

use std::path::{Path, PathBuf};

/// `path` with `ending` behind its name.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
