//! Mistakes of operators before and around a running gateway: each ends in a clear message and a code that lets a service
//! manager decide whether to try again, or in a gateway that serves what it can.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use caduceus_actors::files::LockFile;
use serde_json::json;

use crate::support::{Process, SOON, as_unprivileged_user, get, post, reserved_port, wait_for};
use crate::world::{World, run, run_command};

/// Exit codes, as in the service manager's configuration.
const HELD: Option<i32> = Some(69);
const TEMPORARY_FAILURE: Option<i32> = Some(75);
const CONFIGURATION: Option<i32> = Some(78);

/// Longer than any first message, shorter than a backtrace.
const SHORT: usize = 1_000;

/// Runs `serve` on a home to its end; asserts that there is one clear message.
fn refused(home: &Path) -> (Option<i32>, String) {
    clear(run(&["serve", "--home", &home.display().to_string(), "--bind", "127.0.0.1:0"]))
}

fn clear((code, message): (Option<i32>, String)) -> (Option<i32>, String) {
    assert!(message.contains("caduceus: "), "{message}");
    assert!(!message.contains("panicked") && message.len() < SHORT, "{message}");
    (code, message)
}

/// A home with these files.
fn home(files: &[(&str, &str)]) -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a temporary home");
    for (name, text) in files {
        fs::write(home.path().join(name), text).expect("the file is written");
    }
    home
}

/// As [`refused`], by a user to which permission bits apply: the current one, or the user `nobody` if that is root.
fn refused_as_unprivileged_user(home: &Path) -> (Option<i32>, String) {
    as_unprivileged_user(|command| {
        clear(run_command(command.args(["serve", "--bind", "127.0.0.1:0", "--home"]).arg(home)))
    })
}

#[test]
fn a_missing_home_is_named() {
    let (code, message) = refused(Path::new("/nowhere/at/all"));
    assert_eq!(code, CONFIGURATION, "{message}");
    assert!(message.contains("/nowhere/at/all does not exist") && message.contains("--home"), "{message}");
}

#[test]
fn a_home_that_is_a_file_is_named() {
    let around = home(&[("home", "")]);
    let (code, message) = refused(&around.path().join("home"));
    assert_eq!(code, CONFIGURATION, "{message}");
    assert!(message.contains("/home cannot be used") && message.contains("ot a directory"), "{message}");
}

#[test]
fn a_home_that_cannot_be_read_is_named() {
    let home = home(&[]);
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o000)).unwrap();
    let (code, message) = refused_as_unprivileged_user(home.path());
    assert_eq!(code, CONFIGURATION, "{message}");
    assert!(message.contains("cannot be used") && message.contains("ermission denied"), "{message}");
}

#[test]
fn a_home_that_cannot_be_written_is_named() {
    let home = home(&[]);
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let (code, message) = refused_as_unprivileged_user(home.path());
    assert_eq!(code, CONFIGURATION, "{message}");
    assert!(message.contains("cannot lock") && message.contains("ermission denied"), "{message}");
}

#[test]
fn broken_yaml_is_reported_by_line_and_not_shown() {
    for file in ["caduceus.yaml", "config.yaml"] {
        let home = home(&[(file, "turns:\n  interrupted: ask\nagent: [hunter2-secret\nnext: }\n")]);
        let (code, message) = refused(home.path());
        assert_eq!(code, CONFIGURATION, "{message}");
        assert!(message.contains(file) && message.contains("line 4"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn every_unknown_key_is_named_with_the_nearest_known_one() {
    let home = home(&[("caduceus.yaml", "turns:\n  interupted: ask\nsesions:\n  busy: queue\n")]);
    let (code, message) = refused(home.path());
    assert_eq!(code, CONFIGURATION, "{message}");
    assert!(message.contains("turns.interupted: is not a known key; did you mean turns.interrupted?"), "{message}");
    assert!(message.contains("sesions: is not a known key; did you mean sessions?"), "{message}");
}

#[test]
fn a_port_in_use_is_a_temporary_failure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = home(&[]);
    let arguments = ["serve", "--home", &home.path().display().to_string(), "--bind", &address];
    let (code, message) = clear(run(&arguments));
    assert_eq!(code, TEMPORARY_FAILURE, "{message}");
    assert!(message.contains(&address) && message.contains("in use"), "{message}");
}

#[actix_web::test]
async fn a_second_gateway_on_a_home_is_refused_without_effect_on_the_first() {
    let world = World::start().await;
    let (code, message) = refused(world.home());
    assert_eq!(code, HELD, "{message}");
    assert!(message.contains("another gateway holds the home"), "{message}");
    world.push("after", "hello", "c1", None).await;
    world.answer("after").await;
}

#[test]
fn a_start_while_another_process_has_the_ledger_is_a_temporary_failure() {
    let home = home(&[]);
    let directory = home.path().join("caduceus");
    fs::create_dir(&directory).unwrap();
    let lock = LockFile::new(fs::File::create(directory.join("ledger.db.lock")).unwrap());
    lock.try_lock().unwrap();
    let (code, message) = refused(home.path());
    assert_eq!(code, TEMPORARY_FAILURE, "{message}");
    assert!(message.contains("ledger.db is in use by another process"), "{message}");
}

#[actix_web::test]
async fn without_a_connector_the_gateway_serves_and_redials() {
    let mut world = World::prepare().await;
    // A connector that has registered the gateway and is stopped for now.
    let data = world.path("connector.json").display().to_string();
    let address = format!("127.0.0.1:{}", reserved_port());
    let mut former = Process::start(&["connector", "--bind", &address, "--data", &data]);
    let (_, credentials) = post(&format!("{}/dev/gateways", former.url), &json!({"gatewayId": "late"})).await;
    let secret = credentials["secret"].as_str().expect("a secret");
    former.signal("TERM");
    former.wait_for_exit();
    let env =
        format!("GATEWAY_RELAY_URL=http://{address}/relay\nGATEWAY_RELAY_ID=late\nGATEWAY_RELAY_SECRET={secret}\n");
    world.write(".env", &format!("{env}GATEWAY_RELAY_PLATFORMS=discord\n"));
    world.serve_unlinked();

    wait_for("readiness", SOON, || async { (world.ready().await == 200).then_some(()) }).await;
    let status = world.until("a failed dial", |status| !status["relay"][0]["last_error"].is_null()).await;
    assert_ne!(status["relay"][0]["state"], "connected", "{}", status["relay"]);
    assert_eq!(status["gateway_state"], "running");

    world.connector = Process::start(&["connector", "--bind", &address, "--data", &data]);
    world.until("the link to be up", |status| status["relay"][0]["state"] == "connected").await;
    world.push("late", "hello", "c1", None).await;
    world.answer("late").await;
}

#[actix_web::test]
async fn a_missing_agent_fails_its_turns_with_a_notice_and_degrades_its_profile_alone() {
    let mut world = World::prepare().await;
    world.profile("broken", "KEY=value\n");
    world.write("profiles/broken/caduceus.yaml", "agent:\n  backend: exec\n  command: [/no/such/agent]\n");
    world.serve().await;

    world.push("to-broken", "hello?", "c-broken", Some("broken")).await;
    let notice = world.until_frame("The agent cannot be run.").await;
    assert!(notice.contains("c-broken") && !notice.contains("/no/such"), "{notice}");
    let status = world.until("a degraded profile", |status| status["secrets"][1]["state"] == "degraded").await;
    let broken = &status["secrets"][1];
    assert!(broken["name"] == "broken" && broken["troubles"].to_string().contains("/no/such/agent"), "{broken}");
    assert_eq!(status["secrets"][0]["state"], "ready", "the other profile is not affected");
    assert_eq!(world.ready().await, 200);
    world.push("to-default", "hello", "c-default", None).await;
    world.answer("to-default").await;
    assert_eq!(world.account().await["events"]["to-broken"]["acked"], 1);
}

#[test]
fn a_corrupt_ledger_is_renamed_unchanged_and_the_next_start_has_a_new_one() {
    let corrupt = "this is no database, but it may be all that is left of one";
    let home = home(&[("caduceus.db", corrupt)]);
    let (code, message) = refused(home.path());
    assert_eq!(code, CONFIGURATION, "{message}");
    let entries = fs::read_dir(home.path()).unwrap().flatten();
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let is_ledger = |name: &&String| name.starts_with("caduceus.db.damaged-") && !name.ends_with("-synced");
    let aside = names.iter().find(is_ledger).expect("the ledger was renamed");
    assert!(message.contains("is corrupt and was set aside") && message.contains(aside), "{message}");
    assert_eq!(fs::read_to_string(home.path().join(aside)).unwrap(), corrupt);

    let next = Process::start(&["serve", "--home", &home.path().display().to_string(), "--bind", "127.0.0.1:0"]);
    assert!(next.url.starts_with("http://"));
    assert_eq!(fs::read_to_string(home.path().join(aside)).unwrap(), corrupt);
}

#[test]
fn a_ledger_of_a_newer_build_is_not_changed() {
    let home = home(&[]);
    fs::create_dir(home.path().join("caduceus")).unwrap();
    let path = home.path().join("caduceus/ledger.db");
    let ledger = rusqlite::Connection::open(&path).unwrap();
    ledger.execute_batch("CREATE TABLE inbound (id INTEGER); PRAGMA user_version = 99;").unwrap();
    drop(ledger);
    let before = fs::read(&path).unwrap();
    let (code, message) = refused(home.path());
    assert_eq!(code, CONFIGURATION, "{message}");
    assert!(message.contains("version 99") && message.contains("newer build"), "{message}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[actix_web::test]
async fn a_gateway_serves_from_an_empty_home() {
    let home = home(&[]);
    let gateway = Process::start(&["serve", "--home", &home.path().display().to_string(), "--bind", "127.0.0.1:0"]);
    let (code, ready) = get(&format!("{}/readyz", gateway.url)).await;
    assert_eq!((code, ready), (200, json!({"ready": true, "readiness": "ready", "issues": []})));
}
