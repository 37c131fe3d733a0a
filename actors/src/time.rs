//! The clock of the machine as a number, for the ledger.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, as far as the clock of the machine is right; 0 if it is before that.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
