//! Keeps the order of arrivals while some of them are being fetched. No I/O.

use std::collections::VecDeque;

/// Items in order of arrival, some of which are not complete yet.
#[derive(Debug)]
pub(super) struct Lineup<T> {
    next: u64,
    waiting: VecDeque<(u64, Option<T>)>,
}

impl<T> Default for Lineup<T> {
    fn default() -> Self {
        Self { next: 0, waiting: VecDeque::new() }
    }
}

impl<T> Lineup<T> {
    /// A complete item arrived; returns the item, unless an earlier one is being fetched.
    pub(super) fn whole(&mut self, item: T) -> Option<T> {
        if self.waiting.is_empty() {
            return Some(item);
        }
        let place = self.place();
        self.waiting.push_back((place, Some(item)));
        None
    }

    /// An item arrived that must be fetched first; returns its place.
    pub(super) fn expect(&mut self) -> u64 {
        let place = self.place();
        self.waiting.push_back((place, None));
        place
    }

    /// The item of this place is complete; returns the items that are ready now, in order.
    pub(super) fn completed(&mut self, place: u64, item: T) -> Vec<T> {
        if let Some(slot) = self.waiting.iter_mut().find(|(waiting, _)| *waiting == place) {
            slot.1 = Some(item);
        }
        let whole = self.waiting.iter().take_while(|(_, item)| item.is_some()).count();
        self.waiting.drain(..whole).filter_map(|(_, item)| item).collect()
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
        let mut lineup = Lineup::default();
        assert_eq!(lineup.whole('a'), Some('a'));
        let (b, c) = (lineup.expect(), lineup.expect());
        assert_eq!(lineup.whole('d'), None);
        assert!(lineup.completed(c, 'c').is_empty());
        assert_eq!(lineup.completed(b, 'b'), ['b', 'c', 'd']);
        assert_eq!(lineup.whole('e'), Some('e'));
    }
}
