//! Going idle: a link that leaves, a dormant link, and the acknowledgement.

use super::*;

#[test]
fn leaving_link_serves_until_the_acknowledgement_and_after_it() {
    let mut bench = LinkPlanBench::connected();
    assert_eq!(bench.go_idle(Idleness::Leaving), [LinkStep::SendGoingIdle]);
    assert_eq!(bench.plan.state(), LinkState::Connected);
    assert_eq!(bench.plan.idle_acked(1, bench.at()), [LinkStep::AnswerIdle(IdleAnswer::Acknowledged)]);
    assert_eq!(bench.plan.state(), LinkState::Idle);
    assert!(bench.plan.is_up(), "replies are still sent");
}

#[test]
fn going_idle_without_an_acknowledgement_ends_after_10_s() {
    let mut bench = LinkPlanBench::connected();
    bench.go_idle(Idleness::Leaving);
    assert_eq!(bench.pass(9 * S), []);
    assert_eq!(bench.pass(S), [LinkStep::AnswerIdle(IdleAnswer::NotAcknowledged)]);
    assert_eq!(bench.plan.state(), LinkState::Idle);
}

#[test]
fn link_that_is_idle_after_leaving_is_not_dialled_again() {
    let mut bench = LinkPlanBench::connected();
    bench.go_idle(Idleness::Leaving);
    bench.plan.idle_acked(1, bench.at());
    assert_eq!(bench.lost(cut()), [AWAY]);
    assert_eq!((bench.plan.state(), bench.plan.next_tick()), (LinkState::Idle, None));
    assert_eq!(bench.plan.wake(bench.at()), []);
}

#[test]
fn dormant_link_is_closed_and_redials_after_1_s() {
    let mut bench = LinkPlanBench::connected();
    bench.go_idle(Idleness::Dormant);
    assert_eq!(bench.plan.idle_acked(1, bench.at()), [AWAY, LinkStep::AnswerIdle(IdleAnswer::Acknowledged)]);
    assert_eq!((bench.plan.state(), bench.wait()), (LinkState::Idle, S));
    assert_eq!(bench.pass(S), [LinkStep::Prepare]);
}

#[test]
fn connection_that_held_60_s_clears_refusals_and_failures_also_when_it_ends_dormant() {
    let mut bench = LinkPlanBench::connected();
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
    let mut bench = LinkPlanBench::connected();
    bench.go_idle(Idleness::Dormant);
    bench.plan.idle_acked(1, bench.at());
    assert_eq!(bench.plan.wake(bench.at()), [LinkStep::Prepare]);
}

#[test]
fn connection_lost_while_going_idle_answers_the_requests() {
    let mut bench = LinkPlanBench::connected();
    bench.go_idle(Idleness::Dormant);
    assert_eq!(bench.lost(cut()), [AWAY, LinkStep::AnswerIdle(IdleAnswer::NotAcknowledged)]);
    assert_eq!(bench.plan.state(), LinkState::Idle);
}

#[test]
fn shutdown_ends_a_running_dial() {
    let mut bench = LinkPlanBench::new();
    bench.plan.start(bench.at());
    bench.prepared(1);
    assert_eq!(bench.go_idle(Idleness::Leaving), [AWAY, LinkStep::AnswerIdle(IdleAnswer::NotConnected)]);
    assert_eq!(bench.plan.dialled(1, bench.at()), []);
    assert_eq!((bench.plan.state(), bench.plan.next_tick()), (LinkState::Idle, None));
}

#[test]
fn shutdown_takes_precedence_over_dormancy() {
    let mut bench = LinkPlanBench::connected();
    bench.go_idle(Idleness::Dormant);
    assert_eq!(bench.go_idle(Idleness::Leaving), []);
    assert_eq!(bench.plan.idle_acked(1, bench.at()), [LinkStep::AnswerIdle(IdleAnswer::Acknowledged)]);
    assert!(bench.plan.is_up());
}
