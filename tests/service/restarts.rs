//! Restarts of the process over HTTP, and what an unauthenticated client can read.

use serde_json::{Value, json};

use crate::support::{Process, SOON, get, post, wait_for};
use crate::world::{World, get_with};

#[actix_web::test]
async fn a_restart_waits_for_the_turns_and_exits_with_the_code_for_a_restart() {
    let mut world = World::start().await;
    world.push("long", "sleep 2", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    let (code, answer) = post(&world.url("/api/gateway/restart"), &json!({})).await;
    assert_eq!((code, &answer["ok"], &answer["active_agents"]), (202, &json!(true), &json!(1)));
    let ready = wait_for("readiness to end", SOON, || async { (world.ready().await == 503).then_some(()) });
    ready.await;
    let (code, again) = post(&world.url("/api/gateway/restart"), &json!({})).await;
    assert_eq!((code, &again["error"]), (409, &json!("stopping")));
    let mut gateway = world.gateway.take().expect("the gateway runs");
    assert_eq!(gateway.wait_for_exit().code(), Some(75));
    world.answer("long").await;
}

#[actix_web::test]
async fn a_forced_restart_waits_for_no_turn_and_ends_a_drain() {
    let mut world = World::start().await;
    world.push("long", "sleep 600", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    world.drain(json!({})).await;
    assert!(world.path(".drain_request.json").exists());
    let (code, _) = post(&world.url("/api/gateway/restart"), &json!({"force": true})).await;
    assert_eq!(code, 202);
    let mut gateway = world.gateway.take().expect("the gateway runs");
    assert_eq!(gateway.wait_for_exit().code(), Some(75));
    assert!(gateway.log().contains("answer=Ok(Acknowledged)"), "the connector acknowledged `going_idle`");
    assert!(!world.path(".drain_request.json").exists(), "the drain is over");
    world.serve().await;
    assert_eq!(world.ready().await, 200);
}

#[actix_web::test]
async fn a_waiting_restart_can_be_forced_and_does_not_change_a_drain_before() {
    let mut world = World::start().await;
    world.push("long", "sleep 600", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    world.drain(json!({})).await;
    assert_eq!(post(&world.url("/api/gateway/restart"), &json!({})).await.0, 202);
    wait_for("readiness to end", SOON, || async { (world.ready().await == 503).then_some(()) }).await;
    assert!(world.path(".drain_request.json").exists());
    assert_eq!(post(&world.url("/api/gateway/restart"), &json!({"force": true})).await.0, 202);
    assert_eq!(world.gateway.take().expect("the gateway runs").wait_for_exit().code(), Some(75));
}

#[actix_web::test]
async fn a_signal_during_a_restart_makes_it_a_shutdown_that_still_waits_for_turns() {
    let mut world = World::start().await;
    world.push("long", "sleep 3", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    assert_eq!(post(&world.url("/api/gateway/restart"), &json!({})).await.0, 202);
    wait_for("readiness to end", SOON, || async { (world.ready().await == 503).then_some(()) }).await;
    world.gateway().signal("TERM");
    assert_eq!(world.gateway.take().expect("the gateway runs").wait_for_exit().code(), Some(0));
    world.answer("long").await;
    let record = std::fs::read(world.path("gateway_state.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!((&record["gateway_state"], &record["restart_requested"]), (&json!("stopped"), &json!(false)));
}

#[actix_web::test]
async fn every_route_answers_as_soon_as_the_first_line_is_printed() {
    for _ in 0..5 {
        let home = tempfile::tempdir().unwrap();
        let gateway = Process::start(&["serve", "--home", &home.path().display().to_string(), "--bind", "127.0.0.1:0"]);
        for path in ["/api/status", "/metrics", "/api/actors", "/readyz"] {
            let (code, body) = get(&format!("{}{path}", gateway.url)).await;
            assert_eq!(code, 200, "{path}: {body}");
        }
    }
}

/// Values that must not be in any answer.
const SECRETS: [&str; 3] =
    ["sk-planted-0123456789abcdef", "Wq3rT8yU1iO5pA7sD2fG9hJ4kL6zX0cV-bN_mQwErTy", "work-planted-fedcba9876543210"];

#[actix_web::test]
async fn an_unauthenticated_client_gets_counts_and_names_and_no_answer_holds_a_secret() {
    let mut world = World::prepare().await;
    let env = std::fs::read_to_string(world.path(".env")).unwrap();
    world.write(".env", &format!("{env}OPENAI_API_KEY={}\nHERMES_DASHBOARD_DRAIN_SECRET={}\n", SECRETS[0], SECRETS[1]));
    world.profile("work", &format!("WORK_API_KEY={}\n", SECRETS[2]));
    world.serve().await;
    world.push("m1", &format!("my key is {}", SECRETS[0]), "secret-chat", None).await;
    world.push("m2", "sleep 600", "secret-chat", Some("work")).await;
    world.until("a turn of work", |status| status["active_agents"] == 1).await;
    world.answer("m1").await;

    let (code, outline) = get_with(&world.url("/api/status"), &[("x-forwarded-for", "203.0.113.9")]).await;
    assert_eq!(code, 200);
    let fields: Vec<&str> = outline.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "version",
        "gateway_running",
        "gateway_state",
        "gateway_updated_at",
        "gateway_platforms",
        "active_agents",
        "gateway_busy",
        "gateway_drainable",
        "restart_drain_timeout",
        "active_sessions",
        "profiles",
        "readiness",
    ];
    assert_eq!(fields, expected);
    assert_eq!(outline["profiles"], json!(["default", "work"]));
    let platforms = outline["gateway_platforms"].as_object().unwrap();
    assert!(!platforms.is_empty());
    for platform in platforms.values() {
        assert_eq!(platform.as_object().unwrap().keys().collect::<Vec<_>>(), ["state", "updated_at"]);
    }
    let home = world.home().display().to_string();
    for inside in ["secret-chat", "discord:", "agent:", "API_KEY", &home, "127.0.0.1"] {
        assert!(!outline.to_string().contains(inside), "an unauthenticated client gets {inside}");
    }
    // The scan finds the values where they are: the session in the full status, the keys in their file.
    assert!(world.status().await.to_string().contains("secret-chat"));
    assert!(std::fs::read_to_string(world.path(".env")).unwrap().contains(SECRETS[0]));
    for path in ["/api/status", "/api/actors", "/metrics", "/", "/openapi.json", "/readyz"] {
        let text = text(&world.url(path)).await;
        for secret in SECRETS.iter().chain([&env.rsplit_once("SECRET=").unwrap().1.lines().next().unwrap()]) {
            assert!(!text.contains(secret), "{path} holds a secret");
        }
        assert!(path != "/metrics" || !text.contains("secret-chat"), "a label comes from outside");
    }
}

async fn text(url: &str) -> String {
    let mut answer = crate::support::client().get(url).send().await.unwrap();
    let body = answer.body().limit(64 * 1024 * 1024).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(!text.is_empty(), "{url}: {}", Value::from(answer.status().as_u16()));
    text
}
