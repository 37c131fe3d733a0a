//! Times as numbers, for JSON, logs and the wire.

use std::time::Duration;

/// A duration in whole milliseconds.
#[must_use]
pub fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
