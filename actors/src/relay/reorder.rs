//! Keeps the order of arrivals while some of them are being fetched. No I/O.

use std::collections::VecDeque;

/// Items in order of arrival, some of which are not complete yet.
#[derive(Debug)]
pub(super) struct ReorderBuffer<T> {
    next: u64,
    waiting: VecDeque<(u64, Option<T>)>,
}

impl<T> Default for ReorderBuffer<T> {
    fn default() -> Self {
        Self { next: 0, waiting: VecDeque::new() }
    }
}

impl<T> ReorderBuffer<T> {
    /// A complete item arrived; returns the item, unless an earlier one is being fetched.
    pub(super) fn push_complete(&mut self, item: T) -> Option<T> {
        if self.waiting.is_empty() {
            return Some(item);
        }
        let place = self.place();
        self.waiting.push_back((place, Some(item)));
        None
    }

    /// An item arrived that must be fetched first; returns its place.
    pub(super) fn reserve(&mut self) -> u64 {
        let place = self.place();
        self.waiting.push_back((place, None));
        place
    }

    /// The item of this place is complete; returns the items that are ready now, in order.
    pub(super) fn completed(&mut self, place: u64, item: T) -> Vec<T> {
        if let Some(slot) = self.waiting.iter_mut().find(|(waiting, _)| *waiting == place) {
            slot.1 = Some(item);
        }
        let complete = self.waiting.iter().take_while(|(_, item)| item.is_some()).count();
        self.waiting.drain(..complete).filter_map(|(_, item)| item).collect()
    }

    fn place(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_item_is_returned_at_once_unless_an_earlier_one_is_incomplete() {
        let mut reorder = ReorderBuffer::default();
        assert_eq!(reorder.push_complete('a'), Some('a'));
        let (b, c) = (reorder.reserve(), reorder.reserve());
        assert_eq!(reorder.push_complete('d'), None);
        assert!(reorder.completed(c, 'c').is_empty());
        assert_eq!(reorder.completed(b, 'b'), ['b', 'c', 'd']);
        assert_eq!(reorder.push_complete('e'), Some('e'));
    }
}
