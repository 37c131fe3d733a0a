//! The rules of the link, one test each.

mod any_events; // Random events.
#[path = "../plan_exploration.rs"]
mod exploration; // All histories up to a length.
mod idle;
mod refusals;

use std::time::Duration;

use super::*;

const S: Duration = Duration::from_secs(1);

/// A plan with its own clock.
struct LinkPlanBench {
    plan: LinkPlan,
    start: Duration,
    now: Duration,
    random: f64,
}

impl LinkPlanBench {
    fn new() -> Self {
        // An arbitrary time; no test depends on it.
        let now = 1_000 * S;
        Self { plan: LinkPlan::new(LinkTimings::default(), now), start: now, now, random: 1.0 }
    }

    fn at(&self) -> At {
        At { now: self.now, random: self.random }
    }

    fn pass(&mut self, time: Duration) -> LinkSteps {
        self.now += time;
        self.plan.tick(self.at())
    }

    fn prepared(&mut self, credentials: u64) -> LinkSteps {
        self.plan.prepared(Prepared::Dialable { credentials }, self.at())
    }

    #[expect(clippy::needless_pass_by_value, reason = "so that a test reads as a sentence")]
    fn lost(&mut self, loss: Loss) -> LinkSteps {
        self.plan.lost(self.plan.generation(), &loss, self.at())
    }

    fn refused(&mut self, reason: &str) -> LinkSteps {
        self.lost(Loss::Unauthorized { reason: reason.into() })
    }

    fn go_idle(&mut self, how: Idleness) -> LinkSteps {
        self.plan.go_idle(how, self.at())
    }

    /// From an answer of the profile to the end of the handshake.
    fn connect(&mut self, credentials: u64) {
        let steps = self.prepared(credentials);
        let generation = self.plan.generation();
        assert_eq!(steps, [LinkStep::Dial { generation }]);
        assert_eq!(self.plan.dialled(generation, self.at()), [LinkStep::Hello]);
        self.plan.described(generation, self.at());
        assert_eq!(self.plan.state(), LinkState::Connected);
    }

    fn connected() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.plan.start(bench.at()), [LinkStep::Prepare]);
        bench.connect(1);
        bench
    }

    fn received(&mut self) {
        self.plan.received(self.plan.generation(), self.now);
    }

    /// Advances the time past the wait; the plan then asks the profile.
    fn wait_out(&mut self) {
        assert_eq!(self.plan.state(), LinkState::Waiting);
        assert_eq!(self.pass(30 * S), [LinkStep::Prepare]);
    }

    fn wait(&self) -> Duration {
        self.plan.next_dial().expect("a dial is planned").saturating_sub(self.now)
    }
}

fn cut() -> Loss {
    Loss::Other("cut".into())
}

const AWAY: LinkStep = LinkStep::Close(CloseWith::Away);

#[test]
fn link_goes_from_connecting_through_handshaking_to_connected() {
    let mut bench = LinkPlanBench::new();
    bench.plan.start(bench.at());
    assert_eq!(bench.plan.state(), LinkState::Connecting);
    assert_eq!(bench.prepared(1), [LinkStep::Dial { generation: 1 }]);
    assert_eq!(bench.plan.state(), LinkState::Connecting);
    assert_eq!(bench.plan.dialled(1, bench.at()), [LinkStep::Hello]);
    assert_eq!(bench.plan.state(), LinkState::Handshaking);
    assert!(!bench.plan.is_up());
    bench.plan.described(1, bench.at());
    assert_eq!(bench.plan.state(), LinkState::Connected);
    assert!(bench.plan.is_up());
}

#[test]
fn second_answer_of_the_profile_starts_no_second_dial() {
    let mut bench = LinkPlanBench::new();
    bench.plan.start(bench.at());
    assert_eq!(bench.prepared(1).len(), 1);
    assert_eq!(bench.prepared(1), []);
    bench.plan.dialled(1, bench.at());
    assert_eq!(bench.prepared(1), []);
}

#[test]
fn late_answers_of_an_older_generation_are_dropped() {
    let mut bench = LinkPlanBench::connected();
    bench.lost(cut());
    bench.wait_out();
    bench.prepared(1);
    assert_eq!(bench.plan.dialled(1, bench.at()), []);
    assert_eq!(bench.plan.lost(1, &cut(), bench.at()), []);
    bench.plan.described(1, bench.at());
    assert_eq!(bench.plan.state(), LinkState::Connecting);
    assert_eq!(bench.plan.dialled(2, bench.at()), [LinkStep::Hello]);
    bench.plan.described(1, bench.at());
    assert_eq!(bench.plan.state(), LinkState::Handshaking);
}

#[test]
fn link_without_an_address_is_disabled_and_retries() {
    let mut bench = LinkPlanBench::new();
    bench.plan.start(bench.at());
    bench.plan.prepared(Prepared::Nothing(None), bench.at());
    assert_eq!((bench.plan.state(), bench.plan.last_error()), (LinkState::Disabled, None));
    assert_eq!(bench.pass(2 * S), [LinkStep::Prepare]);
    assert_eq!(bench.plan.state(), LinkState::Disabled, "a pending question does not change the state");
    assert_eq!(bench.pass(2 * S), [], "one question at a time");
    assert_eq!(bench.prepared(1), [LinkStep::Dial { generation: 1 }]);
}

#[test]
fn undialable_address_is_disabled_with_the_reason() {
    let mut bench = LinkPlanBench::new();
    bench.plan.start(bench.at());
    bench.plan.prepared(Prepared::Nothing(Some("no scheme".into())), bench.at());
    assert_eq!((bench.plan.state(), bench.plan.last_error()), (LinkState::Disabled, Some("no scheme")));
}

#[test]
fn request_to_a_profile_that_does_not_answer_is_repeated_with_backoff() {
    let mut bench = LinkPlanBench::new();
    bench.plan.start(bench.at());
    bench.plan.prepared(Prepared::Silent, bench.at());
    assert_eq!((bench.plan.state(), bench.wait()), (LinkState::Waiting, S));
}

#[test]
fn wait_that_the_connector_requests_is_observed_and_bounded() {
    for (requested, kept) in [(7, 7), (0, 1), (3_600, 300), (u64::MAX, 300)] {
        let mut bench = LinkPlanBench::new();
        bench.plan.start(bench.at());
        assert_eq!(bench.prepared(1), [LinkStep::Dial { generation: 1 }]);
        let loss = Loss::WaitRequested { reason: "503".into(), wait: Duration::from_secs(requested) };
        assert_eq!(bench.plan.lost(1, &loss, bench.at()), [LinkStep::Close(CloseWith::Away)]);
        assert_eq!(
            (bench.plan.state(), bench.wait(), bench.plan.last_error()),
            (LinkState::Waiting, kept * S, Some("503"))
        );
        let woken = bench.plan.wake(bench.at());
        assert_eq!(woken.is_empty(), requested > 0, "a wake does not shorten the wait that the connector requested");
        if requested > 0 {
            assert_eq!(bench.pass(kept * S), [LinkStep::Prepare]);
        }
    }
}

#[test]
fn evicted_link_closes_in_every_state_and_retries_later() {
    let mut bench = LinkPlanBench::connected();
    let now = bench.at();
    assert_eq!(bench.plan.evicted(now), [LinkStep::Close(CloseWith::Away)]);
    assert_eq!(bench.plan.state(), LinkState::Disabled);
    assert_eq!(bench.plan.evicted(now), [], "it is closed already");
    assert_eq!(bench.pass(2 * S), [LinkStep::Prepare]);

    let mut bench = LinkPlanBench::connected();
    bench.plan.go_idle(Idleness::Leaving, bench.at());
    let left = [LinkStep::Close(CloseWith::Away), LinkStep::AnswerIdle(IdleAnswer::NotAcknowledged)];
    assert_eq!(bench.plan.evicted(bench.at()), left);
    assert_eq!((bench.plan.state(), bench.plan.next_tick()), (LinkState::Idle, None), "it is not dialled again");
}

#[test]
fn backoff_doubles_from_1_s_to_30_s_without_a_limit_of_attempts() {
    let mut bench = LinkPlanBench::new();
    bench.plan.start(bench.at());
    let mut waits = Vec::new();
    for _ in 0..40 {
        bench.prepared(1);
        bench.lost(cut());
        waits.push(bench.wait().as_secs());
        bench.wait_out();
    }
    assert_eq!(waits[..6], [1, 2, 4, 8, 16, 30]);
    assert!(waits[6..].iter().all(|wait| *wait == 30));
}

#[test]
fn jitter_is_full() {
    let mut bench = LinkPlanBench::connected();
    bench.random = 0.25;
    bench.lost(cut());
    assert_eq!(bench.wait(), S / 4);
}

#[test]
fn backoff_is_reset_only_by_a_connection_that_held_60_s() {
    let mut bench = LinkPlanBench::connected();
    for (held, wait) in [(1, 1), (59, 2), (60, 1), (1, 2)] {
        bench.now += held * S;
        bench.received();
        bench.lost(cut());
        assert_eq!(bench.wait(), wait * S, "after {held} s");
        bench.wait_out();
        bench.connect(1);
    }
}

#[test]
fn dial_that_takes_too_long_times_out() {
    let mut bench = LinkPlanBench::new();
    bench.plan.start(bench.at());
    bench.prepared(1);
    assert_eq!(bench.pass(29 * S), []);
    assert_eq!(bench.pass(S), [AWAY]);
    assert_eq!(bench.plan.state(), LinkState::Waiting);
}

#[test]
fn handshake_without_a_valid_descriptor_within_30_s_is_redialled() {
    let mut bench = LinkPlanBench::new();
    bench.plan.start(bench.at());
    bench.prepared(1);
    bench.plan.dialled(1, bench.at());
    assert_eq!(bench.pass(29 * S), []);
    assert_eq!(bench.pass(S), [AWAY]);
    assert_eq!(bench.plan.state(), LinkState::Waiting);
}

#[test]
fn connector_is_pinged_every_20_s() {
    let mut bench = LinkPlanBench::connected();
    for _ in 0..4 {
        assert_eq!(bench.pass(19 * S), []);
        assert_eq!(bench.pass(S), [LinkStep::Ping]);
        bench.received();
    }
}

#[test]
fn connection_without_any_frame_for_45_s_is_closed() {
    let mut bench = LinkPlanBench::connected();
    assert_eq!(bench.pass(20 * S), [LinkStep::Ping]);
    assert_eq!(bench.pass(20 * S), [LinkStep::Ping]);
    assert_eq!(bench.pass(4 * S), []);
    assert_eq!(bench.pass(S), [AWAY]);
    assert_eq!(bench.plan.state(), LinkState::Waiting);
}

#[test]
fn frame_of_an_older_connection_does_not_count_as_received() {
    let mut bench = LinkPlanBench::connected();
    bench.now += 44 * S;
    bench.plan.received(0, bench.now);
    assert_eq!(bench.pass(S), [AWAY]);
}

#[test]
fn line_above_the_limit_closes_with_a_distinct_code_and_redials() {
    let mut bench = LinkPlanBench::connected();
    assert_eq!(bench.lost(Loss::TooBig), [LinkStep::Close(CloseWith::TooBig)]);
    assert_eq!(bench.plan.state(), LinkState::Waiting);
}
