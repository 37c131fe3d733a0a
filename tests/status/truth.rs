//! The status of parts that are down, and the counts that outlive them.

use std::fs;

use serde_json::{Value, json};

use crate::command::{CommandOutput, on};
use crate::support::{SOON, client, get, post, wait_for};
use crate::world::World;

/// An actor fails at its second panic.
const FAILS_AT_SECOND_PANIC: &str = "supervision:
  wedge_after_ms: 4000
  policies:
    relay: {max_restarts: 1, window_s: 600, backoff_floor_ms: 0, backoff_ceiling_ms: 0}
    profile: {max_restarts: 1, window_s: 600, backoff_floor_ms: 0, backoff_ceiling_ms: 0}
";

pub(crate) fn node(status: &Value, path: &str) -> Option<Value> {
    let mut found = &status["actors"];
    for id in path.split('/') {
        found = found["children"].as_array()?.iter().find(|child| child["id"] == id)?;
    }
    Some(found.clone())
}

/// Injects a fault into an actor and waits until the status shows it.
pub(crate) async fn inject(world: &World, path: &str, fault: Value) {
    let before = node(&world.status().await, path).unwrap()["generation"].as_u64().unwrap();
    let (code, answer) = world.fault(path, fault).await;
    assert_eq!(code, 200, "{answer}");
    let moved = |status: &Value| {
        node(status, path).is_some_and(|node| node["generation"].as_u64() > Some(before) || node["state"] != "running")
    };
    world.until(&format!("the fault of {path}"), moved).await;
}

/// Injects faults into an actor until it has failed.
async fn fail_actor(world: &World, path: &str) -> Value {
    loop {
        let settled = |status: &Value| {
            node(status, path).is_some_and(|node| node["state"] == "running" || node["state"] == "failed")
        };
        let status = world.until(&format!("{path} running or failed"), settled).await;
        if node(&status, path).unwrap()["state"] == "failed" {
            break;
        }
        inject(world, path, json!({"fault": "panic_in_timer"})).await;
    }
    world.until(&format!("{path} failed"), |status| node(status, path).unwrap()["state"] == "failed").await
}

async fn world() -> World {
    let mut world = World::prepare().await;
    world.profile("work", "");
    world.write("caduceus.yaml", &format!("agent: {{backend: echo}}\n{FAILS_AT_SECOND_PANIC}"));
    world.serve().await;
    world
}

fn check(world: &World) -> CommandOutput {
    on(world.home(), &["status", "--check"])
}

async fn metrics(world: &World) -> String {
    let mut answer = client().get(world.url("/metrics")).send().await.unwrap();
    String::from_utf8(answer.body().limit(1 << 24).await.unwrap().to_vec()).unwrap()
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}

#[actix_web::test]
async fn a_failed_link_is_shown_as_failed_everywhere_and_a_reset_restarts_it() {
    let world = world().await;
    world.until("full readiness", |status| status["readiness"] == "ready").await;
    check(&world).with(0);
    world.push("m1", "hello", "c1", None).await;
    world.answer("m1").await;
    let before = world.until("the answer", |status| status["relay"][0]["frames"]["outbound_result"] == 1).await;
    fail_actor(&world, "relays/relay").await;

    let failed = |status: &Value| status["relay"][0]["state"] == "failed" && status["readiness"] == "degraded";
    let status = world.until("the failed link", failed).await;
    let link = &status["relay"][0];
    assert_eq!((&link["actor"], &link["waiting"], &link["next_dial_ms"]), (&json!("failed"), &json!(0), &json!(null)));
    let platforms = &status["gateway_platforms"];
    for platform in ["discord", "telegram"] {
        let shown = &platforms[platform];
        assert_eq!((&shown["state"], &shown["error_code"]), (&json!("fatal"), &json!("relay_failed")), "{platforms}");
        assert!(shown["error_message"].as_str().unwrap().starts_with("panic"), "{shown}");
    }
    assert_eq!(status["not_ready"], json!(null), "turns are still admitted");
    let issue = &status["issues"][0];
    assert_eq!((&issue["part"], &issue["name"], &issue["state"]), (&json!("link"), &json!("relay"), &json!("failed")));
    assert_eq!(link["frames"]["inbound"], before["relay"][0]["frames"]["inbound"], "the counts are kept");

    // Ages still increase.
    let age = |status: &Value| status["relay"][0]["last_inbound_age_ms"].as_u64().unwrap();
    let later =
        |now: &Value| age(now) > age(&status) && now["relay"][0]["stale_ms"].as_u64() > link["stale_ms"].as_u64();
    world.until("an older frame", later).await;

    let (code, ready) = get(&world.url("/readyz")).await;
    let expected = json!({"ready": true, "readiness": "degraded", "issues": ["link relay: failed"]});
    assert_eq!((code, ready), (200, expected));
    let (code, ready) = get(&world.url("/readyz?link=1")).await;
    assert_eq!((code, &ready["detail"]), (503, &json!("no link is connected")));
    let text = metrics(&world).await;
    for line in ["caduceus_relay_links{state=\"failed\"} 1", "caduceus_ready 1", "caduceus_parts_degraded 1"] {
        assert!(has(&text, line), "{line} is not in\n{text}");
    }
    let shown_by_command =
        check(&world).with(1).contains_text("running, degraded").contains_text("link relay: failed: panic");
    assert!(shown_by_command.output.contains("platform discord: fatal (panic"), "{shown_by_command:?}");
    on(world.home(), &["status"]).with(0).contains_text("link relay: failed");
    let record = || {
        std::fs::read(world.path("gateway_state.json"))
            .ok()
            .and_then(|text| serde_json::from_slice::<Value>(&text).ok())
    };
    wait_for("the record to follow", SOON, || async {
        record().filter(|record| record["platforms"]["discord"]["state"] == "fatal")
    })
    .await;

    let (code, answer) = post(&world.url("/api/actors/relays/relay/reset"), &json!({})).await;
    assert_eq!(code, 200, "{answer}");
    let well = world.until("the connected link", |status| status["relay"][0]["state"] == "connected").await;
    assert_eq!(well["relay"][0]["stale_ms"], json!(null));
    assert!(
        well["relay"][0]["frames"]["hello"].as_u64() > before["relay"][0]["frames"]["hello"].as_u64(),
        "the counts continue"
    );
    world.until("full readiness", |status| status["readiness"] == "ready").await;
    check(&world).with(0);
}

#[actix_web::test]
async fn a_failed_profile_degrades_readiness_and_without_any_profile_it_is_not_ready() {
    let world = world().await;
    fail_actor(&world, "profiles/work").await;
    let shown = |status: &Value, name: &str| {
        let profiles = status["secrets"].as_array().unwrap();
        profiles.iter().find(|profile| profile["name"] == name).unwrap().clone()
    };
    let status = world.until("the failed profile", |status| shown(status, "work")["state"] == "failed").await;
    assert_eq!(shown(&status, "default")["state"], "ready");
    assert_eq!((&status["readiness"], &status["not_ready"]), (&json!("degraded"), &json!(null)));
    check(&world).with(1).contains_text("profile work: failed");
    assert!(has(&metrics(&world).await, "caduceus_profiles_by_state{state=\"failed\"} 1"));
    assert_eq!(world.ready().await, 200);

    fail_actor(&world, "profiles/default").await;
    let status = world.until("no profile", |status| status["readiness"] == "not_ready").await;
    assert_eq!(status["not_ready"], "no profile is served");
    let (code, ready) = get(&world.url("/readyz")).await;
    assert_eq!((code, &ready["detail"]), (503, &json!("no profile is served")));
    check(&world).with(3).contains_text("running, not ready");
    assert!(has(&metrics(&world).await, "caduceus_ready 0"));
}

#[actix_web::test]
async fn counts_survive_the_restart_of_the_actors_that_count() {
    let mut world = World::prepare().await;
    world.profile("work", "");
    world.serve().await;
    for (id, profile) in [("m1", None), ("m2", Some("work"))] {
        world.push(id, "hello", id, profile).await;
        world.answer(id).await;
    }
    post(&format!("{}/dev/faults", world.connector.url), &json!({"duplicate": true})).await;
    world.push("m3", "hello again", "m3", None).await;
    world.answer("m3").await;
    world.push("m4", "hello", "m4", Some("unknown")).await;
    let counted = |status: &Value| {
        let turns = &status["turns"];
        let started: Vec<_> =
            status["secrets"].as_array().unwrap().iter().map(|p| p["children_started"].clone()).collect();
        json!([
            turns["done"],
            turns["refused"],
            turns["duplicates"],
            turns["recent_turns"].as_array().unwrap().len(),
            started
        ])
    };
    // The connector sends everything twice: the repeats of two messages are in the ledger already.
    let expected = json!([3, 1, 2, 3, [2, 1]]);
    world.until("all counts", |status| counted(status) == expected).await;
    for path in ["dispatch", "profiles/default", "profiles/work", "relays/relay", "status", "honcho"] {
        inject(&world, path, json!({"fault": "panic_in_timer"})).await;
        let up = |status: &Value| node(status, path).is_some_and(|node| node["state"] == "running");
        world.until(&format!("{path} restarted"), up).await;
        let status = world.until("the same counts", |status| counted(status) == expected).await;
        assert!(status["relay"][0]["frames"]["inbound"].as_u64() >= Some(4), "{}", status["relay"]);
    }
    let text = metrics(&world).await;
    for line in [
        "caduceus_turns_ended_total{outcome=\"done\"} 3",
        "caduceus_events_refused_total 1",
        "caduceus_events_duplicate_total 2",
        "caduceus_agents_started_total 3",
    ] {
        assert!(has(&text, line), "{line} is not in\n{text}");
    }
    // The removal of a profile does not reduce the totals.
    let restarts =
        text.lines().find(|line| line.starts_with("caduceus_actor_restarts_total{actor=\"profiles\"}")).unwrap();
    std::fs::remove_dir_all(world.path("profiles/work")).unwrap();
    world.until("one profile", |status| status["secrets"].as_array().unwrap().len() == 1).await;
    let later = wait_for("the actor to be gone", SOON, || async {
        let status = world.status().await;
        node(&status, "profiles/work").is_none().then_some(())
    });
    later.await;
    let text = metrics(&world).await;
    assert!(has(&text, "caduceus_agents_started_total 3") && has(&text, restarts), "{restarts} in\n{text}");
}

#[actix_web::test]
async fn an_actor_that_hangs_is_shown_as_stale() {
    let world = world().await;
    for (path, ready) in [("honcho", "degraded"), ("dispatch", "not_ready")] {
        world.until("full readiness", |status| status["readiness"] == "ready").await;
        let (code, answer) = world.fault(path, json!({"fault": "hang_actor"})).await;
        assert_eq!(code, 200, "{answer}");
        let hangs = |status: &Value| status["stale"][path].is_u64() && status["readiness"] == ready;
        let status = world.until(&format!("{path} shown as stale"), hangs).await;
        let issues = status["issues"].as_array().unwrap();
        let named = issues.iter().any(|issue| issue["name"] == path && issue["state"] != "running");
        assert!(named, "{issues:?}");
        assert_eq!(world.ready().await, if ready == "degraded" { 200 } else { 503 });
        // The next incarnation answers.
        world.until(&format!("{path} answering"), |status| status["stale"][path].is_null()).await;
    }
    world.until("full readiness", |status| status["readiness"] == "ready").await;
}

#[actix_web::test]
async fn the_status_command_names_a_broken_file_and_a_link_that_is_down() {
    let world = world().await;
    world.until("full readiness", |status| status["readiness"] == "ready").await;
    let good = std::fs::read_to_string(world.path("caduceus.yaml")).unwrap();
    world.write("caduceus.yaml", "agent: [\n");
    world.until("degraded readiness", |status| status["readiness"] == "degraded").await;
    check(&world).with(1).contains_text("configuration: wrong").contains_text("caduceus.yaml");
    world.write("caduceus.yaml", &good);
    world.until("full readiness", |status| status["readiness"] == "ready").await;

    post(&format!("{}/dev/faults", world.connector.url), &json!({"refuse": {"status": 503}})).await;
    post(&format!("{}/dev/faults", world.connector.url), &json!({"refuse": {"status": 503}, "drop": true})).await;
    let down = |status: &Value| status["relay"][0]["state"] == "waiting" && status["readiness"] == "degraded";
    world.until("the disconnected link", down).await;
    check(&world).with(1).contains_text("link relay: ").contains_text("platform discord: connecting");
    assert_eq!(world.ready().await, 200);

    let (code, _) = world.drain(json!({})).await;
    assert_eq!(code, 200);
    world.until("a drain", |status| status["gateway_state"] == "draining").await;
    check(&world).with(3).contains_text("draining since");
    let (code, ready) = get(&world.url("/readyz")).await;
    assert_eq!((code, &ready["detail"]), (503, &json!("draining")));

    let mut world = world;
    world.stop_gateway();
    check(&world).with(69);
    // There is a gateway, and it does not answer.
    world.serve_unlinked();
    world.gateway().signal("STOP");
    let ended = on(world.home(), &["status", "--check"]);
    world.gateway().signal("CONT");
    ended.with(75);
}

#[actix_web::test]
async fn one_platform_on_two_links_has_the_worse_state_of_both() {
    for (profile, process_refused) in [("aaa", false), ("zzz", false), ("mmm", true)] {
        let mut world = World::prepare().await;
        let env = world.link_env("own").await;
        world.profile(profile, &env);
        world.serve_unlinked();
        let links = |status: &Value| {
            let links = status["relay"].as_array().unwrap().clone();
            let mut states: Vec<_> = links.iter().map(|link| link["state"].as_str().unwrap().to_owned()).collect();
            states.sort();
            states
        };
        world.until("both links connected", |status| links(status) == ["connected", "connected"]).await;
        let bad = if process_refused { "world" } else { "own" };
        let refused = json!({"gatewayId": bad, "refuse": {"code": 4401, "reason": "no"}, "drop": true});
        post(&format!("{}/dev/faults", world.connector.url), &refused).await;
        let status =
            world.until("one link connected and one revoked", |status| links(status) == ["connected", "revoked"]).await;
        let platform = &status["gateway_platforms"]["discord"];
        assert_eq!(
            (&platform["state"], &platform["error_code"]),
            (&json!("fatal"), &json!("relay_disabled")),
            "{profile}"
        );
        assert_eq!(status["readiness"], "degraded");
    }
}

#[actix_web::test]
async fn a_damaged_ledger_makes_the_gateway_degraded_until_a_start_without_damage() {
    let mut world = World::start().await;
    world.push("before", "hello", "c1", None).await;
    world.answer("before").await;
    assert!(world.stop_gateway().success());
    let ledger = world.path("caduceus/ledger.db");
    let mut bytes = fs::read(&ledger).unwrap();
    // How SQLite writes the file.
    bytes[18] ^= 0x80;
    fs::write(&ledger, bytes).unwrap();
    world.serve().await;
    let is_named = |status: &Value| {
        let issues = status["issues"].as_array().unwrap();
        issues.iter().any(|issue| issue["name"] == "ledger" && issue.to_string().contains("first page"))
    };
    let status = world.until("the damage", is_named).await;
    assert_eq!((&status["readiness"], world.ready().await), (&json!("degraded"), 200), "{status}");
    world.push("after", "hello", "c1", None).await;
    world.answer("after").await;
    assert!(world.stop_gateway().success());
    world.serve().await;
    assert!(!is_named(&world.status().await));
}
