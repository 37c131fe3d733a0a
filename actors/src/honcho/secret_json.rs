//! JSON with secrets: not shown, and wiped when dropped.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde_json::Value;

use caduceus_contract::json::wipe;

/// A JSON value whose strings are secrets, or may be.
#[derive(Clone, Default)]
pub struct SecretJson(Value);

impl SecretJson {
    /// Wraps `value`; earlier copies of it are the caller's to wipe.
    #[must_use]
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    /// Returns the value, for a place that is itself wiped.
    pub(super) fn take(mut self) -> Value {
        self.0.take()
    }
}

impl Deref for SecretJson {
    type Target = Value;
    fn deref(&self) -> &Value {
        &self.0
    }
}

impl DerefMut for SecretJson {
    fn deref_mut(&mut self) -> &mut Value {
        &mut self.0
    }
}

impl Drop for SecretJson {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl fmt::Debug for SecretJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
