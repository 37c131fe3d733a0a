//! Markers on file systems that are full, read-only or without file events.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Process, SOON, as_unprivileged_user, binary, wait_for};
use crate::world::World;

/// The user id of `as_unprivileged_user`.
const UNPRIVILEGED_UID: u32 = 65534;

#[actix_web::test]
async fn a_drain_whose_marker_cannot_be_written_still_begins() {
    let mut world = World::prepare().await;
    serve_as_unprivileged_user(&mut world).await;
    writable(&world, false);

    let (code, begun) = world.drain(json!({"action": "drain"})).await;
    assert_eq!((code, &begun["durable"], &begun["draining"]), (200, &json!(false), &json!(true)), "{begun}");
    assert_eq!(world.ready().await, 503);
    world.push("refused", "hello?", "c1", None).await;
    world.until_frame("maintenance").await;
    let (code, cancelled) = world.drain(json!({"action": "cancel"})).await;
    assert_eq!((code, &cancelled["was_draining"]), (200, &json!(true)), "no marker has to be removed: {cancelled}");

    writable(&world, true);
    let (_, begun) = world.drain(json!({"action": "drain"})).await;
    assert!(begun.get("durable").is_none(), "{begun}");
    writable(&world, false);
    let (code, failed) = world.drain(json!({"action": "cancel"})).await;
    assert_eq!((code, &failed["error"]), (500, &json!("marker_not_removed")), "{failed}");
    assert_eq!(world.ready().await, 503, "still draining");
    writable(&world, true);
    assert_eq!(world.drain(json!({"action": "cancel"})).await.0, 200);
    assert_eq!(world.ready().await, 200);
    world.push("next", "hello again", "c1", None).await;
    world.answer("next").await;
}

#[actix_web::test]
async fn a_drain_begins_although_the_disk_is_full() {
    let mut world = World::prepare().await;
    world.profile("work", "");
    let own = world.path("profiles/work").display().to_string();
    let home = world.home().display().to_string();
    // The profile's home is a separate disk of one page, which its `.env` fills.
    let script = "mount -t tmpfs -o size=4k none \"$1\" && echo ROOM=none > \"$1/.env\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", &own]).arg(binary().get_program());
    command.args(["serve", "--home", &home, "--bind", "127.0.0.1:0", "--insecure-loopback-drain"]);
    world.gateway = Some(Process::spawn(&mut command));
    world.until("the link to be up", |status| status["relay"][0]["state"] == "connected").await;

    let (code, begun) = world.drain(json!({"profile": "work"})).await;
    assert_eq!((code, &begun["durable"]), (200, &json!(false)), "{begun}");
    world.push("refused", "hello?", "c1", Some("work")).await;
    world.until_frame("maintenance").await;
    world.push("others", "hello", "c2", None).await;
    world.answer("others").await;
    let (code, cancelled) = world.drain(json!({"action": "cancel", "profile": "work"})).await;
    assert_eq!((code, &cancelled["was_draining"]), (200, &json!(true)), "{cancelled}");
    assert_eq!(world.account().await["events"]["refused"]["answered"], 0);
}

#[actix_web::test]
async fn a_deadline_ends_a_drain_whose_marker_cannot_be_written() {
    let mut world = World::prepare().await;
    serve_as_unprivileged_user(&mut world).await;
    writable(&world, false);
    let (code, begun) = world.drain(json!({"deadline_s": 1})).await;
    assert_eq!((code, &begun["durable"]), (200, &json!(false)), "{begun}");
    world.until("the end of the drain", |status| status["gateway_state"] == "running").await;
    wait_for("the reason in the log", SOON, || async {
        let log = world.gateway().log();
        log.lines().any(|line| line.contains("drain.ended") && line.contains("deadline")).then_some(())
    })
    .await;
    writable(&world, true);
}

#[actix_web::test]
async fn without_file_events_the_poll_finds_the_marker_and_status_log_and_doctor_report_it() {
    let mut world = World::prepare().await;
    let home = world.home().display().to_string();
    // In a separate user namespace no watcher can be made.
    let eventless = |arguments: &[&str]| {
        let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]).arg(binary().get_program());
        command.args(arguments);
        command
    };
    let serve = ["serve", "--home", &home, "--bind", "127.0.0.1:0", "--insecure-loopback-drain"];
    world.gateway = Some(Process::spawn(&mut eventless(&serve)));
    let status = world.until("the link to be up", |status| status["relay"][0]["state"] == "connected").await;
    assert_eq!(status["drain"]["file_events"], false, "{status}");
    assert!(world.gateway().log().contains("files are polled"), "{}", world.gateway().log());

    let marker = world.path(".drain_request.json");
    fs::write(&marker, "").unwrap();
    world.until("a drain", |status| status["gateway_state"] == "draining").await;
    fs::remove_file(&marker).unwrap();
    world.until("no drain", |status| status["gateway_state"] == "running").await;

    let doctor = eventless(&["doctor", "--json", "--home", &home]).output().unwrap();
    let report: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().any(|found| found["code"] == "file_events" && found["level"] == "warn"), "{report}");
}

#[actix_web::test]
async fn with_file_events_the_status_reports_them() {
    let world = World::start().await;
    assert_eq!(world.status().await["drain"]["file_events"], true);
}

/// Starts a gateway to which permission bits apply, in a home that its user owns.
pub(crate) async fn serve_as_unprivileged_user(world: &mut World) {
    if rustix::process::geteuid().is_root() {
        give_away(world.home());
    }
    let home = world.home().display().to_string();
    let arguments = ["serve", "--home", &home, "--bind", "127.0.0.1:0", "--insecure-loopback-drain"];
    world.gateway = Some(as_unprivileged_user(|command| Process::spawn(command.args(arguments))));
    world.until("the link to be up", |status| status["relay"][0]["state"] == "connected").await;
}

/// Makes everything below `path` the property of the other user.
fn give_away(path: &Path) {
    chown(path, Some(UNPRIVILEGED_UID), Some(UNPRIVILEGED_UID)).unwrap();
    for entry in fs::read_dir(path).into_iter().flatten() {
        give_away(&entry.unwrap().path());
    }
}

/// Sets whether files can be made and removed in the home.
fn writable(world: &World, yes: bool) {
    let mode = if yes { 0o700 } else { 0o500 };
    fs::set_permissions(world.home(), fs::Permissions::from_mode(mode)).unwrap();
}
