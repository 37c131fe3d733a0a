//! What came in and was not taken yet: the order in which it is offered again, and when reading stops.
//!
//! Plain. While anything was refused nothing new is offered, so that the events of a chat keep their order.

use std::collections::BTreeMap;

/// Counts what came in over one connection.
pub(super) type Seq = u64;

/// The events of one connection between the socket and the dispatcher's word.
#[derive(Debug)]
pub(super) struct Intake<T> {
    next: Seq,
    offered: usize,
    /// Refused, or come in while others were.
    held: BTreeMap<Seq, T>,
    /// Rounds of offering since the last one that emptied `held`.
    rounds: u32,
}

/// What is to be done after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing.
    Nothing,
    /// Stop reading the socket.
    Pause,
    /// All answers of this round are in: offer again what is held, after a wait.
    OfferLater {
        /// Counts the rounds, from 0.
        round: u32,
    },
    /// Read on.
    Resume,
}

impl<T> Default for Intake<T> {
    fn default() -> Self {
        Self { next: 0, offered: 0, held: BTreeMap::new(), rounds: 0 }
    }
}

impl<T> Intake<T> {
    /// Takes in what was read; gives it back if it is to be offered now.
    pub(super) fn arrived(&mut self, item: T) -> Option<(Seq, T)> {
        let seq = self.next;
        self.next += 1;
        if self.paused() {
            self.held.insert(seq, item);
            return None;
        }
        self.offered += 1;
        Some((seq, item))
    }

    /// What was offered as `seq` was answered; `refused` is what has to be offered again.
    pub(super) fn answered(&mut self, seq: Seq, refused: Option<T>) -> After {
        let was_paused = self.paused();
        self.offered = self.offered.saturating_sub(1);
        if let Some(item) = refused {
            self.held.insert(seq, item);
        }
        match (self.held.is_empty(), self.offered) {
            (true, 0) if was_paused => {
                self.rounds = 0;
                After::Resume
            }
            (false, 0) => {
                let round = self.rounds;
                self.rounds += 1;
                After::OfferLater { round }
            }
            (false, _) if !was_paused => After::Pause,
            _ => After::Nothing,
        }
    }

    /// The wait is over: what is held, in order, all to be offered now.
    pub(super) fn offer_again(&mut self) -> Vec<(Seq, T)> {
        let held: Vec<_> = std::mem::take(&mut self.held).into_iter().collect();
        self.offered += held.len();
        held
    }

    /// Whether reading is to stand still.
    pub(super) fn paused(&self) -> bool {
        !self.held.is_empty() || self.rounds > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_never_stops_the_reading() {
        let mut intake = Intake::default();
        let (first, _) = intake.arrived('a').unwrap();
        let (second, _) = intake.arrived('b').unwrap();
        assert_eq!(intake.answered(second, None), After::Nothing);
        assert_eq!(intake.answered(first, None), After::Nothing);
        assert!(!intake.paused());
    }

    #[test]
    fn what_was_refused_is_offered_again_in_the_order_it_came() {
        let mut intake = Intake::default();
        let first = intake.arrived('a').unwrap();
        let second = intake.arrived('b').unwrap();
        assert_eq!(intake.answered(second.0, Some('b')), After::Pause);
        assert_eq!(intake.arrived('c'), None, "what comes in meanwhile waits behind");
        assert_eq!(intake.answered(first.0, Some('a')), After::OfferLater { round: 0 });
        assert_eq!(intake.offer_again().into_iter().map(|(_, item)| item).collect::<String>(), "abc");
    }

    #[test]
    fn reading_goes_on_when_nothing_is_left_to_offer() {
        let mut intake = Intake::default();
        let (seq, item) = intake.arrived('a').unwrap();
        assert_eq!(intake.answered(seq, Some(item)), After::OfferLater { round: 0 });
        let again = intake.offer_again();
        assert!(intake.paused(), "while it is offered again nothing new is");
        assert_eq!(intake.answered(again[0].0, Some(again[0].1)), After::OfferLater { round: 1 });
        let again = intake.offer_again();
        assert_eq!(intake.answered(again[0].0, None), After::Resume);
        assert!(intake.arrived('b').is_some());
    }
}
