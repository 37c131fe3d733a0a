//! The original's own functions on the files of Caduceus, and Caduceus on the files of the original.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::command::{on, run_to_end};
use crate::support::original::{PINNED, original_python};
use crate::support::{Process, SOON, binary, wait_for};
use crate::world::World;

/// Importing the original takes seconds on a busy machine.
const CEILING: Duration = Duration::from_mins(2);

/// The script that calls the original's functions, killed when dropped.
struct Original {
    child: Child,
    orders: ChildStdin,
    answers: Receiver<String>,
}

impl Original {
    fn of(home: &Path) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/original/files.py");
        let mut child = Command::new(original_python())
            .arg(script)
            .env("HOME", home)
            .env("HERMES_HOME", home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script starts");
        let output = child.stdout.take().unwrap();
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut original = Self { orders: child.stdin.take().unwrap(), child, answers };
        assert_eq!(original.run("version")["version"], PINNED);
        original
    }

    fn run(&mut self, order: &str) -> Value {
        writeln!(self.orders, "{order}").expect("the script reads");
        let line = self.answers.recv_timeout(CEILING).unwrap_or_else(|_| panic!("no answer to {order:?}"));
        println!("original: {order}: {line}");
        serde_json::from_str(&line).expect("the script answers in JSON")
    }

    /// Repeats `state` until its answer satisfies `is`.
    async fn until(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Value::Null;
        wait_for(&format!("the original to see {what}"), SOON, || {
            seen = self.run("state");
            let found = is(&seen).then(|| seen.clone());
            async { found }
        })
        .await
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary under the name that the original's tools search for on the command line.
fn link(folder: &Path) -> PathBuf {
    let link = folder.join("hermes-gateway");
    std::os::unix::fs::symlink(binary().get_program(), &link).unwrap();
    link
}

/// Starts the gateway of `world` under that name, and without the argument `serve`.
fn serve_as_hermes_gateway(world: &mut World, link: &Path) {
    let home = world.home().to_str().unwrap();
    let arguments = ["--home", home, "--bind", "127.0.0.1:0", "--insecure-loopback-drain"];
    world.gateway = Some(Process::start_binary(link, &arguments));
}

#[actix_web::test]
async fn the_originals_tools_read_the_state_of_our_gateway_from_start_to_end() {
    let (mut world, folder) = (World::prepare().await, tempfile::tempdir().unwrap());
    world.profile("work", "");
    let mut original = Original::of(world.home());
    let before = original.run("state");
    assert_eq!((&before["running"], &before["record"]), (&json!(false), &Value::Null));

    serve_as_hermes_gateway(&mut world, &link(folder.path()));
    world.until("a link", |status| status["relay"][0]["state"] == "connected").await;
    let pid = json!(world.gateway().id());
    // The link may be up before the gateway.
    let idle = original
        .until("a running gateway with a link", |seen| {
            let record = &seen["record"];
            record["platforms"]["discord"]["state"] == "connected" && record["gateway_state"] == "running"
        })
        .await;
    assert_eq!((&idle["pid"], &idle["pid_by_record"], &idle["running"]), (&pid, &pid, &json!(true)));
    assert_eq!((&idle["lock_active"], &idle["stamp_is_aware"]), (&json!(true), &json!(true)));
    assert_eq!((&idle["busy"], &idle["drainable"]), (&json!(false), &json!(true)));
    assert_eq!(idle["record"]["served_profiles"], json!(["default", "work"]));
    assert_eq!(idle["record"]["http"], world.gateway().url.as_str());

    world.push("long", "sleep 600", "c1", None).await;
    let busy = original.until("a turn", |seen| seen["record"]["active_agents"] == 1).await;
    assert_eq!((&busy["busy"], &busy["drainable"]), (&json!(true), &json!(true)));
    assert_eq!(original.run("hold"), json!({"held": false}), "one gateway for each home");
    assert_eq!(original.run("state")["pid"], pid, "the attempt has changed nothing");

    on(world.home(), &["drain", "begin"]).with(0);
    let draining = original.until("a drain", |seen| seen["record"]["gateway_state"] == "draining").await;
    assert_eq!((&draining["busy"], &draining["drainable"]), (&json!(false), &json!(false)));

    on(world.home(), &["stop", "--force"]).with(0);
    let after = original.run("state");
    assert_eq!((&after["running"], &after["lock_active"]), (&json!(false), &json!(false)));
    let record = &after["record"];
    assert_eq!((&record["gateway_state"], &record["active_agents"]), (&json!("stopped"), &json!(0)), "{record}");
    assert_eq!(record["platforms"]["discord"]["state"], "disconnected");
}

#[actix_web::test]
async fn a_drain_begun_by_one_side_is_visible_to_and_cancellable_by_the_other() {
    let world = World::start().await;
    let mut original = Original::of(world.home());
    let marker = original.run("drain");
    let status = world.until("a drain", |status| status["gateway_state"] == "draining").await;
    assert_eq!(status["drain"]["principal"], "the-original");
    assert_eq!(status["drain"]["requested_at"], marker["requested_at"]);
    on(world.home(), &["drain", "cancel"]).with(0).contains_text("the drain is cancelled");
    assert_eq!(original.run("state")["draining"], false);
    world.until("no drain", |status| status["gateway_state"] == "running").await;

    on(world.home(), &["drain", "begin", "--suppress-notification"]).with(0);
    let seen = original.run("state");
    assert_eq!((&seen["draining"], &seen["suppressed"]), (&json!(true), &json!(true)));
    assert_eq!((&seen["marker"]["principal"], &seen["marker"]["epoch"]), (&json!("cli"), &seen["epoch"]));
    world.until("a drain", |status| status["gateway_state"] == "draining").await;
    assert_eq!(original.run("cancel"), json!({"was_draining": true}));
    world.until("no drain", |status| status["gateway_state"] == "running").await;

    let (code, _) = world.drain(json!({"action": "drain"})).await;
    assert_eq!(code, 200);
    let seen = original.run("state");
    assert_eq!((&seen["draining"], &seen["suppressed"]), (&json!(true), &json!(false)));
}

#[actix_web::test]
async fn files_left_by_a_crash_of_either_do_not_block_the_next_start() {
    let (mut world, folder) = (World::prepare().await, tempfile::tempdir().unwrap());
    let link = link(folder.path());
    serve_as_hermes_gateway(&mut world, &link);
    let mut original = Original::of(world.home());
    original.until("the address", |seen| seen["record"]["http"].is_string()).await;
    world.kill_gateway();
    assert!(world.path("gateway.pid").exists() && world.path("gateway_state.json").exists());
    let seen = original.run("state");
    assert_eq!((&seen["pid"], &seen["lock_active"], &seen["running"]), (&Value::Null, &json!(false), &json!(false)));

    let held = original.run("hold");
    assert_eq!(held["held"], true);
    let refused = run_to_end(Command::new(&link).args(["--home", world.home().to_str().unwrap()]));
    refused.with(69).contains_text("another gateway holds the home");
    on(world.home(), &["status"]).with(75).contains_text("publishes no address");
    original.run("release");
    assert!(world.path("gateway.pid").exists(), "as after a crash of the original");
    on(world.home(), &["status"]).with(69).contains_text("ended in state running");

    serve_as_hermes_gateway(&mut world, &link);
    let pid = json!(world.gateway().id());
    assert_eq!(original.run("state")["pid"], pid);
    let record = fs::read(world.path("gateway.pid")).unwrap();
    assert_eq!(record, fs::read(world.path("gateway.lock")).unwrap());
}

#[actix_web::test]
async fn a_gateway_under_another_name_restores_its_files_after_the_originals_tools_remove_them() {
    let mut world = World::prepare().await;
    world.serve_unlinked();
    let mut original = Original::of(world.home());
    // They do not recognize its command line, and remove its files as those of an ended gateway.
    assert_eq!(original.run("state")["pid"], Value::Null);
    wait_for("the lock to be back", SOON, || async { world.path("gateway.pid").exists().then_some(()) }).await;
    on(world.home(), &["status"]).with(0);
    on(world.home(), &["stop"]).with(0).contains_text("stopped");
    assert!(world.gateway.take().unwrap().wait_for_exit().success());
}

#[actix_web::test]
async fn the_originals_gateway_takes_the_home_of_a_gateway_under_another_name() {
    let mut world = World::prepare().await;
    world.serve_unlinked();
    let mut original = Original::of(world.home());
    // A known limit: the original removes the lock and takes a new one at once. The manual says to start Caduceus as hermes-gateway.
    assert_eq!(original.run("hold")["held"], true);
    wait_for("the loss of the lock in the log", SOON, || async {
        world.gateway().log().contains("cannot be locked again").then_some(())
    })
    .await;
}

#[actix_web::test]
async fn caduceus_stop_ends_the_originals_gateway_by_its_own_records() {
    let home = tempfile::tempdir().unwrap();
    let mut original = Original::of(home.path());
    let held = original.run("hold");
    assert_eq!(held["pid"], original.child.id());
    // The process is not reaped meanwhile, so it is a zombie: the command must still find that it has ended.
    on(home.path(), &["stop"]).with(0).contains_text("stopped");
    assert!(!original.child.wait().unwrap().success(), "it was ended by a signal");
}
