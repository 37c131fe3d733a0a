//! The deliveries that have been handled. Pure: the time is an argument.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

/// A signature is valid for 300 s before and after its time, so after 600 s it is refused anyway.
const KEPT_FOR: Duration = Duration::from_mins(10);
/// Far above the deliveries of ten minutes. Only valid signatures are stored, so only the connector could fill it.
const MAX_SIGNATURES: usize = 65_536;

/// Signatures of the last ten minutes. Lost on restart; repeated events are then detected by the ledger.
#[derive(Debug, Default)]
pub(super) struct SeenSignatures {
    known: HashSet<String>,
    /// In order of age.
    order: VecDeque<(Instant, String)>,
}

impl SeenSignatures {
    /// Whether this delivery has been handled.
    pub(super) fn contains(&mut self, signature: &str, now: Instant) -> bool {
        self.forget(now);
        self.known.contains(signature)
    }

    /// Records a handled delivery.
    pub(super) fn note(&mut self, signature: String, now: Instant) {
        self.forget(now);
        if self.known.insert(signature.clone()) {
            self.order.push_back((now, signature));
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some((then, _)) = self.order.front() {
            if now.saturating_duration_since(*then) <= KEPT_FOR && self.order.len() < MAX_SIGNATURES {
                break;
            }
            if let Some((_, signature)) = self.order.pop_front() {
                self.known.remove(&signature);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_remembered_for_as_long_as_its_signature_can_be_valid() {
        let (mut seen, start) = (SeenSignatures::default(), Instant::now());
        assert!(!seen.contains("a", start));
        seen.note("a".into(), start);
        seen.note("a".into(), start + KEPT_FOR / 2);
        assert!(seen.contains("a", start + KEPT_FOR));
        assert!(!seen.contains("a", start + KEPT_FOR + Duration::from_millis(1)));
        assert!(seen.order.is_empty() && seen.known.is_empty());
    }

    #[test]
    fn the_number_of_signatures_is_bounded() {
        let (mut seen, now) = (SeenSignatures::default(), Instant::now());
        for n in 0..=MAX_SIGNATURES {
            seen.note(n.to_string(), now);
        }
        assert_eq!((seen.order.len(), seen.known.len()), (MAX_SIGNATURES, MAX_SIGNATURES));
        assert!(!seen.contains("0", now), "the oldest is forgotten first");
    }
}
