//! Routes that only look.

use std::sync::atomic::Ordering;

use actix_web::http::Method;
use caduceus_contract::messages::drain::DrainView;
use caduceus_contract::status::shown::{Shown, Word};
use caduceus_contract::status::snapshot::Snapshot;
use caduceus_contract::status::words::ProcessPhase;
use caduceus_supervision::ChildState;
use serde_json::json;

use super::support::{Gate, SECRET, Setting, TestAnswer};

#[actix_web::test]
async fn healthz_answers_with_the_verdict_of_the_watchdog_in_every_state_of_the_actors() {
    let gate = Gate::start().await;
    gate.lose_actors();
    assert_eq!(gate.get("/healthz").await.status, 200);
    assert_eq!(TestAnswer::of(gate.request(Method::HEAD, "/healthz"), "").await.status, 200);
    gate.alive.store(false, Ordering::SeqCst);
    let answer = gate.get("/healthz").await;
    assert_eq!(answer.error(), (503, "unhealthy".into()));
    assert!(answer.header("retry-after").is_some());
    gate.stop().await;
}

#[actix_web::test]
async fn readyz_gives_the_reason_why_no_turn_would_be_admitted() {
    let gate = Gate::start().await;
    assert_eq!(gate.get("/readyz").await.status, 200);
    for (change, detail) in [
        ((|status| status.drain.draining = true) as fn(&mut Snapshot), "draining"),
        (|status| status.drain = DrainView { draining: true, stopping: true, ..DrainView::default() }, "stopping"),
        (|status| status.phase = ProcessPhase::Starting, "starting"),
        (|status| status.phase = ProcessPhase::Stopping, "stopping"),
        (|status| status.ledger.write_error = Some("/home/x: no space".into()), "ledger: unwritable"),
        (|status| status.secrets.clear(), "no profile is served"),
        (|status| status.actors.children[5].state = ChildState::Failed, "dispatch: failed"),
        (|status| status.stale.extend([("drain", 700)]), "drain: unresponsive"),
    ] {
        gate.becomes(change);
        let turned = || async { gate.get("/readyz").await.json()["detail"] == detail };
        gate.until(&format!("readyz to say {detail}"), turned).await;
        assert_eq!(gate.get("/readyz").await.error(), (503, "not_ready".into()), "{detail}");
    }
    gate.stop().await;
}

#[actix_web::test]
async fn readyz_is_200_while_degraded_and_names_what_is_down_without_the_sentences() {
    let gate = Gate::start().await;
    let answer = gate.get("/readyz").await;
    assert_eq!((answer.status, &answer.json()["readiness"]), (200, &"degraded".into()));
    assert_eq!(answer.json()["issues"], json!(["profile work: failed"]));
    assert_eq!(gate.get("/readyz?link=1").await.status, 200);
    gate.becomes(|status| {
        let link = &status.relay[0];
        let failed = Shown { actor: ChildState::Failed, state: Word::Actor(ChildState::Failed), ..link.clone() };
        status.relay = vec![failed];
    });
    let named = || async {
        gate.get("/readyz").await.json()["issues"] == json!(["profile work: failed", "link relay: failed"])
    };
    gate.until("the link to be named", named).await;
    assert_eq!((gate.get("/readyz").await.status, gate.get("/readyz?link=0").await.status), (200, 200));
    let answer = gate.get("/readyz?link=1").await;
    assert_eq!(answer.error(), (503, "not_ready".into()));
    assert_eq!(answer.json()["detail"], "no link is connected");
    assert_eq!(gate.get("/readyz?link=yes").await.error(), (400, "bad_request".into()));
    gate.becomes(|status| {
        status.secrets.truncate(1);
        status.actors.children[2].children.truncate(1);
    });
    gate.until("nothing to be wrong", || async { gate.get("/readyz").await.json()["readiness"] == "ready" }).await;
    gate.stop().await;
}

#[actix_web::test]
async fn status_is_full_on_loopback_and_a_summary_for_unknown_clients() {
    let gate = Gate::start().await;
    let full = gate.get("/api/status").await.json();
    for field in ["drain", "relay", "honcho", "turns", "ledger", "actors", "secrets", "process"] {
        assert!(full.get(field).is_some(), "{field}");
    }
    let remote = || gate.request(Method::GET, "/api/status").insert_header(("x-forwarded-for", "203.0.113.9"));
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
    gate.stop().await;
}

#[actix_web::test]
async fn status_follows_a_keeper_that_forgot_its_listeners() {
    let gate = Gate::start().await;
    gate.forget_listeners();
    gate.becomes(|status| status.active_agents = 7);
    gate.until("the new status", || async { gate.get("/api/status").await.json()["active_agents"] == 7 }).await;
    gate.stop().await;
}

#[actix_web::test]
async fn actors_and_metrics_require_a_token_from_unknown_clients() {
    let gate = Gate::start().await;
    let tree = gate.get("/api/actors").await.json();
    assert_eq!(tree["children"][2]["children"][1]["path"], "profiles/work");
    for path in ["/api/actors", "/metrics"] {
        let remote = || gate.request(Method::GET, path).insert_header(("forwarded", "for=203.0.113.9"));
        assert_eq!(TestAnswer::of(remote(), "").await.error(), (401, "unauthenticated".into()), "{path}");
        assert_eq!(TestAnswer::of(remote().bearer_auth(SECRET), "").await.status, 200, "{path}");
    }
    gate.stop().await;
}

#[actix_web::test]
async fn metrics_count_everything_and_name_nothing_from_outside() {
    let gate = Gate::start().await;
    let answer = gate.get("/metrics").await;
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
    gate.stop().await;
}

#[actix_web::test]
async fn the_page_holds_no_data_and_only_its_own_script_may_run() {
    let gate = Gate::with(Setting { faults: true, ..Setting::default() }).await;
    let page = gate.get("/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(text.contains("data-faults=\"yes\""));
    assert!(!text.contains("OPENAI_API_KEY") && !text.contains("0.1.0"));
    let afar = gate.request(Method::GET, "/").insert_header(("x-forwarded-for", "203.0.113.9"));
    assert!(String::from_utf8(TestAnswer::of(afar, "").await.body.to_vec()).unwrap().contains("data-faults=\"no\""));
    let icon = gate.get("/favicon.ico").await;
    assert_eq!((icon.status, icon.body.len()), (204, 0));
    gate.stop().await;
}

#[actix_web::test]
async fn actors_that_are_gone_are_503_with_a_time_to_try_again() {
    let gate = Gate::start().await;
    gate.lose_actors();
    gate.until("the loss to be noticed", || async { gate.get("/api/status").await.status == 503 }).await;
    for path in ["/api/status", "/api/actors", "/metrics", "/readyz"] {
        let answer = gate.get(path).await;
        assert_eq!(answer.error(), (503, "actor_unavailable".into()), "{path}");
        assert!(answer.header("retry-after").is_some(), "{path}");
    }
    let turn = "019ab000-0000-7000-8000-000000000000";
    for path in ["/api/gateway/drain", "/api/actors/drain/restart", &format!("/api/turns/{turn}/stop")] {
        let answer = gate.post(path, "").await;
        assert_eq!(answer.error(), (503, "actor_unavailable".into()), "{path}");
        assert!(answer.header("retry-after").is_some(), "{path}");
    }
    gate.stop().await;
}
