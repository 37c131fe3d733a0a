//! The rules of the link, one test each.

#[path = "plan_exploration.rs"]
mod exploration; // All histories up to a length.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const S: Duration = Duration::from_secs(1);

/// A plan with its own clock.
struct Bench {
    plan: LinkPlan,
    start: Duration,
    now: Duration,
    random: f64,
}

impl Bench {
    fn new() -> Self {
        // An arbitrary time; no test depends on it.
        let now = 1_000 * S;
        Self { plan: LinkPlan::new(LinkTimings::default(), now), start: now, now, random: 1.0 }
    }

    fn at(&self) -> At {
        At { now: self.now, random: self.random }
    }

    fn pass(&mut self, time: Duration) -> Steps {
        self.now += time;
        self.plan.tick(self.at())
    }

    fn prepared(&mut self, credentials: u64) -> Steps {
        self.plan.prepared(Prepared::Dialable { credentials }, self.at())
    }

    #[expect(clippy::needless_pass_by_value, reason = "so that a test reads as a sentence")]
    fn lost(&mut self, loss: Loss) -> Steps {
        self.plan.lost(self.plan.generation(), &loss, self.at())
    }

    fn refused(&mut self, reason: &str) -> Steps {
        self.lost(Loss::Unauthorized { reason: reason.into() })
    }

    fn go_idle(&mut self, how: Idleness) -> Steps {
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
fn link_goes_from_connecting_over_handshaking_to_connected() {
    let mut bench = Bench::new();
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
    let mut bench = Bench::new();
    bench.plan.start(bench.at());
    assert_eq!(bench.prepared(1).len(), 1);
    assert_eq!(bench.prepared(1), []);
    bench.plan.dialled(1, bench.at());
    assert_eq!(bench.prepared(1), []);
}

#[test]
fn late_answers_of_an_older_generation_are_dropped() {
    let mut bench = Bench::connected();
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
    let mut bench = Bench::new();
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
    let mut bench = Bench::new();
    bench.plan.start(bench.at());
    bench.plan.prepared(Prepared::Nothing(Some("no scheme".into())), bench.at());
    assert_eq!((bench.plan.state(), bench.plan.last_error()), (LinkState::Disabled, Some("no scheme")));
}

#[test]
fn question_to_a_silent_profile_is_repeated_with_backoff() {
    let mut bench = Bench::new();
    bench.plan.start(bench.at());
    bench.plan.prepared(Prepared::Silent, bench.at());
    assert_eq!((bench.plan.state(), bench.wait()), (LinkState::Waiting, S));
}

#[test]
fn wait_that_the_connector_requests_is_observed_and_bounded() {
    for (asked, kept) in [(7, 7), (0, 1), (3_600, 300), (u64::MAX, 300)] {
        let mut bench = Bench::new();
        bench.plan.start(bench.at());
        assert_eq!(bench.prepared(1), [LinkStep::Dial { generation: 1 }]);
        let loss = Loss::WaitOrdered { reason: "503".into(), wait: Duration::from_secs(asked) };
        assert_eq!(bench.plan.lost(1, &loss, bench.at()), [LinkStep::Close(CloseWith::Away)]);
        assert_eq!(
            (bench.plan.state(), bench.wait(), bench.plan.last_error()),
            (LinkState::Waiting, kept * S, Some("503"))
        );
        let woken = bench.plan.wake(bench.at());
        assert_eq!(woken.is_empty(), asked > 0, "a wake does not shorten the wait that the connector requested");
        if asked > 0 {
            assert_eq!(bench.pass(kept * S), [LinkStep::Prepare]);
        }
    }
}

#[test]
fn evicted_link_closes_in_every_state_and_retries_later() {
    let mut bench = Bench::connected();
    let now = bench.at();
    assert_eq!(bench.plan.evicted(now), [LinkStep::Close(CloseWith::Away)]);
    assert_eq!(bench.plan.state(), LinkState::Disabled);
    assert_eq!(bench.plan.evicted(now), [], "it is closed already");
    assert_eq!(bench.pass(2 * S), [LinkStep::Prepare]);

    let mut bench = Bench::connected();
    bench.plan.go_idle(Idleness::Leaving, bench.at());
    let left = [LinkStep::Close(CloseWith::Away), LinkStep::AnswerIdle(IdleAnswer::NotAcknowledged)];
    assert_eq!(bench.plan.evicted(bench.at()), left);
    assert_eq!((bench.plan.state(), bench.plan.next_tick()), (LinkState::Idle, None), "it is not dialled again");
}

#[test]
fn backoff_doubles_from_1_s_to_30_s_without_a_limit_of_attempts() {
    let mut bench = Bench::new();
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
    let mut bench = Bench::connected();
    bench.random = 0.25;
    bench.lost(cut());
    assert_eq!(bench.wait(), S / 4);
}

#[test]
fn backoff_is_reset_only_by_a_connection_that_held_60_s() {
    let mut bench = Bench::connected();
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
    let mut bench = Bench::new();
    bench.plan.start(bench.at());
    bench.prepared(1);
    assert_eq!(bench.pass(29 * S), []);
    assert_eq!(bench.pass(S), [AWAY]);
    assert_eq!(bench.plan.state(), LinkState::Waiting);
}

#[test]
fn handshake_without_a_valid_descriptor_within_30_s_is_redialled() {
    let mut bench = Bench::new();
    bench.plan.start(bench.at());
    bench.prepared(1);
    bench.plan.dialled(1, bench.at());
    assert_eq!(bench.pass(29 * S), []);
    assert_eq!(bench.pass(S), [AWAY]);
    assert_eq!(bench.plan.state(), LinkState::Waiting);
}

#[test]
fn connector_is_pinged_every_20_s() {
    let mut bench = Bench::connected();
    for _ in 0..4 {
        assert_eq!(bench.pass(19 * S), []);
        assert_eq!(bench.pass(S), [LinkStep::Ping]);
        bench.received();
    }
}

#[test]
fn connection_without_any_frame_for_45_s_is_closed() {
    let mut bench = Bench::connected();
    assert_eq!(bench.pass(20 * S), [LinkStep::Ping]);
    assert_eq!(bench.pass(20 * S), [LinkStep::Ping]);
    assert_eq!(bench.pass(4 * S), []);
    assert_eq!(bench.pass(S), [AWAY]);
    assert_eq!(bench.plan.state(), LinkState::Waiting);
}

#[test]
fn frame_of_an_older_connection_does_not_count_as_received() {
    let mut bench = Bench::connected();
    bench.now += 44 * S;
    bench.plan.received(0, bench.now);
    assert_eq!(bench.pass(S), [AWAY]);
}

#[test]
fn line_above_the_limit_closes_with_a_distinct_code_and_redials() {
    let mut bench = Bench::connected();
    assert_eq!(bench.lost(Loss::TooBig), [LinkStep::Close(CloseWith::TooBig)]);
    assert_eq!(bench.plan.state(), LinkState::Waiting);
}

#[test]
fn refusal_before_any_handshake_is_retried_as_usual() {
    let mut bench = Bench::new();
    bench.plan.start(bench.at());
    for _ in 0..5 {
        bench.prepared(1);
        assert_eq!(bench.refused("unauthorized"), [AWAY]);
        bench.wait_out();
    }
}

#[test]
fn expired_after_a_handshake_is_redialled_as_usual() {
    let mut bench = Bench::connected();
    for _ in 0..5 {
        assert_eq!(bench.refused("expired"), [AWAY]);
        bench.wait_out();
        bench.connect(1);
    }
}

#[test]
fn refusal_after_a_handshake_gets_one_immediate_redial_with_a_fresh_token() {
    let mut bench = Bench::connected();
    assert_eq!(bench.refused("unauthorized"), [AWAY, LinkStep::Prepare]);
    assert_eq!(bench.plan.state(), LinkState::Connecting);
}

#[test]
fn second_refusal_on_the_connection_is_revoked() {
    let mut bench = Bench::connected();
    bench.refused("unauthorized");
    bench.connect(1);
    assert_eq!(bench.refused("unauthorized"), [AWAY]);
    assert_eq!(bench.plan.state(), LinkState::Revoked);
}

#[test]
fn second_refusal_on_the_upgrade_is_revoked() {
    let mut bench = Bench::connected();
    bench.refused("unauthorized");
    bench.prepared(1);
    assert_eq!(bench.refused("the connector answered the upgrade with 401"), [AWAY]);
    assert_eq!(bench.plan.state(), LinkState::Revoked);
}

#[test]
fn network_failure_between_two_refusals_does_not_clear_the_first() {
    let mut bench = Bench::connected();
    bench.refused("unauthorized");
    bench.prepared(1);
    bench.lost(cut());
    bench.wait_out();
    bench.prepared(1);
    bench.refused("unauthorized");
    assert_eq!(bench.plan.state(), LinkState::Revoked);
}

#[test]
fn connection_that_held_60_s_clears_an_older_refusal() {
    let mut bench = Bench::connected();
    bench.refused("unauthorized");
    bench.connect(1);
    bench.now += 60 * S;
    assert_eq!(bench.refused("unauthorized"), [AWAY, LinkStep::Prepare]);
}

#[test]
fn revoked_link_never_dials_with_the_same_credentials() {
    let mut bench = Bench::connected();
    bench.refused("");
    bench.prepared(1);
    bench.refused("");
    for _ in 0..100 {
        assert_eq!(bench.pass(2 * S), [LinkStep::Prepare]);
        assert_eq!(bench.prepared(1), []);
        assert_eq!(bench.plan.state(), LinkState::Revoked);
    }
    assert_eq!(bench.plan.wake(bench.at()), []);
}

#[test]
fn revoked_link_dials_again_with_new_credentials() {
    let mut bench = Bench::connected();
    bench.refused("");
    bench.prepared(1);
    bench.refused("");
    assert_eq!(bench.pass(2 * S), [LinkStep::Prepare]);
    bench.connect(2);
    assert_eq!(bench.refused("unauthorized"), [AWAY, LinkStep::Prepare], "new credentials get one redial of their own");
}

#[test]
fn revoked_link_does_not_dial_after_its_address_was_removed_and_restored() {
    let mut bench = Bench::connected();
    bench.refused("");
    bench.prepared(1);
    bench.refused("");
    bench.pass(2 * S);
    bench.plan.prepared(Prepared::Nothing(None), bench.at());
    assert_eq!(bench.plan.state(), LinkState::Disabled);
    bench.pass(2 * S);
    assert_eq!(bench.prepared(1), []);
    assert_eq!(bench.plan.state(), LinkState::Revoked);
}

#[test]
fn leaving_link_serves_until_the_acknowledgement_and_after_it() {
    let mut bench = Bench::connected();
    assert_eq!(bench.go_idle(Idleness::Leaving), [LinkStep::SendGoingIdle]);
    assert_eq!(bench.plan.state(), LinkState::Connected);
    assert_eq!(bench.plan.idle_acked(1, bench.at()), [LinkStep::AnswerIdle(IdleAnswer::Acknowledged)]);
    assert_eq!(bench.plan.state(), LinkState::Idle);
    assert!(bench.plan.is_up(), "replies are still sent");
}

#[test]
fn going_idle_without_an_acknowledgement_ends_after_10_s() {
    let mut bench = Bench::connected();
    bench.go_idle(Idleness::Leaving);
    assert_eq!(bench.pass(9 * S), []);
    assert_eq!(bench.pass(S), [LinkStep::AnswerIdle(IdleAnswer::NotAcknowledged)]);
    assert_eq!(bench.plan.state(), LinkState::Idle);
}

#[test]
fn link_that_left_is_not_dialled_again() {
    let mut bench = Bench::connected();
    bench.go_idle(Idleness::Leaving);
    bench.plan.idle_acked(1, bench.at());
    assert_eq!(bench.lost(cut()), [AWAY]);
    assert_eq!((bench.plan.state(), bench.plan.next_tick()), (LinkState::Idle, None));
    assert_eq!(bench.plan.wake(bench.at()), []);
}

#[test]
fn dormant_link_is_closed_and_redials_after_1_s() {
    let mut bench = Bench::connected();
    bench.go_idle(Idleness::Dormant);
    assert_eq!(bench.plan.idle_acked(1, bench.at()), [AWAY, LinkStep::AnswerIdle(IdleAnswer::Acknowledged)]);
    assert_eq!((bench.plan.state(), bench.wait()), (LinkState::Idle, S));
    assert_eq!(bench.pass(S), [LinkStep::Prepare]);
}

#[test]
fn connection_that_held_60_s_clears_refusals_and_failures_also_when_it_ends_dormant() {
    let mut bench = Bench::connected();
    for _ in 0..5 {
        bench.lost(cut());
        bench.wait_out();
        bench.connect(1);
    }
    bench.refused("unauthorized");
    bench.connect(1);
    bench.now += 60 * S;
    bench.received();
    bench.go_idle(Idleness::Dormant);
    bench.plan.idle_acked(bench.plan.generation(), bench.at());
    bench.pass(S);
    bench.prepared(1);
    assert_eq!(bench.refused("unauthorized"), [AWAY, LinkStep::Prepare], "the older refusal is cleared");
    bench.prepared(1);
    bench.lost(cut());
    assert_eq!(bench.wait(), S, "the older failures are cleared");
}

#[test]
fn dormant_link_dials_at_once_when_woken() {
    let mut bench = Bench::connected();
    bench.go_idle(Idleness::Dormant);
    bench.plan.idle_acked(1, bench.at());
    assert_eq!(bench.plan.wake(bench.at()), [LinkStep::Prepare]);
}

#[test]
fn connection_lost_while_going_idle_answers_the_requests() {
    let mut bench = Bench::connected();
    bench.go_idle(Idleness::Dormant);
    assert_eq!(bench.lost(cut()), [AWAY, LinkStep::AnswerIdle(IdleAnswer::NotAcknowledged)]);
    assert_eq!(bench.plan.state(), LinkState::Idle);
}

#[test]
fn shutdown_ends_a_running_dial() {
    let mut bench = Bench::new();
    bench.plan.start(bench.at());
    bench.prepared(1);
    assert_eq!(bench.go_idle(Idleness::Leaving), [AWAY, LinkStep::AnswerIdle(IdleAnswer::NotConnected)]);
    assert_eq!(bench.plan.dialled(1, bench.at()), []);
    assert_eq!((bench.plan.state(), bench.plan.next_tick()), (LinkState::Idle, None));
}

#[test]
fn shutdown_takes_precedence_over_dormancy() {
    let mut bench = Bench::connected();
    bench.go_idle(Idleness::Dormant);
    assert_eq!(bench.go_idle(Idleness::Leaving), []);
    assert_eq!(bench.plan.idle_acked(1, bench.at()), [LinkStep::AnswerIdle(IdleAnswer::Acknowledged)]);
    assert!(bench.plan.is_up());
}

#[derive(Debug, Clone, Copy)]
enum Happens {
    Prepared(u64),
    NotSet,
    Dialled(u64),
    Described(u64),
    Cut(u64),
    Refused(u64),
    Acked(u64),
    GoDormant,
    Wake,
    Pass(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        (1_u64..3).prop_map(Happens::Prepared),
        Just(Happens::NotSet),
        (0_u64..3).prop_map(Happens::Dialled),
        (0_u64..3).prop_map(Happens::Described),
        (0_u64..3).prop_map(Happens::Cut),
        (0_u64..3).prop_map(Happens::Refused),
        (0_u64..3).prop_map(Happens::Acked),
        Just(Happens::GoDormant),
        Just(Happens::Wake),
        (0_u64..90_000).prop_map(Happens::Pass),
    ]
}

proptest! {
    /// Generations in the events count back from the present one, so most of them hit.
    #[test]
    fn for_any_events_there_is_one_dial_at_a_time_and_always_a_next_step(
        events in prop::collection::vec(happens(), 1..200),
    ) {
        let mut bench = Bench::new();
        let mut asked = 0;
        // Whether a dial or a connection is open.
        let mut open = false;
        let mut steps = bench.plan.start(bench.at());
        for event in events {
            for step in steps {
                match step {
                    LinkStep::Prepare => asked += 1,
                    LinkStep::Dial { .. } => {
                        prop_assert!(!open, "a second dial");
                        open = true;
                    }
                    LinkStep::Close(_) => open = false,
                    _ => {}
                }
            }
            prop_assert!(asked <= 1, "two questions at a time");
            prop_assert!(asked == 1 || bench.plan.next_tick().is_some(), "stuck in {:?}", bench.plan);
            prop_assert_eq!(bench.plan.is_up() && !open, false);
            let back = |by: u64| bench.plan.generation().wrapping_sub(by);
            let at = bench.at();
            steps = match event {
                Happens::Prepared(_) | Happens::NotSet if asked == 0 => Vec::new(),
                Happens::Prepared(credentials) => { asked = 0; bench.prepared(credentials) }
                Happens::NotSet => { asked = 0; bench.plan.prepared(Prepared::Nothing(None), at) }
                Happens::Dialled(by) => { let generation = back(by); bench.plan.dialled(generation, at) }
                Happens::Described(by) => { let generation = back(by); bench.plan.described(generation, at); Vec::new() }
                Happens::Cut(by) => { let generation = back(by); bench.plan.lost(generation, &cut(), at) }
                Happens::Refused(by) => {
                    let generation = back(by);
                    bench.plan.lost(generation, &Loss::Unauthorized { reason: String::new() }, at)
                }
                Happens::Acked(by) => { let generation = back(by); bench.plan.idle_acked(generation, at) }
                Happens::GoDormant => bench.go_idle(Idleness::Dormant),
                Happens::Wake => bench.plan.wake(at),
                Happens::Pass(millis) => bench.pass(Duration::from_millis(millis)),
            };
            prop_assert!(bench.plan.since() <= bench.now && bench.plan.since() >= bench.start);
        }
    }
}
