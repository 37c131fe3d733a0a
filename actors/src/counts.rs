//! Counters that outlive the actors that count: a restart of an actor resets none of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::locked::locked;

/// One counter, since the process started. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    /// Adds one.
    pub fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The current value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One counter per key, such as a profile's name. A removed key keeps its count, so the total never shrinks. Clones share them.
#[derive(Debug)]
pub struct CountBy<K>(Arc<Mutex<BTreeMap<K, Count>>>);

impl<K: Ord + Clone> CountBy<K> {
    /// The counter of `key`.
    #[must_use]
    pub fn of(&self, key: &K) -> Count {
        locked(&self.0).entry(key.clone()).or_default().clone()
    }

    /// The sum of all counters, including those of removed keys.
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
    fn a_key_added_again_continues_its_count_and_the_total_includes_removed_keys() {
        let counts = CountBy::default();
        counts.of(&"work").one();
        counts.of(&"work").one();
        counts.clone().of(&"play").one();
        assert_eq!((counts.of(&"work").get(), counts.total()), (2, 3));
    }
}
