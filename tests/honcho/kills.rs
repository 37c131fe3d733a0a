//! `kill -9` of a real gateway at each step of a refresh, and what the next one makes of it.

use serde_json::Value;

use crate::grants::{Gateway, Shared, is_new};
use crate::support::{SOON, wait_for};

/// Kills a gateway at `step`; answers all of the file but its grant.
async fn kill_at(step: &str, shared: &Shared) -> Value {
    let rest = shared.rest();
    let gateway = Gateway::start(shared, &["--stall-refresh", step]);
    wait_for(&format!("the step {step}"), SOON, || async {
        gateway.process.log().contains("a refresh is stalled").then_some(())
    })
    .await;
    gateway.kill();
    assert_eq!(shared.rest(), rest, "{step}: nothing but the grant may change");
    rest
}

/// The next gateway has the new token, which was got by so many refresh tokens presented in all, none of them spent.
async fn healed(shared: &Shared, presented: usize, rest: &Value) {
    let gateway = Gateway::start(shared, &[]);
    gateway.until("new", is_new).await;
    let server = &shared.server;
    assert_eq!((server.presented().len(), server.replays(), server.exchanges()), (presented, 0, 1));
    assert_eq!((&shared.rest(), shared.litter()), (rest, Vec::new()), "all is tidy again");
}

/// The next gateway does not know what became of the token, and leaves it alone for now.
async fn cautious(shared: &Shared, presented: usize) {
    let gateway = Gateway::start(shared, &[]);
    let grant = gateway.until("uncertain", |grant| grant["state"] == "uncertain").await;
    assert!(grant["remedy"].is_string(), "{grant}");
    assert_eq!(shared.server.presented().len(), presented);
}

#[actix_web::test]
async fn a_death_with_the_lock_in_hand_costs_nothing() {
    for step in ["Locked", "Read"] {
        crate::rounds(3, 50, || async {
            let shared = Shared::with_life(60);
            let rest = kill_at(step, &shared).await;
            healed(&shared, 1, &rest).await;
        })
        .await;
    }
}

#[actix_web::test]
async fn a_death_on_the_brink_of_presenting_costs_a_minute() {
    crate::rounds(3, 50, || async {
        let shared = Shared::with_life(60);
        let rest = kill_at("BeforeSend", &shared).await;
        cautious(&shared, 0).await;
        shared.a_minute_passes();
        healed(&shared, 1, &rest).await;
    })
    .await;
}

#[actix_web::test]
async fn a_death_with_the_answer_in_hand_ends_in_a_login_after_one_careful_try() {
    crate::rounds(3, 50, || async {
        let shared = Shared::with_life(60);
        let rest = kill_at("Answered", &shared).await;
        cautious(&shared, 1).await;
        shared.a_minute_passes();
        for _ in 0..2 {
            let gateway = Gateway::start(&shared, &[]);
            let grant = gateway.until("in need of a login", |grant| grant["state"] == "reauth_required").await;
            assert!(grant["remedy"].as_str().unwrap().contains("honcho login"), "{grant}");
        }
        let server = &shared.server;
        assert_eq!((server.presented().len(), server.replays()), (2, 1), "one careful try, and no loop");
        assert_eq!((shared.rest(), shared.token()), (rest, "hch-at-0".to_owned()));
    })
    .await;
}

#[actix_web::test]
async fn a_death_between_the_answer_and_the_file_is_made_good_from_the_temporary_file() {
    crate::rounds(3, 50, || async {
        let shared = Shared::with_life(60);
        let rest = kill_at("TemporaryWritten", &shared).await;
        assert_eq!(shared.token(), "hch-at-0");
        healed(&shared, 1, &rest).await;
        assert_eq!(shared.token(), "hch-at-n1");
    })
    .await;
}

#[actix_web::test]
async fn a_death_after_the_rename_costs_nothing() {
    crate::rounds(3, 50, || async {
        let shared = Shared::with_life(60);
        let rest = kill_at("Renamed", &shared).await;
        assert_eq!(shared.token(), "hch-at-n1");
        healed(&shared, 1, &rest).await;
    })
    .await;
}
