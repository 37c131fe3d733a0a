//! The gate against the clock: *drain answered* races *turn admitted*, through real mailboxes, on different threads.
//!
//! A race is one asker with a question in flight while one drain is begun. Every permit given in a round is held until the
//! round is judged, so the criterion needs no clock: the drain's answer says `n`, and when every asker has been refused
//! exactly `n` permits must exist. One more was admitted after the answer (or before it and not counted). And whoever
//! asks once the answer is known must be refused.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]

mod askers;
mod engage;
mod hanging;
mod markers;
#[path = "../support/drain_model.rs"]
mod model;
mod model_steps;
mod mutant;
mod news;
mod orders;
mod tree;

use std::time::{Duration, Instant};

use askers::{Race, Wrong};
use tree::Tree;

/// Each is one asker against one drain.
const RACES: u64 = 100_000;
/// Races in which a gate that is wrong must be caught. The first round is enough nearly always.
const MUTANT_RACES: u64 = 10_000;
/// Far above what it takes on a loaded machine; only a gate that never closes, or never answers, reaches it.
const CEILING: Duration = Duration::from_mins(4);

#[actix::test]
async fn no_turn_is_admitted_after_a_drain_was_answered() {
    let tree = Tree::start().await;
    let begun = Instant::now();
    let race = Race::new(tree.doors(), RACES);
    let tally = actix::clock::timeout(CEILING, race.run()).await.expect("the races end");
    let tally = tally.unwrap_or_else(|wrong| panic!("{wrong}"));
    eprintln!("{tally:?} in {:?}", begun.elapsed());
    assert!(tally.races >= RACES, "{tally:?}");
    // Neither side may always be the first, else nothing was raced.
    assert!(tally.admitted_during > RACES / 20, "hardly any permit was given while a drain began: {tally:?}");
    assert!(tally.refused_during > RACES / 20, "hardly any permit was refused while a drain began: {tally:?}");
    let late = tally.drains * (askers::ASKERS as u64 + 1);
    assert_eq!(tally.late_refused, late, "who asks when the answer is known is refused: {tally:?}");
    tree.stop().await;
}

#[actix::test]
async fn a_gate_that_answers_before_it_closes_is_caught() {
    let tree = Tree::start().await;
    let race = Race::new(mutant::hasty(tree.doors()), MUTANT_RACES);
    let caught = actix::clock::timeout(CEILING, race.run()).await.expect("the races end");
    eprintln!("caught: {caught:?}");
    assert!(matches!(caught, Err(Wrong::AdmittedAfterAnswer { .. } | Wrong::LateAdmitted { .. })), "{caught:?}");
    tree.stop().await;
}

#[actix::test]
async fn a_gate_that_counts_before_it_closes_is_caught() {
    let tree = Tree::start().await;
    let race = Race::new(mutant::miscounting(tree.doors()), MUTANT_RACES);
    let caught = actix::clock::timeout(CEILING, race.run()).await.expect("the races end");
    eprintln!("caught: {caught:?}");
    assert!(matches!(caught, Err(Wrong::AdmittedAfterAnswer { .. })), "{caught:?}");
    tree.stop().await;
}
