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
    /// A complete item arrived; returns what may go on: the item, unless an earlier one is being fetched.
    pub(super) fn whole(&mut self, item: T) -> Option<T> {
        if self.waiting.is_empty() {
            return Some(item);
        }
        let place = self.place();
        self.waiting.push_back((place, Some(item)));
        None
    }

    /// An item arrived that has to be fetched first; returns its place.
    pub(super) fn expect(&mut self) -> u64 {
        let place = self.place();
        self.waiting.push_back((place, None));
        place
    }

    /// The item of this place is complete; returns what may go on, in order.
    pub(super) fn came(&mut self, place: u64, item: T) -> Vec<T> {
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
    fn what_is_whole_goes_on_at_once_unless_something_before_it_is_not() {
        let mut lineup = Lineup::default();
        assert_eq!(lineup.whole('a'), Some('a'));
        let (b, c) = (lineup.expect(), lineup.expect());
        assert_eq!(lineup.whole('d'), None);
        assert!(lineup.came(c, 'c').is_empty());
        assert_eq!(lineup.came(b, 'b'), ['b', 'c', 'd']);
        assert_eq!(lineup.whole('e'), Some('e'));
    }
}
