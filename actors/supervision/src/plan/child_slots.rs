//! A value for each child, found by its key without a search.

/// Identifies a child among those that share the [`ChildKeys`]; an id may be used again, a key is not. A later child has a higher
/// key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChildKey {
    /// Unique: compared first.
    number: u64,
    /// Used again once the child is removed.
    slot: usize,
}

impl ChildKey {
    /// The key of no child.
    pub(crate) const NONE: Self = Self { number: 0, slot: 0 };
}

/// Slots that stay allocated when the last child is removed.
const KEPT_SLOTS: usize = 64;

/// Gives out keys. A slot is used again once its child is removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct ChildKeys {
    free: Vec<usize>,
    slots: usize,
}

/// Values by key. Costs the same for every number of children.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ChildSlots<T> {
    slots: Vec<Option<(ChildKey, T)>>,
    used: usize,
}

impl ChildKeys {
    /// A new key; `number` is higher than those before it.
    pub(crate) fn allocate(&mut self, number: u64) -> ChildKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        ChildKey { number, slot }
    }

    /// The child of an allocated key is removed.
    pub(crate) fn release(&mut self, key: ChildKey) {
        self.free.push(key.slot);
        if self.free.len() == self.slots && self.slots > KEPT_SLOTS {
            *self = Self::default();
        }
    }
}

impl<T> ChildSlots<T> {
    pub(crate) fn put(&mut self, key: ChildKey, value: T) {
        while self.slots.len() <= key.slot {
            self.slots.push(None);
        }
        if self.slots[key.slot].replace((key, value)).is_none() {
            self.used += 1;
        }
    }

    pub(crate) fn get(&self, key: ChildKey) -> Option<&T> {
        self.slots.get(key.slot)?.as_ref().filter(|(found, _)| *found == key).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: ChildKey) -> Option<&mut T> {
        self.slots.get_mut(key.slot)?.as_mut().filter(|(found, _)| *found == key).map(|(_, value)| value)
    }

    pub(crate) fn remove(&mut self, key: ChildKey) -> Option<T> {
        let (_, value) = self.slots.get_mut(key.slot)?.take_if(|(found, _)| *found == key)?;
        self.used -= 1;
        if self.used == 0 && self.slots.len() > KEPT_SLOTS {
            *self = Self::default();
        }
        Some(value)
    }

    /// All values, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten().map(|(_, value)| value)
    }

    /// All values, in no order.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().flatten().map(|(_, value)| value)
    }
}

impl<T> Default for ChildSlots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), used: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys and slots as a plan uses them.
    #[derive(Default)]
    struct Slots {
        keys: ChildKeys,
        numbers: ChildSlots<u64>,
        next: u64,
    }

    impl Slots {
        fn add(&mut self) -> ChildKey {
            self.next += 1;
            let key = self.keys.allocate(self.next);
            self.numbers.put(key, self.next);
            key
        }

        fn remove(&mut self, key: ChildKey) -> Option<u64> {
            let removed = self.numbers.remove(key);
            if removed.is_some() {
                self.keys.release(key);
            }
            removed
        }
    }

    #[test]
    fn slot_of_a_removed_child_is_used_again_and_its_key_finds_nothing() {
        let mut slots = Slots::default();
        let (one, two) = (slots.add(), slots.add());
        assert_eq!(slots.remove(one), Some(1));
        let three = slots.add();
        assert!(one < two && two < three, "later keys are higher, whatever their slots");
        assert_eq!(slots.remove(one), None);
        let found = [one, two, three].map(|key| slots.numbers.get(key).copied());
        assert_eq!(found, [None, Some(2), Some(3)]);
        assert_eq!(slots.numbers.slots.len(), 2);
    }

    #[test]
    fn many_children_in_turn_use_few_slots_and_a_burst_leaves_none() {
        let mut slots = Slots::default();
        let stays = slots.add();
        for _ in 0..5_000 {
            let key = slots.add();
            assert!(slots.remove(key).is_some());
        }
        assert_eq!((slots.numbers.slots.len(), slots.numbers.get(stays)), (2, Some(&1)));
        let keys: Vec<_> = (0..5_000).map(|_| slots.add()).collect();
        assert_eq!(slots.numbers.slots.len(), 5_001);
        for key in keys.into_iter().chain([stays]) {
            assert!(slots.remove(key).is_some());
        }
        assert_eq!((slots.numbers.slots.len(), slots.keys.slots), (0, 0));
        let next = slots.add();
        assert_eq!(slots.numbers.get(next), Some(&10_002));
    }
}
