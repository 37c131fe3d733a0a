//! Refused credentials: when they are tried again, and when they are revoked.

use super::*;

#[test]
fn refusal_before_any_handshake_is_retried_as_usual() {
    let mut bench = LinkPlanBench::new();
    bench.plan.start(bench.at());
    for _ in 0..5 {
        bench.prepared(1);
        assert_eq!(bench.refused("unauthorized"), [AWAY]);
        bench.wait_out();
    }
}

#[test]
fn expired_after_a_handshake_is_redialled_as_usual() {
    let mut bench = LinkPlanBench::connected();
    for _ in 0..5 {
        assert_eq!(bench.refused("expired"), [AWAY]);
        bench.wait_out();
        bench.connect(1);
    }
}

#[test]
fn refusal_after_a_handshake_gets_one_immediate_redial_with_a_fresh_token() {
    let mut bench = LinkPlanBench::connected();
    assert_eq!(bench.refused("unauthorized"), [AWAY, LinkStep::Prepare]);
    assert_eq!(bench.plan.state(), LinkState::Connecting);
}

#[test]
fn second_refusal_on_the_connection_is_revoked() {
    let mut bench = LinkPlanBench::connected();
    bench.refused("unauthorized");
    bench.connect(1);
    assert_eq!(bench.refused("unauthorized"), [AWAY]);
    assert_eq!(bench.plan.state(), LinkState::Revoked);
}

#[test]
fn second_refusal_on_the_upgrade_is_revoked() {
    let mut bench = LinkPlanBench::connected();
    bench.refused("unauthorized");
    bench.prepared(1);
    assert_eq!(bench.refused("the connector answered the upgrade with 401"), [AWAY]);
    assert_eq!(bench.plan.state(), LinkState::Revoked);
}

#[test]
fn network_failure_between_two_refusals_does_not_clear_the_first() {
    let mut bench = LinkPlanBench::connected();
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
    let mut bench = LinkPlanBench::connected();
    bench.refused("unauthorized");
    bench.connect(1);
    bench.now += 60 * S;
    assert_eq!(bench.refused("unauthorized"), [AWAY, LinkStep::Prepare]);
}

#[test]
fn revoked_link_never_dials_with_the_same_credentials() {
    let mut bench = LinkPlanBench::connected();
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
    let mut bench = LinkPlanBench::connected();
    bench.refused("");
    bench.prepared(1);
    bench.refused("");
    assert_eq!(bench.pass(2 * S), [LinkStep::Prepare]);
    bench.connect(2);
    assert_eq!(bench.refused("unauthorized"), [AWAY, LinkStep::Prepare], "new credentials get one redial of their own");
}

#[test]
fn revoked_link_does_not_dial_after_its_address_was_removed_and_restored() {
    let mut bench = LinkPlanBench::connected();
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
