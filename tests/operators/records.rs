//! `gateway_state.json` from start to end of a gateway, and the exit codes.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::command::{caduceus, on};
use crate::support::{SOON, client, post, wait_for};
use crate::world::World;

fn record(home: &Path) -> Value {
    let bytes = fs::read(home.join("gateway_state.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn home(configuration: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("caduceus.yaml"), configuration).unwrap();
    home
}

#[actix_web::test]
async fn the_record_follows_state_and_turns_and_holds_no_secret() {
    const SECRET: &str = "Canary9x-relay-secret-0123456789abcdef";
    let mut world = World::prepare().await;
    let relay = fs::read_to_string(world.path(".env")).unwrap();
    world.write(".env", &format!("{relay}OPENAI_API_KEY={SECRET}\n"));
    world.variable("HERMES_DASHBOARD_DRAIN_SECRET", SECRET);
    world.serve().await;
    world.push("long", "sleep 600", "c1", None).await;
    let home = world.home().to_owned();
    let until = |what: &'static str, key: &'static str, value: Value| {
        let home = home.clone();
        async move {
            wait_for(&format!("a record with {what}"), SOON, || async {
                let record = record(&home);
                (record[key] == value).then_some(record)
            })
            .await
        }
    };
    let running = until("a turn", "active_agents", json!(1)).await;
    assert_eq!(running["gateway_state"], "running");
    assert_eq!(running["http"], world.gateway().url.as_str());
    assert_eq!(running["hermes_home"], world.home().canonicalize().unwrap().to_str().unwrap());
    let mode = fs::metadata(world.path("gateway_state.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::write(world.path(".drain_request.json"), "").unwrap();
    until("a drain", "gateway_state", json!("draining")).await;
    world.gateway().signal("TERM");
    until("the shutdown", "gateway_state", json!("stopping")).await;
    world.gateway().signal("TERM");
    assert!(world.gateway.take().unwrap().wait_for_exit().success());
    let stopped = record(world.home());
    assert_eq!((&stopped["gateway_state"], &stopped["exit_reason"]), (&json!("stopped"), &Value::Null));
    for name in ["gateway_state.json", "gateway.lock"] {
        assert!(!fs::read_to_string(world.path(name)).unwrap().contains("Canary9x"), "{name}");
    }
    assert!(!world.path("gateway.pid").exists());
}

#[actix_web::test]
async fn the_drain_secret_is_in_no_log_for_any_request_that_carries_it() {
    const SECRET: &str = "Canary9x-drain-secret_0123456789abcdefghijklmnopqrstuvwxyzABCD";
    let mut world = World::prepare().await;
    world.variable("HERMES_DASHBOARD_DRAIN_SECRET", SECRET);
    world.variable("RUST_LOG", "trace");
    world.serve().await;
    let url = format!("{}/api/actors/{SECRET}/restart", world.gateway().url);
    let answer = client().post(url).insert_header(("Authorization", "Bearer another")).timeout(SOON).send().await;
    assert_eq!(answer.unwrap().status(), 401);
    let decided = wait_for("the decision in its log", SOON, || async {
        fs::read_to_string(world.path("logs/dashboard-auth.log")).ok().filter(|text| text.contains("/restart"))
    })
    .await;
    assert!(decided.contains("/api/actors/[redacted:HERMES_DASHBOARD_DRAIN_SECRET]/restart"), "{decided}");
    assert!(!decided.contains("Canary9x") && !world.gateway().log().contains("Canary9x"));
}

#[test]
fn a_failed_start_is_in_the_record_and_has_its_exit_code() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = home("");
    on(home.path(), &["serve", "--bind", &address]).with(75);
    let failed = record(home.path());
    assert_eq!(failed["gateway_state"], "startup_failed");
    assert!(failed["exit_reason"].as_str().unwrap().contains(&address), "{failed}");
    assert!(!home.path().join("gateway.pid").exists());

    fs::remove_file(home.path().join("gateway_state.json")).unwrap();
    fs::write(home.path().join("caduceus.yaml"), "nonsense: 1\n").unwrap();
    on(home.path(), &["serve"]).with(78);
    assert!(!home.path().join("gateway_state.json").exists(), "before the lock nothing is written");
}

#[actix_web::test]
async fn a_refused_gateway_does_not_change_the_record_of_the_running_one() {
    let mut world = World::prepare().await;
    world.serve_unlinked();
    world.until("a start", |status| status["gateway_state"] == "running").await;
    let pid = json!(world.gateway().id());
    on(world.home(), &["serve", "--bind", "127.0.0.1:0"]).with(69);
    assert_eq!(record(world.home())["pid"], pid);
    let written = fs::read_to_string(world.path("gateway.pid")).unwrap();
    assert!(written.contains(&format!("\"pid\":{pid},")), "{written}");
}

#[actix_web::test]
async fn an_exceeded_restart_intensity_is_the_reason_in_the_record() {
    let mut world = World::prepare().await;
    world.configure("supervision:\n  policies:\n    status:\n      max_restarts: 0\n");
    world.serve_unlinked();
    world.until("a start", |status| status["gateway_state"] == "running").await;
    world.fault("status", json!({"kind": "panic"})).await;
    let ended = world.gateway.take().unwrap().wait_for_exit();
    assert_eq!(ended.code(), Some(70));
    let last = record(world.home());
    assert_eq!(last["gateway_state"], "stopped");
    assert!(last["exit_reason"].as_str().unwrap().starts_with("status exceeded its restart intensity"), "{last}");
    let status = on(world.home(), &["status"]).with(69);
    assert!(status.error.contains("status exceeded"), "{status:?}");
}

#[actix_web::test]
async fn a_requested_restart_is_in_the_record_until_the_next_gateway_starts() {
    let mut world = World::start().await;
    assert_eq!(post(&world.url("/api/gateway/restart"), &json!({})).await.0, 202);
    assert_eq!(world.gateway.take().unwrap().wait_for_exit().code(), Some(75));
    let last = record(world.home());
    assert_eq!((&last["gateway_state"], &last["restart_requested"]), (&json!("stopped"), &json!(true)));
    world.serve().await;
    on(world.home(), &["stop"]).with(0);
    assert_eq!(record(world.home())["restart_requested"], false);
}

#[actix_web::test]
async fn a_record_that_cannot_be_written_does_not_affect_the_service() {
    let mut world = World::prepare().await;
    fs::create_dir(world.path("gateway_state.json")).unwrap();
    world.serve().await;
    world.push("m1", "hello", "c1", None).await;
    world.answer("m1").await;
    let warned = world.gateway().log().matches("state of the gateway not written").count();
    assert_eq!(warned, 1, "it is logged once");
    // Its address is unknown, but its process id is known.
    on(world.home(), &["status"]).with(75);
    on(world.home(), &["stop"]).with(0);
    assert!(world.gateway.take().unwrap().wait_for_exit().success());
}

#[test]
fn under_the_name_hermes_gateway_the_binary_serves_without_a_subcommand() {
    let home = home("nonsense: 1\n");
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("hermes-gateway");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_caduceus"), &link).unwrap();
    let run = |arguments: &[&str]| crate::command::run_to_end(std::process::Command::new(&link).args(arguments));
    run(&["--home", home.path().to_str().unwrap()]).with(78).contains_text("nonsense");
    run(&["status", "--home", home.path().to_str().unwrap()]).with(69);
    run(&["--help"]).with(0).contains_text("serve");
    caduceus(&["--home", home.path().to_str().unwrap()], &[]).with(2);
}
