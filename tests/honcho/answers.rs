//! The server rotates and its answer is lost: how a real gateway reacts, and what repairs it.

use std::time::Duration;

use serde_json::Value;

use crate::grants::{HonchoGateway, SharedGrant, empty_home, is_new, until_grant};
use crate::login::{honcho, run};
use crate::oauth_server::OauthFault;

/// The log text for a lost grant.
const LOST: &str = "grant is spent or revoked";

fn uncertain(grant: &Value) -> bool {
    grant["state"] == "uncertain"
}

fn lost(grant: &Value) -> bool {
    grant["state"] == "reauth_required"
}

#[actix_web::test]
async fn a_lost_answer_is_followed_by_one_delayed_try_and_then_a_request_for_a_login() {
    let shared = SharedGrant::expiring_in(60);
    shared.server.script(OauthFault::LostAnswer);
    let mut gateway = HonchoGateway::start(&shared, &[]);
    gateway.until("uncertain", uncertain).await;
    assert_eq!(shared.server.presented().len(), 1);
    if crate::count(0, 1) == 1 {
        // Waits for the whole minute.
        until_grant(&gateway.process.url, "the need of a login", Duration::from_secs(90), lost).await;
    } else {
        shared.expire_last_attempt();
        gateway = HonchoGateway::start(&shared, &[]);
        gateway.until("the need of a login", lost).await;
    }
    let grant = gateway.grant().await;
    assert!(grant["remedy"].as_str().unwrap().contains("caduceus honcho login"), "{grant}");
    // Visible and quiet: unless the file gets a new grant, nothing is presented and nothing more is logged.
    for life_s in [0, 3600, 30] {
        shared.log_in(0, life_s);
        gateway.until("a reading of the file", |grant| lost(grant) && shows_lifetime(grant, life_s)).await;
    }
    assert_eq!((shared.server.presented().len(), shared.server.replays()), (2, 1));
    assert_eq!(gateway.process.log().matches(LOST).count(), 1, "it is logged once");

    shared.log_in(7, 3600);
    gateway.until("new", is_new).await;
}

/// Whether the status shows the lifetime that was written to the file.
fn shows_lifetime(grant: &Value, life_s: i64) -> bool {
    grant["expires_in_s"].as_i64().is_some_and(|left| (life_s - 30..=life_s).contains(&left))
}

#[actix_web::test]
async fn a_rotation_by_another_process_repairs_a_lost_answer() {
    let shared = SharedGrant::expiring_in(60);
    shared.server.script(OauthFault::LostAnswer);
    let gateway = HonchoGateway::start(&shared, &[]);
    gateway.until("uncertain", uncertain).await;
    shared.log_in(5, 3600);
    gateway.until("new", is_new).await;
    assert_eq!((shared.server.presented().len(), shared.server.replays()), (1, 0));
    assert!(!gateway.process.log().contains(LOST));
}

#[actix_web::test]
async fn a_truncated_or_invalid_answer_counts_as_lost_and_is_shown() {
    let body = |text: &str| OauthFault::Body(text.to_owned());
    for (fault, shown) in [
        (OauthFault::LostAnswer, "without an answer"),
        (OauthFault::CutAnswer, "without an answer"),
        (OauthFault::RotatedThen(502), "the server answered 502"),
        (body("<html>"), "the answer cannot be used: it is not JSON"),
        (body(r#"{"error":"server_error"}"#), "the answer cannot be used: it has no access token"),
    ] {
        let shared = SharedGrant::expiring_in(60);
        shared.server.script(fault);
        let gateway = HonchoGateway::start(&shared, &[]);
        let grant = gateway.until("uncertain", uncertain).await;
        assert!(grant["last_error"].as_str().is_some_and(|error| error.contains(shown)), "{grant}");
        assert_eq!(shared.server.presented().len(), 1);
        // The commands read it from the notes.
        let (code, printed) = run(&mut honcho(&shared, &empty_home(), &["status"]));
        assert_eq!(code, Some(1), "{printed}");
        assert!(printed.contains("uncertain: ") && printed.contains(shown), "{printed}");
        assert!(printed.contains("caduceus honcho login"), "{printed}");
    }
}
