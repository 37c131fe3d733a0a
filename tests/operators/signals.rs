//! Signals, and how a gateway ends.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::manager::Manager;
use crate::support::{Process, SOON, binary, wait_for, wait_for_exit};
use crate::world::World;

/// Writes the signals that it ignores, blocks and catches, as the kernel reports them, and its guard; then runs for the given time.
const AGENT: &str = r#"#!/bin/sh
read -r document
cat /proc/self/status > "$HERMES_HOME/signals"
echo "$PPID" > "$HERMES_HOME/guard.new" && mv "$HERMES_HOME/guard.new" "$HERMES_HOME/guard"
case $document in *'"text":"wait'*) while [ ! -e "$HERMES_HOME/go" ]; do sleep 0.05; done ;; *'"text":"stay'*) sleep 600 ;; esac
echo done
"#;

/// Signals that end a process which does not catch them, and that the gateway ignores.
const HARMLESS: [&str; 14] =
    ["USR1", "USR2", "PIPE", "ALRM", "STKFLT", "XCPU", "XFSZ", "VTALRM", "PROF", "POLL", "PWR", "34", "50", "64"];

async fn world() -> World {
    let world = World::prepare().await;
    world.write("agent.sh", AGENT);
    world
}

/// The process id of the guard of the turn that runs.
async fn guard(world: &World) -> String {
    wait_for("the guard's process id", SOON, || async { fs::read_to_string(world.path("guard")).ok() }).await
}

async fn logged(world: &World, words: &str) -> String {
    wait_for(&format!("{words:?} in the log"), SOON, || async {
        let log = world.gateway().log();
        log.lines().find(|line| line.contains(words)).map(str::to_owned)
    })
    .await
}

#[actix_web::test]
async fn ignored_signals_do_not_end_a_gateway_or_the_guard_of_a_turn() {
    let mut world = world().await;
    world.serve().await;
    world.push("m1", "wait", "c1", None).await;
    let guard = guard(&world).await;
    for name in HARMLESS {
        for pid in [&world.gateway().id().to_string(), guard.trim()] {
            let sent = Command::new("kill").args(["-s", name, pid]).status().unwrap();
            assert!(sent.success(), "{name} to {pid}");
        }
    }
    let status = world.status().await;
    assert_eq!((&status["gateway_state"], &status["active_agents"]), (&"running".into(), &1.into()), "{status}");
    world.write("go", "");
    world.answer("m1").await;
    assert!(world.stop_gateway().success());
}

#[actix_web::test]
async fn a_demo_that_is_stopped_while_it_starts_leaves_no_home_behind() {
    let parent = tempfile::tempdir().unwrap();
    let is_empty = || fs::read_dir(parent.path()).unwrap().next().is_none();
    for signal in [Signal::INT, Signal::TERM, Signal::QUIT] {
        let mut command = binary();
        command.arg("demo").env("TMPDIR", parent.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        while is_empty() {
            assert!(begun.elapsed() < SOON, "no temporary home");
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ended = wait_for_exit(&mut child, SOON);
        assert_eq!((ended.code(), is_empty()), (Some(0), true), "{signal:?}: {ended}");
    }
}

#[actix_web::test]
async fn an_agent_starts_with_default_signal_handling_for_every_start_of_the_gateway() {
    let mut world = world().await;
    let home = world.home().display().to_string();
    // As under `nohup`, in the background of a script, or below a parent that ignores SIGCHLD.
    let launcher = "import os, signal, sys\n\
        for n in range(1, 65):\n\
        \x20   if n not in (4, 5, 6, 7, 8, 9, 11, 19, 31, 32, 33): signal.signal(n, signal.SIG_IGN)\n\
        os.execv(sys.argv[1], sys.argv[1:])\n";
    let mut command = Command::new("python3");
    command.args(["-c", launcher]).arg(binary().get_program());
    command.args(["serve", "--home", &home, "--bind", "127.0.0.1:0", "--allow-faults", "--insecure-loopback-drain"]);
    world.gateway = Some(Process::spawn(&mut command));
    world.until("the link to be up", |status| status["relay"][0]["state"] == "connected").await;
    world.push("m1", "hello", "c1", None).await;
    world.answer("m1").await;
    let signals = fs::read_to_string(world.path("signals")).unwrap();
    for field in ["SigIgn", "SigBlk"] {
        let mask = signals.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).unwrap().trim();
        // 32 and 33 are reserved by the C library.
        let own = u64::from_str_radix(mask, 16).unwrap() & !(0b11 << 31);
        assert_eq!(own, 0, "{field} of an agent in {signals}");
    }
    assert!(world.stop_gateway().success());
}

#[actix_web::test]
async fn a_hangup_without_a_terminal_reloads_everything_and_logs_the_changes() {
    let mut world = world().await;
    let mut manager = Manager::of(&mut world);
    world.serve().await;
    manager.receives("READY=1");
    world.push("m1", "wait", "c1", None).await;
    guard(&world).await;
    let env = fs::read_to_string(world.path(".env")).unwrap();
    world.write(".env", &format!("{env}EXTRA_KEY=hunter2-hunter2\n"));
    world.configure("sessions:\n  busy: reject\n");
    manager.clear();
    world.gateway().signal("HUP");
    manager.receives("RELOADING=1");
    manager.receives("MONOTONIC_USEC=");
    manager.receives("READY=1");
    logged(&world, "files reloaded").await;
    assert!(logged(&world, "configuration changed").await.contains("sessions.busy"));
    // The file is read at most twice: once for its file event, once for the signal.
    let log = world.gateway().log();
    let read: Vec<_> = log.lines().filter(|line| line.contains(".env read again")).collect();
    assert!(read.iter().any(|line| line.contains("added=\"EXTRA_KEY\"")), "{read:?}");
    assert!(!log.contains("hunter2"), "no value is logged");
    // The log names the invalid file, and its last valid content applies.
    world.write("caduceus.yaml", "agent: [\n");
    manager.clear();
    world.gateway().signal("HUP");
    manager.receives("READY=1");
    assert!(logged(&world, "a file with errors keeps its last valid content").await.contains("caduceus.yaml"));
    // The turn ran throughout.
    world.write("go", "");
    world.answer("m1").await;
    assert!(world.stop_gateway().success());
}

#[actix_web::test]
async fn a_hangup_of_the_gateways_own_terminal_ends_it_as_sigterm_does() {
    let mut world = world().await;
    let home = world.home().display().to_string();
    // The process itself holds the master end, so that the terminal exists as long as the process.
    let launcher = "import os, sys\n\
        master, slave = os.openpty()\n\
        os.set_inheritable(master, True)\n\
        os.dup2(slave, 0)\n\
        os.execv(sys.argv[1], sys.argv[1:])\n";
    let mut command = Command::new("python3");
    command.args(["-c", launcher]).arg(binary().get_program());
    command.args(["serve", "--home", &home, "--bind", "127.0.0.1:0", "--insecure-loopback-drain"]);
    world.gateway = Some(Process::spawn(&mut command));
    world.until("the link to be up", |status| status["relay"][0]["state"] == "connected").await;
    world.push("m1", "wait", "c1", None).await;
    guard(&world).await;
    world.gateway().signal("HUP");
    world.until("the shutdown", |status| status["gateway_state"] == "stopping").await;
    // A closed terminal sends more than one SIGHUP; the second does not speed up the shutdown.
    world.gateway().signal("HUP");
    logged(&world, "signal ignored: the process is stopping").await;
    world.write("go", "");
    assert!(world.gateway.take().unwrap().wait_for_exit().success());
    assert_eq!(world.account().await["events"]["m1"]["answered"], 1, "the shutdown waited for the turn");
}

#[actix_web::test]
async fn sigquit_is_an_orderly_shutdown_that_waits_for_no_turn() {
    let mut world = world().await;
    world.serve().await;
    world.push("m1", "stay", "c1", None).await;
    guard(&world).await;
    world.gateway().signal("QUIT");
    assert!(world.gateway.take().unwrap().wait_for_exit().success(), "within {SOON:?}, and not after 180 s");
    assert_eq!(state(&world)["gateway_state"], "stopped");
    world.serve().await;
    world.until_frame("A restart interrupted").await;
    assert!(world.stop_gateway().success());
}

#[actix_web::test]
async fn a_connector_ends_on_sigquit_and_runs_on_after_ignored_signals() {
    let mut connector = Process::start(&["connector", "--bind", "127.0.0.1:0"]);
    for name in HARMLESS.iter().chain(&["HUP"]) {
        connector.signal(name);
    }
    let printed = wait_for("the ignored hangup in the log", SOON, || async {
        connector.log().contains("SIGHUP ignored").then_some(())
    });
    printed.await;
    assert!(crate::support::get(&connector.url).await.0 < 500);
    connector.signal("QUIT");
    assert!(connector.wait_for_exit().success());
}

#[test]
fn a_tree_that_fails_before_it_is_up_counts_as_a_failed_start() {
    let home = tempfile::tempdir().unwrap();
    fs::write(
        home.path().join("caduceus.yaml"),
        "agent: {backend: echo}\nsupervision: {policies: {default: {max_restarts: 1, backoff_ceiling_ms: 200}}}\n",
    )
    .unwrap();
    // Enough for the start, and not enough to serve.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 34; exec \"$@\"", "sh"]).arg(binary().get_program());
    command.args(["serve", "--bind", "127.0.0.1:0", "--home"]).arg(home.path());
    crate::command::run_to_end(&mut command).with(70).contains_text("supervision tree gave up");
    let state: Value = serde_json::from_slice(&fs::read(home.path().join("gateway_state.json")).unwrap()).unwrap();
    assert_eq!(state["gateway_state"], "startup_failed", "{state}");
    assert!(state["exit_reason"].as_str().is_some_and(|why| why.contains("exceeded its restart intensity")), "{state}");
}

#[test]
fn a_full_disk_at_the_start_is_a_temporary_failure_and_an_unusable_home_is_permanent() {
    let disk = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=64k none \"$1\" && echo 'agent: {backend: echo}' > \"$1/caduceus.yaml\" && \
        { cat /dev/zero > \"$1/filler\" 2>/dev/null; shift; exec \"$@\"; }";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(disk.path());
    command.arg(binary().get_program()).args(["serve", "--bind", "127.0.0.1:0", "--home"]).arg(disk.path());
    crate::command::run_to_end(&mut command).with(75).contains_text("caduceus: ");
    // An obstacle at the path of the lock has to be removed by the operator.
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("caduceus.yaml"), "agent: {backend: echo}\n").unwrap();
    fs::create_dir(home.path().join("gateway.lock")).unwrap();
    let mut command = binary();
    command.args(["serve", "--bind", "127.0.0.1:0", "--home"]).arg(home.path());
    crate::command::run_to_end(&mut command).with(78).contains_text("gateway.lock");
}

fn state(world: &World) -> Value {
    serde_json::from_slice(&fs::read(world.path("gateway_state.json")).unwrap()).unwrap()
}
