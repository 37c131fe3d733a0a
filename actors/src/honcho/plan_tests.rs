#[path = "plan_tests/restored.rs"]
mod restored; // A file that another process restored, and what a refresh then does.

use secrecy::ExposeSecret;

use super::*;
use crate::exploration::assert_value;

const START_MS: i64 = 1_800_000_000_000;
const WAITS: Waits = Waits { caller: Duration::from_secs(15), retry_wait: Duration::from_mins(1) };

/// A plan and its own clock.
struct GrantBench {
    plan: GrantPlan,
    start: Duration,
    now: Now,
}

fn grant(number: u32, life_s: i64, now: Now) -> Grant {
    Grant {
        access_token: format!("hch-at-{number}").into(),
        refresh_token: format!("hch-rt-{number}").into(),
        expires_at_ms: now.unix_ms.saturating_add(life_s.saturating_mul(1_000)).into(),
        client_id: "c".to_owned(),
        token_endpoint: "http://127.0.0.1:1/".to_owned(),
        scope: "write".to_owned(),
        token_type: "Bearer".to_owned(),
    }
}

impl GrantBench {
    /// The file was read with grant 1, of this lifetime.
    fn with(life_s: i64) -> Self {
        let start = Duration::from_secs(1_000);
        let now = Now { unix_ms: START_MS, at: start, random: 0.0 };
        let mut bench = Self { plan: GrantPlan::new(WAITS), start, now };
        bench.see(1, life_s, Doubt::None);
        bench
    }

    fn at(&mut self, second: u32) -> &mut Self {
        self.now.at = self.start + Duration::from_secs(second.into());
        self.now.unix_ms = START_MS + i64::from(second) * 1_000;
        self
    }

    fn see(&mut self, number: u32, life_s: i64, doubt: Doubt) {
        self.plan.seen(FileReading::Grant { grant: grant(number, life_s, self.now), doubt }, self.now);
    }

    fn ask(&mut self) -> TokenDecision {
        self.plan.ask(self.now)
    }

    fn orders(&mut self) -> Option<RefreshOrder> {
        self.plan.tick(self.now)
    }

    fn begins(&mut self) -> bool {
        self.orders().is_some()
    }

    fn ends(&mut self, outcome: RefreshOutcome) {
        self.plan.ended(outcome, true, self.now);
    }

    fn rotates(&mut self, number: u32, life_s: i64) {
        self.ends(RefreshOutcome::Rotated { grant: grant(number, life_s, self.now), life_s, beside: None });
    }

    fn fails(&mut self) {
        self.ends(RefreshOutcome::Failed("no".to_owned()));
    }

    fn no_answer(&mut self, retry_in: Option<Duration>) {
        self.ends(RefreshOutcome::Ambiguous { why: "silence".to_owned(), retry_in });
    }

    fn has(&mut self) -> String {
        match self.ask() {
            TokenDecision::Current(token) => token.expose_secret().to_owned(),
            other => panic!("no token at once: {other:?}"),
        }
    }

    fn waits_until(&mut self, begins: bool) -> u64 {
        match self.ask() {
            TokenDecision::Wait { order, until } if order.is_some() == begins => until.as_secs() - self.start.as_secs(),
            other => panic!("no such wait: {other:?}"),
        }
    }
}

#[test]
fn the_plan_is_a_value() {
    assert_value::<GrantPlan>();
}

#[test]
fn a_request_is_answered_from_memory_until_two_minutes_before_the_expiry() {
    let mut bench = GrantBench::with(3600);
    assert_eq!(bench.at(3479).has(), "hch-at-1");
    assert_eq!(bench.at(3480).waits_until(true), 3495);
}

#[test]
fn callers_wait_for_one_refresh_and_at_most_until_fifteen_seconds_after_its_start() {
    let mut bench = GrantBench::with(60);
    assert_eq!(bench.waits_until(true), 15);
    assert_eq!(bench.at(10).waits_until(false), 15);
    assert_eq!(bench.at(15).has(), "hch-at-1");
    bench.rotates(2, 3600);
    assert_eq!(bench.has(), "hch-at-2");
}

#[test]
fn a_refresh_starts_shortly_before_it_is_needed_and_not_in_all_processes_at_once() {
    for (random, second) in [(0.0, 3480 - 15), (0.999, 3480 - 59)] {
        let mut bench = GrantBench::with(60);
        bench.now.random = random;
        bench.rotates(2, 3600);
        assert!(!bench.at(second - 2).begins());
        assert!(bench.at(second).begins());
        assert_eq!(bench.has(), "hch-at-2");
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_lengthen_the_lifetime_of_a_token() {
    let mut bench = GrantBench::with(3600);
    bench.at(3480).now.unix_ms = START_MS;
    bench.waits_until(true);
}

#[test]
fn after_a_suspension_the_wall_clock_triggers_the_refresh() {
    let mut bench = GrantBench::with(3600);
    bench.now.unix_ms += 7_200_000;
    bench.waits_until(true);
}

#[test]
fn a_failed_refresh_is_retried_with_growing_waits_and_not_by_every_call() {
    let mut bench = GrantBench::with(60);
    let mut second = 0;
    for wait in [5, 10, 20, 40, 80, 160, 300, 300] {
        assert!(bench.at(second).begins(), "no attempt in second {second}");
        bench.fails();
        assert_eq!(bench.plan.state(), GrantState::Backoff);
        assert_eq!(bench.at(second + wait - 1).has(), "hch-at-1");
        assert!(!bench.begins());
        second += wait;
    }
    assert!(bench.at(second).begins());
    bench.rotates(2, 60);
    bench.at(second + 31).waits_until(true);
    bench.fails();
    assert!(bench.at(second + 36).begins(), "a success does not reset the failures");
}

#[test]
fn after_a_failure_no_caller_waits_for_the_next_attempt() {
    let mut bench = GrantBench::with(60);
    bench.waits_until(true);
    bench.fails();
    assert_eq!(bench.at(5).has(), "hch-at-1");
    assert!(bench.begins());
    assert_eq!(bench.has(), "hch-at-1");
    bench.no_answer(Some(Duration::from_mins(1)));
    assert!(bench.at(65).begins());
    assert_eq!(bench.has(), "hch-at-1");
    bench.rotates(2, 60);
    bench.at(65 + 30).waits_until(true);
}

#[test]
fn an_earlier_expiry_in_the_file_applies_at_once() {
    let mut bench = GrantBench::with(60);
    assert!(bench.begins());
    bench.rotates(2, 3600);
    let fraction = Grant { expires_at_ms: (START_MS + 3_600_300).into(), ..grant(2, 3600, bench.now) };
    bench.plan.seen(FileReading::Grant { grant: fraction, doubt: Doubt::None }, bench.now);
    assert!(!bench.begins());
    bench.see(2, -3600, Doubt::None);
    assert!(bench.begins());
}

#[test]
fn the_backoff_is_jittered_within_its_bounds() {
    let mut bench = GrantBench::with(60);
    bench.now.random = 0.999;
    assert!(bench.begins());
    bench.fails();
    assert!(!bench.at(6).begins());
    assert!(bench.at(7).begins());
}

#[test]
fn a_token_that_may_be_spent_is_presented_once_more_after_a_minute_and_then_never() {
    let mut bench = GrantBench::with(60);
    assert!(bench.begins());
    bench.no_answer(Some(Duration::from_mins(1)));
    assert_eq!(bench.plan.state(), GrantState::Uncertain);
    assert_eq!(bench.at(59).has(), "hch-at-1");
    assert!(!bench.begins());
    assert!(bench.at(60).begins());
    bench.no_answer(None);
    assert!(!bench.at(100_000).begins());
    assert_eq!(bench.has(), "hch-at-1");
    assert!(bench.plan.request_now(bench.now).is_some_and(|order| order.reason == RefreshReason::Requested));
}

#[test]
fn after_a_failed_retry_the_token_stays_in_doubt() {
    let mut bench = GrantBench::with(60);
    assert!(bench.begins());
    bench.no_answer(Some(Duration::from_mins(1)));
    assert!(bench.at(60).begins());
    bench.fails();
    assert_eq!(bench.plan.state(), GrantState::Uncertain);
    assert!(!bench.at(119).begins());
    assert!(bench.at(120).begins());
}

#[test]
fn a_rotation_by_another_process_ends_the_doubt() {
    let mut bench = GrantBench::with(60);
    assert!(bench.begins());
    bench.no_answer(Some(Duration::from_mins(1)));
    bench.see(1, 60, Doubt::Unknown { retry_in: None });
    assert_eq!(bench.plan.state(), GrantState::Uncertain);
    bench.see(2, 3600, Doubt::None);
    assert_eq!((bench.plan.state(), bench.has()), (GrantState::Fresh, "hch-at-2".to_owned()));
}

#[test]
fn a_refused_token_is_not_presented_again_until_the_file_changes() {
    let mut bench = GrantBench::with(60);
    assert!(bench.begins());
    let refused = grant(1, 60, bench.now);
    bench.ends(RefreshOutcome::Refused { grant: refused, why: "invalid_grant".to_owned() });
    assert!(!bench.at(100_000).begins());
    assert_eq!(bench.has(), "hch-at-1");
    assert!(bench.plan.request_now(bench.now).is_none());
    bench.see(1, 60, Doubt::None);
    assert_eq!(bench.plan.state(), GrantState::ReauthRequired);
    bench.see(2, 3600, Doubt::None);
    assert_eq!(bench.plan.state(), GrantState::Fresh);
}

#[test]
fn a_short_lived_token_is_used_for_half_its_life() {
    let mut bench = GrantBench::with(60);
    bench.rotates(2, 200);
    assert!(!bench.at(89).begins());
    assert_eq!(bench.at(99).has(), "hch-at-2");
    bench.at(100).waits_until(true);
}

#[test]
fn no_token_is_exchanged_within_thirty_seconds_of_the_last_exchange() {
    for life_s in [0, 10, 50] {
        let mut bench = GrantBench::with(60);
        bench.rotates(2, life_s);
        assert!(!bench.at(29).begins());
        assert_eq!(bench.has(), "hch-at-2");
        bench.at(30).waits_until(true);
    }
}

#[test]
fn a_token_of_unknown_lifetime_is_refreshed_only_on_request() {
    let mut bench = GrantBench::with(60);
    bench.rotates(2, 0);
    assert!(!bench.at(100_000).begins());
    bench.waits_until(true);
}

#[test]
fn a_rotation_by_another_process_is_not_exchanged_at_once_however_short_its_lifetime() {
    let mut bench = GrantBench::with(3600);
    bench.see(2, 40, Doubt::None);
    assert_eq!(bench.at(29).has(), "hch-at-2");
    assert!(!bench.begins());
    let mut bench = GrantBench::with(60);
    assert!(bench.begins());
    let theirs = grant(2, 3600, bench.now);
    bench.plan.ended(RefreshOutcome::Adopted(theirs), false, bench.now);
    assert_eq!(bench.has(), "hch-at-2");
}

#[test]
fn an_access_token_without_a_new_refresh_token_is_used_and_the_old_one_is_not_presented() {
    let mut bench = GrantBench::with(60);
    assert!(bench.begins());
    let kept = Grant { refresh_token: "hch-rt-1".into(), ..grant(2, 3600, bench.now) };
    bench.ends(RefreshOutcome::Withheld { grant: kept, life_s: 3600 });
    assert_eq!((bench.has(), bench.plan.state()), ("hch-at-2".to_owned(), GrantState::Uncertain));
    assert!(!bench.at(100_000).begins());
    assert_eq!(bench.has(), "hch-at-2");
}

#[test]
fn an_unsaved_grant_is_not_answered_and_is_saved_first_the_next_time() {
    let mut bench = GrantBench::with(60);
    assert!(bench.begins());
    let now = bench.now;
    let unsaved = Unsaved { grant: grant(2, 3600, now), life_s: 3600, replaces: grant(1, 60, now) };
    bench.ends(RefreshOutcome::Unsaved { unsaved, why: "disk full".to_owned() });
    assert_eq!(bench.has(), "hch-at-1");
    bench.at(5);
    let order = bench.plan.tick(bench.now).expect("the next try is due");
    assert!(order.unsaved.is_some());
}

#[test]
fn a_broken_file_stops_every_exchange_and_keeps_the_token() {
    let mut bench = GrantBench::with(60);
    bench.plan.seen(FileReading::Unreadable("broken".to_owned()), bench.now);
    assert!(!bench.begins());
    assert_eq!((bench.has(), bench.plan.state()), ("hch-at-1".to_owned(), GrantState::Unreadable));
    assert!(bench.plan.request_now(bench.now).is_none());
    bench.see(1, 60, Doubt::None);
    assert!(bench.begins());
}

#[test]
fn notes_of_other_processes_count_at_the_first_reading() {
    let fresh = |doubt| {
        let mut bench = GrantBench::with(60);
        bench.plan.seen(FileReading::NoGrant, bench.now);
        bench.see(1, 60, doubt);
        bench
    };
    let mut bench = fresh(Doubt::Unknown { retry_in: Some(Duration::from_secs(20)) });
    assert_eq!(bench.plan.state(), GrantState::Uncertain);
    assert!(!bench.at(19).begins() && bench.at(20).begins());
    assert!(!fresh(Doubt::Unknown { retry_in: None }).at(9999).begins());
    assert_eq!(fresh(Doubt::Refused).plan.state(), GrantState::ReauthRequired);
}

#[test]
fn a_removed_grant_yields_no_token() {
    let mut bench = GrantBench::with(3600);
    bench.plan.seen(FileReading::NoGrant, bench.now);
    assert!(matches!(bench.ask(), TokenDecision::NoGrant));
    assert_eq!(bench.plan.state(), GrantState::None);
    let mut bench = GrantBench::with(60);
    assert!(bench.begins());
    bench.ends(RefreshOutcome::NoGrant);
    assert!(matches!(bench.ask(), TokenDecision::NoGrant));
}

#[test]
fn an_odd_expiry_never_panics() {
    for life_s in [i64::MAX, i64::MIN, 1_000_000_000_000_000_000, -START_MS / 1_000] {
        let mut bench = GrantBench::with(life_s);
        bench.begins();
        bench.ask();
        bench.plan.expires_in_s(bench.now);
    }
}

#[test]
fn debug_shows_no_token() {
    let bench = GrantBench::with(60);
    let shown = format!("{:?}", bench.plan);
    assert!(!shown.contains("hch-at-1") && !shown.contains("hch-rt-1"), "{shown}");
}
