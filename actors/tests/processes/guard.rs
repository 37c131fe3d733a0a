//! No process of an agent outlives its gateway.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use uuid::Uuid;

use super::proc::{arguments_of, marked};
use super::wait::until;

/// A tree of processes: children, one that ignores SIGTERM, one in a session of its own, and a child of that whose
/// parent has ended.
const PROCESS_TREE: &str = "
    sleep 300 &
    (trap '' TERM; sleep 300; sleep 300) &
    setsid sh -c 'trap \"\" TERM; setsid sleep 300 & sleep 300; sleep 300' &
    (setsid sh -c 'sleep 300 & sleep 300' &)
    wait";

/// Lowest number of processes in the tree, the guard included.
const TREE_SIZE: usize = 8;

/// A stand-in for a gateway that only holds a guard for `script`.
fn hold(script: &str, mark: &str) -> Child {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_caduceus-guard-alone"))
        .args(["hold", "--", "/bin/sh", "-c", script])
        .env("TEST_MARK", mark)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "holding\n");
    holder
}

#[actix::test]
async fn when_the_gateway_is_killed_no_descendant_survives_in_any_session() {
    let mark = Uuid::now_v7().to_string();
    let mut holder = hold(PROCESS_TREE, &mark);
    until("the process tree", || (marked(&mark).len() > TREE_SIZE).then_some(())).await;
    holder.kill().unwrap();
    holder.wait().unwrap();
    until("the end of the process tree", || marked(&mark).is_empty().then_some(())).await;
}

#[actix::test]
async fn processes_that_an_agent_leaves_behind_are_ended_too() {
    let mark = Uuid::now_v7().to_string();
    let mut holder = hold("setsid sleep 300 & (trap '' TERM; sleep 300) & exit 0", &mark);
    until("the end of the remaining processes", || holder.try_wait().unwrap()).await;
    assert!(marked(&mark).is_empty());
}

#[actix::test]
async fn a_guard_that_gets_sigterm_ends_the_agent_first() {
    let mark = Uuid::now_v7().to_string();
    let mut holder = hold("sleep 300", &mark);
    let is_guard = |pid: &i32| arguments_of(*pid).contains("\0guard\0");
    let guard = until("the guard", || marked(&mark).into_iter().find(is_guard)).await;
    Command::new("kill").args(["-TERM", &guard.to_string()]).status().unwrap();
    until("the end of the agent", || holder.try_wait().unwrap()).await;
    assert!(marked(&mark).is_empty());
}
