//! Restores the order of items that are completed in any order. No I/O.

use std::collections::BTreeMap;

/// The place of an item in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place(u64);

/// Items in an order that is fixed before they are complete.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct InOrder<T> {
    next: u64,
    /// All before this one were returned.
    due: u64,
    /// Complete while one before it is not.
    complete: BTreeMap<u64, T>,
}

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self { next: 0, due: 0, complete: BTreeMap::new() }
    }
}

impl<T> InOrder<T> {
    /// The next place. Every place must be completed, because later ones wait for it.
    pub(crate) fn reserve(&mut self) -> Place {
        self.next += 1;
        Place(self.next - 1)
    }

    /// The item at `place` is complete. Returns the items that are due now, in order.
    pub(crate) fn complete(&mut self, Place(place): Place, item: T) -> Vec<T> {
        let mut ready = Vec::new();
        if place == self.due {
            self.due += 1;
            ready.push(item);
        } else {
            self.complete.insert(place, item);
        }
        while let Some(item) = self.complete.remove(&self.due) {
            self.due += 1;
            ready.push(item);
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn items_are_returned_in_order_as_soon_as_all_before_them_are_complete(keys in prop::collection::vec(any::<u32>(), 0..50)) {
            let mut in_order = InOrder::default();
            let mut items: Vec<_> = keys.iter().enumerate().map(|(number, key)| (*key, number, in_order.reserve())).collect();
            items.sort_by_key(|(key, ..)| *key);
            let (mut out, mut complete) = (Vec::new(), vec![false; items.len()]);
            for (_, number, place) in items {
                complete[number] = true;
                out.extend(in_order.complete(place, number));
                let due = complete.iter().take_while(|is_complete| **is_complete).count();
                prop_assert_eq!(&out, &(0..due).collect::<Vec<_>>());
            }
        }
    }
}
