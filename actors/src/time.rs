//! Times as numbers, where types end: in the ledger, in JSON, in logs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A length in whole milliseconds.
#[must_use]
pub fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970, as far as the clock of the machine is right; 0 if it is before that.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
