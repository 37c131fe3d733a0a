//! The exploration of the model and of its mutants.
//!
//! `CADUCEUS_LONG=1 cargo test --release -p caduceus-actors --lib composed -- --nocapture --test-threads 1` explores more events: each
//! multiplies the states by some 8.

use std::time::Instant;

use stateright::{Checker as _, HasDiscoveries, Model as _};

use super::properties::{
    ANSWERED, ASKED, DELIVERED, DRAINED, HELD, MARKED, ONE_SOCKET, ORDERED, REPEATED, RUNS, SETTLED, WAITS,
};
use super::world::Budget;
use super::{Composed, Mutant};
use crate::settings::Interrupted;

fn budget(crashes: u8, losses: u8, drains: u8) -> Budget {
    Budget { crashes, losses, drains }
}

/// Explores all histories, and prints how many states there are. `missing`: what needs a fault that does not happen here.
fn explore(name: &str, model: Composed, missing: &[&str]) {
    let began = Instant::now();
    let properties = model.properties();
    // Without a limit of states, depth or time: the threads end when no state is left.
    let checker = model.checker().threads(2).spawn_dfs().join();
    let (states, steps, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    eprintln!("{name}: {states} states, {steps} steps, depth {depth}, {:.1?}", began.elapsed());
    assert!(checker.is_done(), "{name}: states are left to explore");
    let mut found = checker.discoveries();
    for property in properties {
        let path = found.remove(property.name).map(stateright::Path::into_actions);
        if property.expectation.discovery_is_failure() {
            assert_eq!(path, None, "{name}: not {:?}", property.name);
        } else {
            assert_eq!(path.is_none(), missing.contains(&property.name), "{name}: {:?} occurs", property.name);
        }
    }
}

/// Expects a history of a mutant after which `property` does not hold.
fn assert_found(mutant: Mutant, property: &'static str, events: &[usize], budget: Budget) {
    let model = Composed { mutant: Some(mutant), ..Composed::new(events, budget) };
    let found = HasDiscoveries::AllOf([property].into());
    let checker = model.checker().finish_when(found).spawn_bfs().join();
    let states = checker.unique_state_count();
    let path = checker.discovery(property).unwrap_or_else(|| panic!("{mutant:?} is not found in {states} states"));
    eprintln!("{mutant:?}, {states} states: not {property:?} after {:?}", path.into_actions());
}

/// The first form in the suite, the second if the long form is requested: `CADUCEUS_LONG=1`.
fn form<'a>(short: &'a [usize], long: &'a [usize]) -> &'a [usize] {
    if std::env::var_os("CADUCEUS_LONG").is_some() { long } else { short }
}

#[test]
fn no_history_of_two_events_in_each_of_two_sessions_with_a_crash_and_a_drain_breaks_a_guarantee() {
    let events = form(&[0, 1, 0, 1], &[0, 1, 0, 1, 0, 1]);
    explore("a crash, a drain", Composed::new(events, budget(1, 0, 1)), &[]);
}

#[test]
fn no_history_of_two_events_in_each_of_two_sessions_with_a_crash_breaks_a_guarantee() {
    let events = form(&[0, 1, 0, 1], &[0, 1, 0, 1, 0, 1]);
    explore("a crash", Composed::new(events, budget(1, 0, 0)), &[HELD, RUNS]);
}

#[test]
fn no_history_of_two_events_in_each_of_two_sessions_with_a_drain_breaks_a_guarantee() {
    let events = form(&[0, 1, 0, 1], &[0, 1, 0, 1, 0, 1]);
    explore("a drain", Composed::new(events, budget(0, 0, 1)), &[REPEATED, WAITS, ASKED]);
}

#[test]
fn no_history_with_every_fault_breaks_a_guarantee() {
    let events = form(&[0], &[0, 1]);
    explore("a crash, a lost connection, a drain", Composed::new(events, budget(1, 1, 1)), &[]);
}

#[test]
fn no_history_with_interrupted_turns_that_run_again_breaks_a_guarantee() {
    let events = form(&[0, 1], &[0, 1, 0, 1]);
    let model = Composed { interrupted: Interrupted::Rerun, ..Composed::new(events, budget(1, 0, 1)) };
    explore("a crash, a drain, turns run again", model, &[WAITS]);
}

#[test]
fn a_mark_that_the_disk_drops_is_found() {
    assert_found(Mutant::DropsMark, MARKED, &[0, 0], budget(1, 0, 0));
}

#[test]
fn an_acknowledgement_before_the_disk_is_found() {
    assert_found(Mutant::AcknowledgesBeforeTheDisk, ANSWERED, &[0], budget(1, 0, 0));
}

#[test]
fn a_reply_that_is_sent_again_without_a_mark_is_found() {
    assert_found(Mutant::ResendsWithoutMark, MARKED, &[0], budget(1, 0, 0));
}

#[test]
fn a_reply_that_is_sent_again_after_its_result_is_found() {
    assert_found(Mutant::ResendsSettled, SETTLED, &[0], budget(1, 0, 0));
}

#[test]
fn a_turn_that_is_admitted_after_the_answer_is_found() {
    assert_found(Mutant::AdmitsAfterTheAnswer, DRAINED, &[0], budget(0, 0, 1));
}

#[test]
fn a_held_event_that_is_forgotten_is_found() {
    assert_found(Mutant::ForgetsHeld, ANSWERED, &[0], budget(1, 0, 1));
}

#[test]
fn a_session_that_runs_twice_is_found() {
    assert_found(Mutant::RunsSessionTwice, ORDERED, &[0, 0], budget(0, 0, 0));
}

#[test]
fn a_stale_result_that_is_taken_for_a_new_one_is_found() {
    assert_found(Mutant::TakesStaleResult, DELIVERED, &[0, 1], budget(1, 1, 0));
}

#[test]
fn a_second_socket_is_found() {
    assert_found(Mutant::KeepsTheSocket, ONE_SOCKET, &[0], budget(0, 1, 0));
}
