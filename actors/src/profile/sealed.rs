//! Values of the process that the profiles alone may look at.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;

/// Variables that any part may put in and only this room takes out: a lookup elsewhere, in no profile's name, cannot be written.
/// `Debug` shows names only; the values are wiped on drop.
#[derive(Clone, Default)]
pub struct Sealed(BTreeMap<String, SecretString>);

impl Sealed {
    /// Puts one in. The last one of a name counts.
    pub fn put(&mut self, name: String, value: SecretString) {
        self.0.insert(name, value);
    }

    /// The names held, sorted.
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
