//! The server rotates and the answer never comes: what a real gateway does then, and what ends it.

use std::time::Duration;

use serde_json::Value;

use crate::grants::{Gateway, Shared, is_new, until_grant};
use crate::oauth_server::Fault;

/// What the log says, loudly, of a grant that is lost.
const LOST: &str = "a grant is spent or revoked";

fn uncertain(grant: &Value) -> bool {
    grant["state"] == "uncertain"
}

fn lost(grant: &Value) -> bool {
    grant["state"] == "reauth_required"
}

#[actix_web::test]
async fn a_lost_answer_is_followed_by_one_careful_try_and_then_by_a_call_for_a_login() {
    let shared = Shared::with_life(60);
    shared.server.script(Fault::LostAnswer);
    let mut gateway = Gateway::start(&shared, &[]);
    gateway.until("uncertain", uncertain).await;
    assert_eq!(shared.server.presented().len(), 1);
    if crate::count(0, 1) == 1 {
        // The minute itself.
        until_grant(&gateway.process.url, "in need of a login", Duration::from_secs(90), lost).await;
    } else {
        shared.a_minute_passes();
        gateway = Gateway::start(&shared, &[]);
        gateway.until("in need of a login", lost).await;
    }
    let grant = gateway.grant().await;
    assert!(grant["remedy"].as_str().unwrap().contains("caduceus honcho login"), "{grant}");
    // Visible and quiet: whatever happens to the file but a new grant, nothing is presented and nothing more is said.
    for life_s in [0, 3600, 30] {
        shared.log_in(0, life_s);
        gateway.until("looked at", |grant| lost(grant) && near(grant, life_s)).await;
    }
    assert_eq!((shared.server.presented().len(), shared.server.replays()), (2, 1));
    assert_eq!(gateway.process.log().matches(LOST).count(), 1, "it is said once");

    shared.log_in(7, 3600);
    gateway.until("new", is_new).await;
}

/// The status tells the life that the file was given.
fn near(grant: &Value, life_s: i64) -> bool {
    grant["expires_in_s"].as_i64().is_some_and(|left| (life_s - 30..=life_s).contains(&left))
}

#[actix_web::test]
async fn a_siblings_rotation_heals_a_lost_answer() {
    let shared = Shared::with_life(60);
    shared.server.script(Fault::LostAnswer);
    let gateway = Gateway::start(&shared, &[]);
    gateway.until("uncertain", uncertain).await;
    shared.log_in(5, 3600);
    gateway.until("new", is_new).await;
    assert_eq!((shared.server.presented().len(), shared.server.replays()), (1, 0));
    assert!(!gateway.process.log().contains(LOST));
}

#[actix_web::test]
async fn an_answer_that_is_cut_short_or_makes_no_sense_is_a_lost_one() {
    for fault in [Fault::CutAnswer, Fault::Body("{}".to_owned())] {
        let shared = Shared::with_life(60);
        shared.server.script(fault);
        let gateway = Gateway::start(&shared, &[]);
        gateway.until("uncertain", uncertain).await;
        assert_eq!(shared.server.presented().len(), 1);
    }
}
