//! `drain`, `status` and `stop` on the command line.

use std::fs;
use std::process::Command;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::command::{caduceus, on};
use crate::support::{SOON, binary, wait_for};
use crate::world::World;

/// The right token, and a wrong one of the same form.
const TOKEN: &str = "q7Lw-Zr3t_YbN0aXcVkDmE5uHsJf2PgRi8To4WlQy6B";
const OTHER: &str = "q7Lw-Zr3t_YbN0aXcVkDmE5uHsJf2PgRi8To4WlQy6C";

/// A world whose gateway has a token.
async fn guarded() -> World {
    let mut world = World::prepare().await;
    world.variable("HERMES_DASHBOARD_DRAIN_SECRET", TOKEN);
    world.serve().await;
    world
}

async fn state(world: &World, state: &str) -> Value {
    world.until(state, |status| status["gateway_state"] == state).await
}

#[actix_web::test]
async fn a_token_from_environment_or_file_drains_over_http_and_is_not_shown() {
    let world = guarded().await;
    let home = world.home().to_str().unwrap();
    let token = [("HERMES_DASHBOARD_DRAIN_SECRET", TOKEN)];
    caduceus(&["drain", "begin", "--home", home], &token).with(0).contains_text("the drain has begun, turns left: 0");
    assert_eq!(state(&world, "draining").await["drain"]["principal"], "drain-control");
    caduceus(&["drain", "status", "--url", &world.gateway().url], &token)
        .with(0)
        .contains_text("drained, turns left: 0");

    let file = world.path("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let by_file = ["drain", "cancel", "--home", home, "--token-file", file.to_str().unwrap()];
    caduceus(&by_file, &[]).with(0).contains_text("the drain is cancelled");
    state(&world, "running").await;

    let refused = caduceus(&["drain", "begin", "--home", home], &[("HERMES_DASHBOARD_DRAIN_SECRET", OTHER)]).with(77);
    assert!(!format!("{refused:?}").contains(OTHER), "{refused:?}");
    assert!(!world.path(".drain_request.json").exists(), "a wrong token does not lead to a marker");
    caduceus(&["drain", "begin", "--url", &world.gateway().url], &[]).with(77);
    fs::write(&file, "").unwrap();
    caduceus(&by_file, &[]).with(78).contains_text("it is empty");
}

#[actix_web::test]
async fn without_a_token_the_marker_drains() {
    let world = guarded().await;
    on(world.home(), &["drain", "begin", "--deadline", "3600"]).with(0).contains_text("the marker is written");
    let status = state(&world, "draining").await;
    assert_eq!(status["drain"]["principal"], "cli");
    on(world.home(), &["drain", "wait"]).with(0).contains_text("drained, turns left: 0");
    on(world.home(), &["drain", "cancel"]).with(0).contains_text("the drain is cancelled");
    on(world.home(), &["drain", "cancel"]).with(0).contains_text("there was no drain");
    state(&world, "running").await;
}

#[actix_web::test]
async fn without_a_running_gateway_a_drain_leaves_a_marker_and_other_commands_fail() {
    let home = tempfile::tempdir().unwrap();
    let token = [("HERMES_DASHBOARD_DRAIN_SECRET", TOKEN)];
    let place = ["--home", home.path().to_str().unwrap()];
    caduceus(&[&["drain", "begin"], &place[..]].concat(), &token)
        .with(0)
        .contains_text("a gateway that starts here will drain");
    assert!(home.path().join(".drain_request.json").exists());
    on(home.path(), &["drain", "wait"]).with(0).contains_text("drained");
    on(home.path(), &["drain", "cancel"]).with(0);
    on(home.path(), &["drain", "wait"]).with(1).contains_text("there is no drain to wait for");
    on(home.path(), &["status"]).with(69);
    on(home.path(), &["stop"]).with(0).contains_text("no gateway holds the home");
    let unused = "http://127.0.0.1:1";
    caduceus(&["status", "--url", unused], &[]).with(69);
    caduceus(&["drain", "begin", "--url", unused], &token).with(69);
    caduceus(&["status", "--home", "/nowhere/at/all"], &[]).with(78);
    caduceus(&["status", "--url", "http://me:secret@127.0.0.1"], &[]).with(78);
}

#[actix_web::test]
async fn a_wait_shows_the_remaining_turns_and_ends_with_the_last_one() {
    let world = guarded().await;
    world.push("long", "sleep 3", "c1", None).await;
    world.until("a turn", |status| status["active_agents"] == 1).await;
    on(world.home(), &["drain", "wait"]).with(1).contains_text("not draining, turns left: 1");
    on(world.home(), &["drain", "begin"]).with(0);
    state(&world, "draining").await;
    on(world.home(), &["drain", "wait", "--timeout", "0.1"]).with(1).contains_text("time limit reached");
    let home = world.home().to_str().unwrap();
    let waited = caduceus(&["drain", "wait", "--home", home], &[("HERMES_DASHBOARD_DRAIN_SECRET", TOKEN)]).with(0);
    let lines: Vec<_> = waited.output.lines().collect();
    assert!(lines[0].starts_with("draining, turns left: 1, the oldest runs for "), "{waited:?}");
    assert_eq!(*lines.last().unwrap(), "drained, turns left: 0");
    assert_eq!(world.agent_account(None).len(), 1);
}

#[actix_web::test]
async fn a_wait_inside_a_turn_does_not_wait_for_that_turn() {
    let world = guarded().await;
    world.push("long", "sleep 600", "c1", None).await;
    let status = world.until("a turn", |status| status["active_agents"] == 1).await;
    let turn = status["drain"]["turns"][0]["turn_id"].as_str().unwrap();
    on(world.home(), &["drain", "begin"]).with(0);
    state(&world, "draining").await;
    let home = world.home().to_str().unwrap();
    caduceus(&["drain", "wait", "--timeout", "0.1", "--home", home], &[]).with(1);
    caduceus(&["drain", "wait", "--home", home], &[("CADUCEUS_TURN_ID", turn)]).with(0).contains_text("turns left: 0");
}

#[actix_web::test]
async fn one_profile_is_drained_alone() {
    let mut world = World::prepare().await;
    world.profile("work", "");
    world.variable("HERMES_DASHBOARD_DRAIN_SECRET", TOKEN);
    world.serve().await;
    on(world.home(), &["drain", "begin", "--profile", "work"]).with(0);
    world.until("a drained profile", |status| status["drain"]["profiles"] == json!(["work"])).await;
    assert_eq!(world.status().await["gateway_state"], "running");
    on(world.home(), &["drain", "wait", "--profile", "work"]).with(0);
    on(world.home(), &["drain", "wait"]).with(1);
    let home = world.home().to_str().unwrap();
    let token = [("HERMES_DASHBOARD_DRAIN_SECRET", TOKEN)];
    caduceus(&["drain", "cancel", "--profile", "work", "--home", home], &token).with(0).contains_text("is cancelled");
    on(world.home(), &["drain", "begin", "--profile", "unknown"]).with(1);
    caduceus(&["drain", "begin", "--profile", "unknown", "--home", home], &token)
        .with(1)
        .contains_text("unknown_profile");
    on(world.home(), &["drain", "begin", "--profile", "default"]).with(1);
}

#[actix_web::test]
async fn the_longest_possible_wait_is_accepted() {
    let world = World::start().await;
    on(world.home(), &["drain", "wait", "--timeout", "1e19"]).with(1).contains_text("there is no drain to wait for");
}

#[actix_web::test]
async fn the_status_is_shown_in_short_form_in_full_and_again_at_each_change() {
    let world = World::start().await;
    on(world.home(), &["status"]).with(0).contains_text("platform discord: connected");
    let full = on(world.home(), &["status", "--json"]).with(0);
    let full: Value = serde_json::from_str(&full.output).unwrap();
    assert_eq!((&full["gateway_state"], &full["process"]["pid"]), (&json!("running"), &json!(world.gateway().id())));

    let mut watch = binary();
    watch.args(["status", "--watch", "--home"]).arg(world.home()).stdout(std::process::Stdio::piped());
    let mut watch = watch.spawn().unwrap();
    let (sender, lines) = mpsc::channel();
    let output = watch.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let until = |words: &str| while !lines.recv_timeout(SOON).expect(words).starts_with(words) {};
    until("running since");
    world.drain(json!({"action": "drain"})).await;
    until("draining since");
    world.drain(json!({"action": "cancel"})).await;
    until("running since");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[actix_web::test]
async fn a_stop_waits_for_the_turn_and_a_forced_one_does_not() {
    let mut world = World::start().await;
    world.push("long", "sleep 2", "c1", None).await;
    world.until("a turn", |status| status["active_agents"] == 1).await;
    on(world.home(), &["stop"]).with(0).contains_text("stopped");
    assert!(world.gateway.take().unwrap().wait_for_exit().success());
    world.answer("long").await;

    world.serve().await;
    world.push("endless", "sleep 600", "c1", None).await;
    world.until("a turn", |status| status["active_agents"] == 1).await;
    on(world.home(), &["stop", "--timeout", "1"]).with(75).contains_text("still stopping");
    on(world.home(), &["stop", "--force"]).with(0).contains_text("stopped");
    assert!(world.gateway.take().unwrap().wait_for_exit().success());
}

#[actix_web::test]
async fn a_stop_signals_no_process_other_than_the_gateway() {
    let world = World::start().await;
    let mut bystander = Command::new("sleep").arg("600").spawn().unwrap();
    // As after a kill of the gateway: its process id is reused, and a third process holds the lock.
    for name in ["gateway.lock", "gateway.pid"] {
        let mut record: Value = serde_json::from_slice(&fs::read(world.path(name)).unwrap()).unwrap();
        record["pid"] = json!(bystander.id());
        // Written in place, because the lock is on the file.
        fs::write(world.path(name), record.to_string()).unwrap();
    }
    on(world.home(), &["stop", "--force"]).with(75).contains_text("has not recorded its process");
    assert!(bystander.try_wait().unwrap().is_none(), "the other process still runs");
    assert_eq!(world.ready().await, 200);
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[actix_web::test]
async fn a_token_is_not_sent_to_another_process_on_the_recorded_address() {
    let mut world = guarded().await;
    let address = world.gateway().authority().to_owned();
    let record = world.path("gateway_state.json");
    let recorded = || async { std::fs::read_to_string(&record).ok().filter(|recorded| recorded.contains(&address)) };
    let recorded = wait_for("the address in the record", SOON, recorded).await;
    world.kill_gateway();
    // Another process would get the port of the gateway; here the record gets the port of another process, which is certain.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::fs::write(&record, recorded.replace(&address, &other.local_addr().unwrap().to_string())).unwrap();
    let home = world.home().to_str().unwrap().to_owned();
    let begun = caduceus(&["drain", "begin", "--home", &home], &[("HERMES_DASHBOARD_DRAIN_SECRET", TOKEN)]);
    begun.with(0).contains_text("the marker is written");
    other.set_nonblocking(true).unwrap();
    assert!(other.accept().is_err(), "no connection to the old address");
    wait_for("the marker", SOON, || async { world.path(".drain_request.json").exists().then_some(()) }).await;
}
