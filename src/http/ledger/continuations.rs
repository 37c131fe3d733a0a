//! Which calls of an export or an erasure continue an earlier one: each that does not is logged, and the many that do are not.
//!
//! A call continues one if it is the same request of the same principal at the place that was answered as the next one, once. A caller that
//! sends another place, or one a second time, begins.

use std::collections::VecDeque;
use std::sync::Mutex;

use caduceus_actors::locked::locked;
use caduceus_contract::messages::ledger_control::{ErasePerson, ExportRows};

/// Calls that are expected of each kind. With more at a time, some are logged although they continue one.
const MOST: usize = 64;

/// The expected calls of all principals. A restart forgets them, so the next call of each is logged.
#[derive(Debug, Default)]
pub(in crate::http) struct LedgerContinuations {
    pub(super) exports: ExpectedCalls<ExportRows>,
    pub(super) erasures: ExpectedCalls<ErasePerson>,
}

/// The next call of each principal, oldest first.
#[derive(Debug)]
pub(super) struct ExpectedCalls<R>(Mutex<VecDeque<(String, R)>>);

impl<R> Default for ExpectedCalls<R> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<R: PartialEq> ExpectedCalls<R> {
    /// Whether a call is expected. It is not from then on.
    pub(super) fn take(&self, principal: &str, request: &R) -> bool {
        let mut calls = locked(&self.0);
        let at = calls.iter().position(|(by, expected)| by == principal && expected == request);
        at.is_some_and(|at| calls.remove(at).is_some())
    }

    /// Expects a call.
    pub(super) fn expect(&self, principal: &str, request: R) {
        let mut calls = locked(&self.0);
        calls.push_back((principal.to_owned(), request));
        if calls.len() > MOST {
            calls.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_place_that_was_answered_to_the_same_principal_continues_and_only_once() {
        let calls = ExpectedCalls::default();
        assert!(!calls.take("ops", &7));
        calls.expect("ops", 7);
        assert!(!calls.take("ops", &8) && !calls.take("other", &7));
        assert!(calls.take("ops", &7) && !calls.take("ops", &7));
    }

    #[test]
    fn the_oldest_expected_call_is_forgotten_above_the_limit() {
        let calls = ExpectedCalls::default();
        for number in 0..=MOST {
            calls.expect("ops", number);
        }
        assert!(!calls.take("ops", &0));
        assert!((1..=MOST).all(|number| calls.take("ops", &number)));
    }
}
