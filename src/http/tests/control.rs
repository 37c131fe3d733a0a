//! Routes that change state.

use actix_web::http::Method;

use super::sample::snapshot;
use super::support::{SECRET, Setting, TestAnswer, TestServer};

#[actix_web::test]
async fn the_answers_to_a_drain_have_the_form_of_the_original() {
    let server = TestServer::start().await;
    let begun = server.post("/api/gateway/drain", r#"{"action":" Drain ","suppress_notification":true}"#).await;
    let expected = serde_json::json!({"ok": true, "action": "drain", "requested_at": "2026-11-22T03:00:00Z",
        "draining": true, "suppress_notification": true, "active_agents": 2});
    assert_eq!((begun.status, begun.json()), (200, expected));
    assert!(server.received.has(&["BeginDrain", "\"drain-control\"", "suppress_notification: true", "profile: None"]));
    assert_eq!(server.post("/api/gateway/drain", "").await.json()["suppress_notification"], false);

    let ended = server.post("/api/gateway/drain", r#"{"action":"cancel"}"#).await;
    let expected = serde_json::json!({"ok": true, "action": "cancel", "was_draining": true});
    assert_eq!((ended.status, ended.json()), (200, expected));
    assert!(server.received.has(&["CancelDrain", "\"drain-control\""]));
    server.stop().await;
}

#[actix_web::test]
async fn a_drain_of_one_profile_names_it_and_reports_when_it_is_not_durable() {
    let server = TestServer::start().await;
    let body = r#"{"profile":" WORK ","deadline_s":60,"turn_id":"019ab000-0000-7000-8000-000000000000"}"#;
    let begun = server.post("/api/gateway/drain", body).await;
    assert_eq!((begun.status, &begun.json()["durable"]), (200, &false.into()));
    assert!(server.received.has(&["BeginDrain", "work", "deadline: Some(60s)", "019ab000"]));
    server.stop().await;
}

#[actix_web::test]
async fn an_invalid_drain_request_is_refused_and_no_message_is_sent() {
    let server = TestServer::start().await;
    let cases = [
        ("{", 400, "invalid_json"),
        ("[]", 400, "not_an_object"),
        ("\"drain\"", 400, "not_an_object"),
        (r#"{"action":"stop"}"#, 400, "unknown_action"),
        (r#"{"suppress_notification":"false"}"#, 400, "wrong_field"),
        (r#"{"profile":"default"}"#, 400, "profile_is_gateway"),
        (r#"{"profile":"unserved"}"#, 404, "unknown_profile"),
        (r#"{"turn_id":"x"}"#, 400, "wrong_field"),
    ];
    for (body, status, code) in cases {
        assert_eq!(server.post("/api/gateway/drain", body).await.error(), (status, code.into()), "{body}");
    }
    let large = format!("{{\"action\":\"drain\",\"x\":\"{}\"}}", "x".repeat(16 * 1024));
    assert_eq!(server.post("/api/gateway/drain", &large).await.error(), (413, "body_too_large".into()));
    assert!(server.received.no_command());
    server.stop().await;
}

#[actix_web::test]
async fn a_failed_cancel_reports_that_the_drain_continues_without_the_cause() {
    let server = TestServer::start().await;
    let stuck = server.post("/api/gateway/drain", r#"{"action":"cancel","profile":"stuck"}"#).await;
    assert_eq!(stuck.error(), (500, "marker_not_removed".into()));
    assert!(!String::from_utf8(stuck.body.to_vec()).unwrap().contains("EROFS"));
    let late = server.post("/api/gateway/drain", r#"{"action":"cancel","profile":"work"}"#).await;
    assert_eq!(late.error(), (409, "stopping".into()));
    server.stop().await;
}

#[actix_web::test]
async fn a_client_can_wait_for_the_end_of_the_turns_without_polling() {
    let server = TestServer::start().await;
    let progress = |path: &str| TestAnswer::of(server.request(Method::GET, path).bearer_auth(SECRET), "");
    let now = progress("/api/gateway/drain").await.json();
    let expected = serde_json::json!({"draining": false, "active_agents": 2, "drained": false, "oldest_turn_s": 71.5});
    assert_eq!(now, expected);
    let drained = progress("/api/gateway/drain?wait=2.5").await.json();
    assert_eq!((&drained["drained"], &drained["oldest_turn_s"]), (&true.into(), &serde_json::Value::Null));
    assert!(server.received.has(&["AwaitDrained", "2.5s"]));
    progress("/api/gateway/drain?wait=9999").await;
    assert!(server.received.has(&["AwaitDrained", "300s"]));
    assert_eq!(progress("/api/gateway/drain?wait=soon").await.error(), (400, "bad_request".into()));
    server.stop().await;
}

#[actix_web::test]
async fn actors_are_addressed_by_their_path() {
    let server = TestServer::start().await;
    assert_eq!(server.post("/api/actors/profiles/work/restart", "").await.status, 200);
    assert!(server.received.has(&["Operate", "\"profiles/work\"", "Restart"]));
    assert_eq!(server.post("/api/actors/relays/reset", "").await.status, 200);
    assert!(server.received.has(&["Operate", "\"relays\"", "Reset"]));
    assert_eq!(server.post("/api/actors/missing/restart", "").await.error(), (404, "no_such_actor".into()));
    server.stop().await;
}

#[actix_web::test]
async fn a_turn_is_stopped_by_its_id() {
    let server = TestServer::start().await;
    let known = snapshot();
    let turn = known.drain.turns[0].turn_id;
    server.set_status(|status| *status = known);
    let stopped = server.post(&format!("/api/turns/{turn}/stop"), "").await;
    assert_eq!((stopped.status, &stopped.json()["turn_id"]), (200, &turn.to_string().into()));
    let unknown = "/api/turns/019ab000-0000-7000-8000-000000000000/stop";
    assert_eq!(server.post(unknown, "").await.error(), (404, "unknown_turn".into()));
    assert_eq!(server.post("/api/turns/x/stop", "").await.error(), (400, "bad_request".into()));
    server.stop().await;
}

#[actix_web::test]
async fn faults_are_injected_only_if_allowed() {
    let strict = TestServer::start().await;
    assert_eq!(strict.post("/api/actors/drain/fault", "{}").await.error(), (404, "not_found".into()));
    strict.stop().await;

    let server = TestServer::with(Setting { faults: true, ..Setting::default() }).await;
    let afar =
        server.request(Method::POST, "/api/actors/drain/fault").insert_header(("x-forwarded-for", "203.0.113.9"));
    assert_eq!(TestAnswer::of(afar, "{}").await.error(), (403, "loopback_only".into()));
    assert!(server.received.no_command());
    assert_eq!(server.post("/api/actors/relays/relay/fault", "").await.status, 200);
    assert!(server.received.has(&["InjectFault", "\"relays/relay\"", "PanicInTimer"]));
    let hang = r#"{"fault":"hang_thread","seconds":7}"#;
    assert_eq!(server.post("/api/actors/drain/fault", hang).await.status, 200);
    assert!(server.received.has(&["InjectFault", "HangThread(7s)"]));
    let bad = server.post("/api/actors/drain/fault", r#"{"fault":"explode"}"#).await;
    assert_eq!(bad.error(), (400, "wrong_field".into()));
    assert_eq!(server.post("/api/actors/down/fault", "").await.error(), (409, "actor_not_running".into()));
    server.stop().await;
}
