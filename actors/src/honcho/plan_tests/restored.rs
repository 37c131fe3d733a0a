//! A file that another process restored, and a token that is examined again.

use super::*;

#[test]
fn a_file_restored_to_a_spent_token_is_refreshed_under_the_lock_and_not_adopted() {
    let mut bench = GrantBench::with(60);
    bench.rotates(2, 3600);
    bench.see(1, 60, Doubt::Spent);
    assert_eq!(bench.plan.token().unwrap().expose_secret(), "hch-at-2");
    assert_eq!(bench.waits_until(true), 15);
    bench.rotates(2, 3600);
    assert_eq!(bench.has(), "hch-at-2");
}

#[test]
fn a_grant_that_another_process_restored_is_not_exchanged_before_it_is_due() {
    let mut bench = GrantBench::with(60);
    bench.rotates(2, 3600);
    let newer = grant(2, 3600, bench.now);
    bench.see(1, 60, Doubt::Spent);
    let order = bench.orders().expect("it is searched for at once");
    assert_eq!((order.reason, order.known.as_ref()), (RefreshReason::Recheck, Some(&newer)));
    bench.plan.ended(RefreshOutcome::StillValid(newer), false, bench.now);
    assert_eq!((bench.has(), bench.plan.state()), ("hch-at-2".to_owned(), GrantState::Fresh));
    assert!(!bench.at(3464).begins());
    let order = bench.at(3465).orders().expect("it is due");
    assert_eq!(order.reason, RefreshReason::Due);
}

#[test]
fn a_grant_that_is_restored_before_the_search_for_it_starts_no_refresh() {
    let mut bench = GrantBench::with(60);
    bench.rotates(2, 3600);
    bench.see(1, 60, Doubt::Spent);
    bench.see(2, 3600, Doubt::None);
    assert!(!bench.begins());
    assert_eq!(bench.has(), "hch-at-2");
}

#[test]
fn a_failed_search_for_a_kept_grant_waits_as_other_failures_do() {
    let mut bench = GrantBench::with(60);
    bench.rotates(2, 3600);
    bench.see(1, 60, Doubt::Spent);
    assert!(bench.begins());
    bench.fails();
    bench.see(1, 60, Doubt::Spent);
    assert!(!bench.at(4).begins());
    assert!(bench.at(5).begins());
}

#[test]
fn a_token_that_is_not_due_is_only_rechecked_when_a_wait_or_a_doubt_ends() {
    let mut bench = GrantBench::with(3600);
    bench.plan.seen(FileReading::NoGrant, bench.now);
    bench.see(1, 3600, Doubt::Unknown { retry_in: Some(Duration::ZERO) });
    let mut recheck = |second: u32| {
        let order = bench.at(second).orders().expect("the wait is over");
        assert_eq!(order.reason, RefreshReason::Recheck);
        bench.fails();
    };
    recheck(0);
    recheck(60);
}

#[test]
fn a_requested_refresh_that_failed_is_an_exchange_when_it_is_tried_again() {
    let mut bench = GrantBench::with(3600);
    assert!(bench.plan.request_now(bench.now).is_some_and(|order| order.reason == RefreshReason::Requested));
    bench.fails();
    assert!(bench.at(5).orders().is_some_and(|order| order.reason == RefreshReason::Due));
    bench.rotates(2, 3600);
    bench.see(1, 60, Doubt::Spent);
    assert!(bench.orders().is_some_and(|order| order.reason == RefreshReason::Recheck));
}

#[test]
fn a_grant_that_is_still_valid_keeps_its_times_when_the_clock_is_set_back() {
    let mut bench = GrantBench::with(60);
    bench.rotates(2, 3600);
    let newer = grant(2, 3600, bench.now);
    bench.see(1, 60, Doubt::Spent);
    assert!(bench.begins());
    bench.now.unix_ms -= 3_600_000;
    bench.plan.ended(RefreshOutcome::StillValid(newer), false, bench.now);
    bench.at(3480).now.unix_ms = START_MS;
    let TokenDecision::Wait { order: Some(order), .. } = bench.ask() else { panic!("it is due") };
    assert_eq!(order.reason, RefreshReason::Due);
}
