//! Counts that outlive the actors that count: a restart of an actor sets none of them back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::locked::locked;

/// One count, since the process started. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    /// One more.
    pub fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So many by now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One count a key, such as a profile's name. A key that goes away keeps its count, so the total never shrinks. Clones are the same.
#[derive(Debug)]
pub struct CountBy<K>(Arc<Mutex<BTreeMap<K, Count>>>);

impl<K: Ord + Clone> CountBy<K> {
    /// The count of `key`.
    #[must_use]
    pub fn of(&self, key: &K) -> Count {
        locked(&self.0).entry(key.clone()).or_default().clone()
    }

    /// All of them, those of keys that are gone included.
    #[must_use]
    pub fn total(&self) -> u64 {
        locked(&self.0).values().map(Count::get).sum()
    }
}

impl<K> Clone for CountBy<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for CountBy<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_back_counts_on_and_the_total_keeps_those_that_are_gone() {
        let counts = CountBy::default();
        counts.of(&"work").one();
        counts.of(&"work").one();
        counts.clone().of(&"play").one();
        assert_eq!((counts.of(&"work").get(), counts.total()), (2, 3));
    }
}
