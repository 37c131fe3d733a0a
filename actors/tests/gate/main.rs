//! *Drain answered* races *turn admitted*, through real mailboxes, on different threads.
//!
//! A race is one requester with a request in flight while one drain is begun. Every permit given in a round is held until the
//! round is judged, so the criterion needs no clock: the drain's answer is `n`, and when every requester has been refused
//! exactly `n` permits must exist. One more was admitted after the answer (or before it and not counted). A request made
//! after the answer must be refused.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]

mod changes;
mod engage;
mod hanging;
mod markers;
#[path = "../support/drain_model.rs"]
mod model;
mod model_steps;
mod mutant;
mod orders;
mod race;
mod tree;

use std::time::{Duration, Instant};

use race::{GateError, Race};
use tree::Tree;

/// Each race is one requester against one drain.
const RACES: u64 = 100_000;
/// Races in which a wrong gate must be detected. The first round is nearly always enough.
const MUTANT_RACES: u64 = 10_000;
/// Far longer than the races take on a loaded machine; only a gate that never closes, or never answers, reaches it.
const CEILING: Duration = Duration::from_mins(4);

#[actix::test]
async fn no_turn_is_admitted_after_a_drain_was_answered() {
    let tree = Tree::start().await;
    let begun = Instant::now();
    let race = Race::new(tree.ports(), RACES);
    let counts = actix::clock::timeout(CEILING, race.run()).await.expect("the races end");
    let counts = counts.unwrap_or_else(|error| panic!("{error}"));
    eprintln!("{counts:?} in {:?}", begun.elapsed());
    assert!(counts.races >= RACES, "{counts:?}");
    // Each side must come first sometimes, or there was no race.
    assert!(counts.admitted_during > RACES / 20, "too few permits were given while a drain began: {counts:?}");
    assert!(counts.refused_during > RACES / 20, "too few permits were refused while a drain began: {counts:?}");
    let late = 2 * counts.drains * (race::REQUESTERS as u64 + 1);
    assert_eq!(counts.late_refused, late, "every request after the answer is refused: {counts:?}");
    tree.stop().await;
}

#[actix::test]
async fn a_gate_that_answers_before_it_closes_is_detected() {
    let tree = Tree::start().await;
    let race = Race::new(mutant::early_answer(tree.ports()), MUTANT_RACES);
    let caught = actix::clock::timeout(CEILING, race.run()).await.expect("the races end");
    eprintln!("caught: {caught:?}");
    assert!(
        matches!(caught, Err(GateError::AdmittedAfterAnswer { .. } | GateError::LateAdmitted { .. })),
        "{caught:?}"
    );
    tree.stop().await;
}

#[actix::test]
async fn a_gate_that_counts_before_it_closes_is_detected() {
    let tree = Tree::start().await;
    let race = Race::new(mutant::early_count(tree.ports()), MUTANT_RACES);
    let caught = actix::clock::timeout(CEILING, race.run()).await.expect("the races end");
    eprintln!("caught: {caught:?}");
    assert!(matches!(caught, Err(GateError::AdmittedAfterAnswer { .. })), "{caught:?}");
    tree.stop().await;
}
