//! Values of the process that only the profiles can read.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;

/// Variables that any part may store and only this module reads: a lookup elsewhere, for no profile, does not compile.
/// `Debug` shows names only; the values are wiped on drop.
#[derive(Clone, Default)]
pub struct Sealed(BTreeMap<String, SecretString>);

impl Sealed {
    /// Stores one. The last one of a name counts.
    pub fn put(&mut self, name: String, value: SecretString) {
        self.0.insert(name, value);
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn get(&self, name: &str) -> Option<&SecretString> {
        self.0.get(name)
    }

    pub(super) fn values(&self) -> &BTreeMap<String, SecretString> {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.names().map(|name| (name, format_args!("[redacted]")))).finish()
    }
}
