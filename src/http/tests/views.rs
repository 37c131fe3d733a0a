//! Read-only routes.

use std::sync::Arc;

use std::sync::atomic::Ordering;

use actix_web::http::Method;
use caduceus_contract::api::status::StatusResponse;
use caduceus_contract::messages::drain::DrainView;
use caduceus_contract::status::lifecycle::ProcessPhase;
use caduceus_contract::status::profiles::ShownProfiles;
use caduceus_contract::status::shown::{Shown, ShownState};
use caduceus_contract::status::snapshot::Snapshot;
use caduceus_supervision::{ChildState, TreeNode};
use serde_json::json;

use super::support::{SECRET, Setting, TestAnswer, TestServer};

/// A child of the root.
fn child(status: &mut Snapshot, place: usize) -> &mut TreeNode {
    Arc::make_mut(&mut Arc::make_mut(&mut status.actors.root).children[place])
}

#[actix_web::test]
async fn healthz_reports_the_watchdog_in_every_state_of_the_actors() {
    let server = TestServer::start().await;
    server.lose_actors();
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(TestAnswer::of(server.request(Method::HEAD, "/healthz"), "").await.status, 200);
    server.alive.store(false, Ordering::SeqCst);
    let answer = server.get("/healthz").await;
    assert_eq!(answer.error(), (503, "unhealthy".into()));
    assert!(answer.header("retry-after").is_some());
    server.stop().await;
}

#[actix_web::test]
async fn readyz_gives_the_reason_why_no_turn_would_be_admitted() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/readyz").await.status, 200);
    for (change, detail) in [
        ((|status| status.drain.draining = true) as fn(&mut Snapshot), "draining"),
        (|status| status.drain = DrainView { draining: true, stopping: true, ..DrainView::default() }, "stopping"),
        (|status| status.phase = ProcessPhase::Starting, "starting"),
        (|status| status.phase = ProcessPhase::Stopping, "stopping"),
        (|status| status.ledger.write_error = Some("/home/x: no space".into()), "ledger: unwritable"),
        (|status| status.secrets = Arc::default(), "no profile is served"),
        (|status| child(status, 5).state = ChildState::Failed, "dispatch: failed"),
        (|status| status.stale.extend([("drain".to_owned(), 700)]), "drain: unresponsive"),
        (
            |status| {
                let second = child(status, 5);
                (second.id, second.state) = ("dispatch-2".to_owned(), ChildState::Backoff);
            },
            "dispatch-2: backoff",
        ),
    ] {
        server.set_status(change);
        let reported = || async { server.get("/readyz").await.json()["detail"] == detail };
        server.until(&format!("readyz to report {detail}"), reported).await;
        assert_eq!(server.get("/readyz").await.error(), (503, "not_ready".into()), "{detail}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn readyz_is_200_while_degraded_and_lists_the_parts_that_are_down_without_details() {
    let server = TestServer::start().await;
    let answer = server.get("/readyz").await;
    assert_eq!((answer.status, &answer.json()["readiness"]), (200, &"degraded".into()));
    assert_eq!(answer.json()["issues"], json!(["profile work: failed"]));
    assert_eq!(server.get("/readyz?link=1").await.status, 200);
    server.set_status(|status| {
        let link = &status.relay[0];
        let failed = Shown { actor: ChildState::Failed, state: ShownState::Actor(ChildState::Failed), ..link.clone() };
        status.relay = vec![failed];
    });
    let named = || async {
        server.get("/readyz").await.json()["issues"] == json!(["profile work: failed", "link relay: failed"])
    };
    server.until("the link to be named", named).await;
    assert_eq!((server.get("/readyz").await.status, server.get("/readyz?link=0").await.status), (200, 200));
    let answer = server.get("/readyz?link=1").await;
    assert_eq!(answer.error(), (503, "not_ready".into()));
    assert_eq!(answer.json()["detail"], "no link is connected");
    assert_eq!(server.get("/readyz?link=yes").await.error(), (400, "bad_request".into()));
    server.set_status(|status| {
        status.secrets = Arc::new(ShownProfiles::new(status.secrets.parts()[..1].to_vec()));
        child(status, 2).children.truncate(1);
    });
    server
        .until("the gateway to be ready", || async { server.get("/readyz").await.json()["readiness"] == "ready" })
        .await;
    server.stop().await;
}

#[actix_web::test]
async fn status_is_full_on_loopback_and_a_summary_for_unknown_clients() {
    let server = TestServer::start().await;
    let full = server.get("/api/status").await.json();
    for field in ["drain", "relay", "honcho", "turns", "ledger", "actors", "secrets", "process"] {
        assert!(full.get(field).is_some(), "{field}");
    }
    let remote = || server.request(Method::GET, "/api/status").insert_header(("x-forwarded-for", "203.0.113.9"));
    let summary = TestAnswer::of(remote(), "").await;
    assert_eq!(summary.status, 200);
    let text = String::from_utf8(summary.body.to_vec()).unwrap();
    for inside in ["OPENAI_API_KEY", "a sentence", "/home/", "agent:work", "\"actors\""] {
        assert!(!text.contains(inside), "{inside}");
    }
    assert_eq!(summary.json()["gateway_platforms"]["discord"]["state"], "connected");
    assert_eq!(summary.json()["active_agents"], 2);
    let known = TestAnswer::of(remote().bearer_auth(SECRET), "").await;
    assert!(known.json().get("actors").is_some());
    assert_eq!(TestAnswer::of(remote().bearer_auth("wrong"), "").await.error(), (401, "unauthenticated".into()));
    server.stop().await;
}

#[actix_web::test]
async fn commands_read_the_full_status_and_the_summary_as_one_type() {
    let server = TestServer::start().await;
    let read = |answer: &TestAnswer| serde_json::from_slice::<StatusResponse>(&answer.body).unwrap();
    let full = read(&server.get("/api/status").await);
    assert_eq!(full.issues.unwrap()[0].detail.as_deref(), Some("a sentence that may name a path"));
    assert_eq!(full.drain.map(|drain| drain.turns.len()), Some(2));
    let remote = server.request(Method::GET, "/api/status").insert_header(("x-forwarded-for", "203.0.113.9"));
    let summary = TestAnswer::of(remote, "").await;
    let status = read(&summary);
    assert_eq!((&status.issues, &status.drain, status.active_agents), (&None, &None, 2));
    assert_eq!(summary.body, serde_json::to_vec(&status).unwrap(), "the summary has no other field");
    server.stop().await;
}

#[actix_web::test]
async fn status_is_updated_after_the_status_actor_lost_its_listeners() {
    let server = TestServer::start().await;
    server.forget_listeners();
    server.set_status(|status| status.active_agents = 7);
    server.until("the new status", || async { server.get("/api/status").await.json()["active_agents"] == 7 }).await;
    server.stop().await;
}

#[actix_web::test]
async fn a_change_is_in_the_status_that_is_requested_after_it() {
    let server = TestServer::start().await;
    // Nothing notifies the server of the next status; only the count of changes shows that there is one.
    server.forget_listeners();
    for agents in 5..10 {
        server.set_status(|status| (status.active_agents, status.changes) = (agents, agents as u64));
        while server.changes.reported() < agents as u64 {
            server.changes.report();
        }
        assert_eq!(server.get("/api/status").await.json()["active_agents"], agents);
    }
    server.stop().await;
}

#[actix_web::test]
async fn actors_and_metrics_require_a_token_from_unknown_clients() {
    let server = TestServer::start().await;
    let tree = server.get("/api/actors").await.json();
    assert_eq!(tree["children"][2]["children"][1]["path"], "profiles/work");
    for path in ["/api/actors", "/metrics"] {
        let remote = || server.request(Method::GET, path).insert_header(("forwarded", "for=203.0.113.9"));
        assert_eq!(TestAnswer::of(remote(), "").await.error(), (401, "unauthenticated".into()), "{path}");
        assert_eq!(TestAnswer::of(remote().bearer_auth(SECRET), "").await.status, 200, "{path}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn metrics_have_all_counts_and_no_label_from_outside() {
    let server = TestServer::start().await;
    let answer = server.get("/metrics").await;
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let lines = [
        "caduceus_ready 1",
        "caduceus_parts_degraded 1",
        "caduceus_turns_in_flight 2",
        "caduceus_turns_ended_total{outcome=\"done\"} 41",
        "caduceus_relay_frames_total{kind=\"inbound\"} 120",
        "caduceus_relay_frames_total{kind=\"other\"} 1",
        "caduceus_relay_links{state=\"connected\"} 1",
        "caduceus_honcho_grants{state=\"fresh\"} 1",
        "caduceus_ledger_inbound{state=\"running\"} 2",
        "caduceus_actor_restarts_total{actor=\"relays\"} 3",
        "caduceus_actors{state=\"failed\"} 1",
        "caduceus_actor_messages_refused_total{actor=\"relays\"} 7",
        "caduceus_process_resident_memory_bytes 14680064",
        "caduceus_oldest_turn_seconds 71.5",
    ];
    for line in lines {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    for outside in ["made up", "=\"work", "019ab", "discord"] {
        assert!(!text.contains(outside), "{outside}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn the_page_has_no_data_and_only_its_own_script_may_run() {
    let server = TestServer::with(Setting { faults: true, ..Setting::default() }).await;
    let page = server.get("/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(text.contains("data-faults=\"yes\""));
    assert!(!text.contains("OPENAI_API_KEY") && !text.contains("0.1.0"));
    let afar = server.request(Method::GET, "/").insert_header(("x-forwarded-for", "203.0.113.9"));
    assert!(String::from_utf8(TestAnswer::of(afar, "").await.body.to_vec()).unwrap().contains("data-faults=\"no\""));
    let icon = server.get("/favicon.ico").await;
    assert_eq!((icon.status, icon.body.len()), (204, 0));
    server.stop().await;
}

#[actix_web::test]
async fn lost_actors_are_503_with_a_time_to_try_again() {
    let server = TestServer::start().await;
    server.lose_actors();
    server.until("the loss to be noticed", || async { server.get("/api/status").await.status == 503 }).await;
    for path in ["/api/status", "/api/actors", "/metrics", "/readyz"] {
        let answer = server.get(path).await;
        assert_eq!(answer.error(), (503, "actor_unavailable".into()), "{path}");
        assert!(answer.header("retry-after").is_some(), "{path}");
    }
    let turn = "019ab000-0000-7000-8000-000000000000";
    for path in ["/api/gateway/drain", "/api/actors/drain/restart", &format!("/api/turns/{turn}/stop")] {
        let answer = server.post(path, "").await;
        assert_eq!(answer.error(), (503, "actor_unavailable".into()), "{path}");
        assert!(answer.header("retry-after").is_some(), "{path}");
    }
    server.stop().await;
}
