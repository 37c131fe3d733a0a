//! `kill -9` of a real gateway at each step of a refresh, and how the next one continues.

use serde_json::Value;

use crate::grants::{HonchoGateway, SharedGrant, is_new};
use crate::support::{SOON, wait_for};

/// Kills a gateway at `step`; returns the content of the file without its grant.
async fn kill_at(step: &str, shared: &SharedGrant) -> Value {
    let rest = shared.without_grant();
    let gateway = HonchoGateway::start(shared, &["--stall-refresh", step]);
    wait_for(&format!("the step {step}"), SOON, || async {
        gateway.process.log().contains("refresh stalled").then_some(())
    })
    .await;
    gateway.kill();
    assert_eq!(shared.without_grant(), rest, "{step}: nothing but the grant may change");
    rest
}

/// Asserts that the next gateway has the new token after this number of presented refresh tokens, none of them spent.
async fn assert_repaired(shared: &SharedGrant, presented: usize, rest: &Value) {
    let gateway = HonchoGateway::start(shared, &[]);
    gateway.until("new", is_new).await;
    let server = &shared.server;
    assert_eq!((server.presented().len(), server.replays(), server.exchanges()), (presented, 0, 1));
    assert_eq!((&shared.without_grant(), shared.leftover_files()), (rest, Vec::new()), "no temporary file is left");
}

/// Asserts that the next gateway treats the grant as uncertain, and does not present the token yet.
async fn assert_uncertain(shared: &SharedGrant, presented: usize) {
    let gateway = HonchoGateway::start(shared, &[]);
    let grant = gateway.until("an uncertain grant", |grant| grant["state"] == "uncertain").await;
    assert!(grant["remedy"].is_string(), "{grant}");
    assert_eq!(shared.server.presented().len(), presented);
}

#[actix_web::test]
async fn a_kill_while_the_lock_is_held_spends_no_token() {
    for step in ["Locked", "Read"] {
        crate::rounds(3, 50, || async {
            let shared = SharedGrant::expiring_in(60);
            let rest = kill_at(step, &shared).await;
            assert_repaired(&shared, 1, &rest).await;
        })
        .await;
    }
}

#[actix_web::test]
async fn a_kill_just_before_the_token_is_presented_delays_the_refresh_by_a_minute() {
    crate::rounds(3, 50, || async {
        let shared = SharedGrant::expiring_in(60);
        let rest = kill_at("BeforeSend", &shared).await;
        assert_uncertain(&shared, 0).await;
        shared.expire_last_attempt();
        assert_repaired(&shared, 1, &rest).await;
    })
    .await;
}

#[actix_web::test]
async fn a_kill_after_the_answer_was_received_leads_to_a_login_after_one_delayed_try() {
    crate::rounds(3, 50, || async {
        let shared = SharedGrant::expiring_in(60);
        let rest = kill_at("Answered", &shared).await;
        assert_uncertain(&shared, 1).await;
        shared.expire_last_attempt();
        for _ in 0..2 {
            let gateway = HonchoGateway::start(&shared, &[]);
            let grant = gateway.until("the need of a login", |grant| grant["state"] == "reauth_required").await;
            assert!(grant["remedy"].as_str().unwrap().contains("honcho login"), "{grant}");
        }
        let server = &shared.server;
        assert_eq!((server.presented().len(), server.replays()), (2, 1), "one delayed try, and no loop");
        assert_eq!((shared.without_grant(), shared.token()), (rest, "hch-at-0".to_owned()));
    })
    .await;
}

#[actix_web::test]
async fn a_kill_between_the_answer_and_the_rename_is_repaired_from_the_temporary_file() {
    crate::rounds(3, 50, || async {
        let shared = SharedGrant::expiring_in(60);
        let rest = kill_at("TemporaryWritten", &shared).await;
        assert_eq!(shared.token(), "hch-at-0");
        assert_repaired(&shared, 1, &rest).await;
        assert_eq!(shared.token(), "hch-at-n1");
    })
    .await;
}

#[actix_web::test]
async fn a_kill_after_the_rename_spends_no_token() {
    crate::rounds(3, 50, || async {
        let shared = SharedGrant::expiring_in(60);
        let rest = kill_at("Renamed", &shared).await;
        assert_eq!(shared.token(), "hch-at-n1");
        assert_repaired(&shared, 1, &rest).await;
    })
    .await;
}
