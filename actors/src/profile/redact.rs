//! Removes secrets from every text that is written to a log.
//!
//! One write-only [`Redactor`] for the process: each profile adds its values, and none can be read back. A profile's values change
//! without effect on the others', and are wiped when they are removed. Replaced values stay as long as there is a [`Lease`] on
//! them: an agent that was started with the old ones, or received them since, may still write them.

mod forms; // All spellings of a value.
mod index; // Finds any of many texts in one pass.
#[cfg(test)]
mod tests;
mod views; // A text without its escapes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::locked::locked;
use index::{Index, SecretForm};

/// Replaces the values that the process holds as secrets. Cheap to clone; clones share the values.
#[derive(Clone, Default)]
pub struct Redactor(Arc<RwLock<HeldValues>>);

/// Keeps the values of a source as they were when it was taken. Dropping the last lease on replaced values wipes them.
/// Cheap to clone; clones are the same lease.
#[derive(Clone)]
pub struct Lease(Arc<LeasedSets>);

struct LeasedSets {
    redactor: Redactor,
    sets: Mutex<Vec<u64>>,
}

/// The name of a value, and all its spellings.
type NamedForms = (Arc<str>, Vec<Zeroizing<Vec<u8>>>);

#[derive(Default)]
struct HeldValues {
    index: Index,
    key: RandomState,
    sources: HashMap<String, SourceValues>,
    /// The number of holders of each set, its source included.
    holders: HashMap<u64, usize>,
    sets: u64,
}

/// The current set of a source, and a keyed hash of its values.
struct SourceValues {
    set: u64,
    digest: u64,
}

impl Redactor {
    /// Stores `values` (name and value) for `source`, in place of its former values.
    pub fn replace<'a>(&self, source: &str, values: impl IntoIterator<Item = (&'a str, &'a SecretString)>) {
        let values: Vec<_> = values.into_iter().collect();
        let digest = {
            let held = self.read();
            let exposed: Vec<_> = values.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
            let digest = held.key.hash_one(exposed);
            // Files are read again and again, and mostly have not changed.
            if held.sources.get(source).is_some_and(|source| source.digest == digest) {
                return;
            }
            digest
        };
        let forms = forms_of(values);
        let mut held = self.write();
        let set = held.add(forms);
        let before = held.sources.insert(source.to_owned(), SourceValues { set, digest });
        if let Some(before) = before {
            held.release(before.set);
        }
    }

    /// Keeps one value for as long as the lease exists, whatever happens to its source.
    #[must_use]
    pub(super) fn lease_value(&self, name: &str, value: &SecretString) -> Lease {
        let forms = forms_of([(name, value)]);
        let set = self.write().add(forms);
        self.lease_on(set)
    }

    /// Removes the values of `source`.
    pub fn remove(&self, source: &str) {
        let mut held = self.write();
        let before = held.sources.remove(source);
        if let Some(before) = before {
            held.release(before.set);
        }
    }

    /// Keeps the current values of `source`, even after they are replaced.
    #[must_use]
    pub fn lease(&self, source: &str) -> Lease {
        let mut held = self.write();
        let set = match held.sources.get(source).map(|source| source.set) {
            Some(set) => held.add_holder(set),
            // A source without values needs no lease.
            None => held.new_set(),
        };
        drop(held);
        self.lease_on(set)
    }

    fn lease_on(&self, set: u64) -> Lease {
        Lease(Arc::new(LeasedSets { redactor: self.clone(), sets: Mutex::new(vec![set]) }))
    }

    /// `text` with `[redacted:NAME]` in place of every secret.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.redact_bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Forms begin and end between characters, so this never has to repair anything.
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// The same for bytes that need not be text.
    #[must_use]
    pub fn redact_bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let held = self.read();
        let spans = held.index.spans(bytes);
        if spans.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut clean = Vec::with_capacity(bytes.len());
        let mut at = 0;
        for (span, name) in spans {
            clean.extend_from_slice(&bytes[at..span.start]);
            clean.extend_from_slice(format!("[redacted:{name}]").as_bytes());
            at = span.end;
        }
        clean.extend_from_slice(&bytes[at..]);
        Cow::Owned(clean)
    }

    /// How many of `bytes`, which continue, may be written now without cutting a value in two.
    pub(crate) fn safe_cut(&self, bytes: &[u8]) -> usize {
        let held = self.read();
        let cut = bytes.len().saturating_sub(held.index.longest().saturating_sub(1));
        let crossing = held.index.spans(bytes).into_iter().find(|(span, _)| span.start < cut && cut < span.end);
        crossing.map_or(cut, |(span, _)| span.start)
    }

    fn read(&self) -> RwLockReadGuard<'_, HeldValues> {
        // Every critical section leaves the index consistent.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HeldValues> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Also keeps the values of `other`, a lease of the same redactor.
    pub(super) fn extend(&self, other: &Self) {
        let more = other.0.sets().clone();
        let mut sets = self.0.sets();
        let mut held = self.0.redactor.write();
        for set in more {
            if !sets.contains(&set) {
                sets.push(held.add_holder(set));
            }
        }
    }
}

impl LeasedSets {
    fn sets(&self) -> MutexGuard<'_, Vec<u64>> {
        locked(&self.sets)
    }
}

/// Encodes outside the lock, so that no log line waits for it.
fn forms_of<'a>(values: impl IntoIterator<Item = (&'a str, &'a SecretString)>) -> Vec<NamedForms> {
    values.into_iter().map(|(name, value)| (Arc::from(name), forms::of(value))).collect()
}

impl HeldValues {
    /// A set of these values, with one holder.
    fn add(&mut self, forms: Vec<NamedForms>) -> u64 {
        let set = self.new_set();
        for (name, texts) in forms {
            for bytes in texts {
                self.index.add(SecretForm { set, name: Arc::clone(&name), bytes });
            }
        }
        set
    }

    /// A set with one holder.
    fn new_set(&mut self) -> u64 {
        self.sets += 1;
        self.holders.insert(self.sets, 1);
        self.sets
    }

    fn add_holder(&mut self, set: u64) -> u64 {
        *self.holders.entry(set).or_default() += 1;
        set
    }

    /// Removes one holder; without holders the values are wiped.
    fn release(&mut self, set: u64) {
        let Some(holders) = self.holders.get_mut(&set) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.holders.remove(&set);
            self.index.remove(set);
        }
    }
}

impl Drop for LeasedSets {
    fn drop(&mut self) {
        let sets = std::mem::take(&mut *self.sets());
        let mut held = self.redactor.write();
        for set in sets {
            held.release(set);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}
