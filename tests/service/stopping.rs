//! Stops of a turn: all processes of exactly one session end, in every process group and session.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::processes::{FoundProcess, of_home};
use crate::support::{SOON, post, wait_for};
use crate::world::World;

/// The spec gives 5 s from SIGTERM to SIGKILL; the rest is for a loaded machine.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// On `grow` an agent with many kinds of children, all of which ignore SIGTERM; on `wait` one that answers once there is a file `go`.
const AGENT: &str = r#"#!/bin/sh
read -r document
case $document in
*'"text":"grow"'*)
    trap '' TERM
    sleep 600 &
    sh -c 'sleep 600 & sleep 600' &
    setsid sleep 600 &
    (setsid sh -c 'sleep 600 & exec sleep 600' &)
    env -i PATH="$PATH" sleep 600 &
    echo grown
    while :; do sleep 1; done ;;
*'"text":"wait"'*) while ! [ -e "$HERMES_HOME/go" ]; do sleep 0.05; done; echo waited ;;
*) echo answered ;;
esac
"#;
const OPERATOR: &str = "An operator stopped the work on your last message. Send /retry to run it again.";
/// The guard, the agent, five children of the script that keep their environment, and its `sleep 1`.
const GROWN: usize = 9;

async fn world() -> World {
    let mut world = World::prepare().await;
    world.write("agent.sh", AGENT);
    world.serve().await;
    world
}

/// The processes of the turn in a chat.
fn of_chat(world: &World, chat: &str) -> Vec<FoundProcess> {
    let here =
        |found: &FoundProcess| found.environment.get("CADUCEUS_SESSION_KEY").is_some_and(|key| key.contains(chat));
    of_home(world.home()).into_iter().filter(here).collect()
}

async fn grown(world: &World, id: &str, chat: &str) -> Vec<FoundProcess> {
    world.push(id, "grow", chat, None).await;
    wait_for(&format!("the tree of {chat}"), SOON, || async {
        let found = of_chat(world, chat);
        // The child that clears its environment still has it until it executes the other program.
        let whole = found.len() >= GROWN && with_children(&found).len() > found.len();
        whole.then_some(found)
    })
    .await
}

/// Whether a process still runs.
fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

/// All processes below these, whether or not they kept their environment.
fn with_children(found: &[FoundProcess]) -> Vec<u32> {
    let mut pids: Vec<u32> = found.iter().map(|found| found.pid).collect();
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let all: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let below = all.iter().filter(|pid| parent(**pid).is_some_and(|parent| pids.contains(&parent)));
    let below: Vec<u32> = below.copied().filter(|pid| !pids.contains(pid)).collect();
    pids.extend(below);
    pids
}

async fn gone(what: &str, pids: &[u32], within: Duration) {
    wait_for(&format!("the end of {what}"), within, || async { pids.iter().all(|pid| !runs(*pid)).then_some(()) })
        .await;
}

fn variable(found: &[FoundProcess], name: &str) -> String {
    found[0].environment[name].clone()
}

#[actix_web::test]
async fn a_stop_by_chat_by_interrupt_or_by_order_ends_all_processes_of_one_session_and_no_other() {
    let world = world().await;
    world.push("w1", "wait", "chat-waits", None).await;
    let waits = wait_for("the sibling's turn", SOON, || async {
        let found = of_chat(&world, "chat-waits");
        (found.len() >= 2).then(|| with_children(&found))
    })
    .await;

    for cause in ["chat", "interrupt", "order"] {
        let chat = format!("chat-{cause}");
        let found = grown(&world, &format!("g-{cause}"), &chat).await;
        let tree = with_children(&found);
        assert!(tree.len() > found.len(), "the one without an environment is missing");
        let begun = Instant::now();
        match cause {
            "chat" => world.push("s1", "/stop", &chat, None).await,
            "interrupt" => {
                let interrupt = json!({"session_key": variable(&found, "CADUCEUS_SESSION_KEY"), "chat_id": chat});
                let url = format!("{}/dev/inbound", world.connector.url);
                assert_eq!(post(&url, &json!({"interrupt": interrupt})).await.0, 202);
            }
            _ => {
                let path = format!("/api/turns/{}/stop", variable(&found, "CADUCEUS_TURN_ID"));
                assert_eq!(post(&world.url(&path), &json!({})).await.0, 200);
                assert_eq!(post(&world.url("/api/turns/nonsense/stop"), &json!({})).await.0, 400);
            }
        }
        gone(cause, &tree, STOPPED_WITHIN).await;
        assert!(begun.elapsed() > Duration::from_secs(4), "the agent had its time to end by itself");
        let texts = world.texts(&chat).await;
        // The partial message is closed, and the chat gets one notice, of the cause of the stop.
        let expected = ["grown", "grown\n\n(stopped)", if cause == "order" { OPERATOR } else { "Stopped." }];
        let mut sorted = texts.clone();
        sorted.sort();
        let mut expected = expected.map(str::to_owned);
        expected.sort();
        assert_eq!(sorted, expected, "{cause}");
        // The session is free again, and the sibling's turn still runs.
        world.push(&format!("a-{cause}"), "hello", &chat, None).await;
        world.until_text(&chat, "answered").await;
        assert!(waits.iter().any(|pid| runs(*pid)), "the sibling's turn was stopped by {cause}");
    }
    world.write("go", "");
    world.until_text("chat-waits", "waited").await;
    world.push("s2", "/stop", "chat-waits", None).await;
    world.until_text("chat-waits", "There is nothing to stop here.").await;
}

#[actix_web::test]
async fn no_process_of_an_agent_survives_a_killed_gateway() {
    let mut world = world().await;
    let tree = with_children(&grown(&world, "g1", "chat-one").await);
    world.kill_gateway();
    gone("the tree", &tree, STOPPED_WITHIN).await;
}

/// The guard of a turn: its environment is the agent's, its arguments are its own.
fn guard_of(found: &[FoundProcess]) -> u32 {
    let guard = |found: &&FoundProcess| found.arguments.get(1).is_some_and(|argument| argument == "guard");
    found.iter().find(guard).expect("the guard runs").pid
}

fn kill(pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    assert!(Command::new("kill").arg("-9").args(pids).status().unwrap().success());
}

#[actix_web::test]
async fn a_killed_guard_ends_the_agent_and_the_chat_gets_a_notice() {
    let world = world().await;
    let found = grown(&world, "g1", "chat-one").await;
    let tree = with_children(&found);
    assert!(tree.len() > found.len(), "the one without an environment is missing");
    kill(&[guard_of(&found)]);
    gone("the tree", &tree, STOPPED_WITHIN).await;
    world.until_text("chat-one", "The agent was killed.").await;
    world.push("m2", "hello", "chat-one", None).await;
    world.until_text("chat-one", "answered").await;
}

#[actix_web::test]
async fn the_next_gateway_ends_what_a_gateway_and_a_guard_killed_together_leave() {
    let mut world = world().await;
    let found = grown(&world, "g1", "chat-one").await;
    let tree = with_children(&found);
    assert!(tree.len() > found.len(), "the one without an environment is missing");
    kill(&[guard_of(&found), world.gateway().id()]);
    world.gateway.take().unwrap().wait_for_exit();
    assert!(tree.iter().any(|pid| runs(*pid)), "no process is left, so the test shows nothing");
    world.serve().await;
    gone("the tree", &tree, STOPPED_WITHIN).await;
    let interrupted = |status: &Value| status["active_agents"] == 0;
    world.until("no turn", interrupted).await;
}

#[actix_web::test]
async fn a_turn_that_is_stopped_while_its_permit_is_requested_does_not_run_later() {
    let world = World::start().await;
    // Longer than the timeout of a permit request, so that it is repeated.
    let (code, answer) = world.fault("drain", json!({"fault": "hang_in_timer", "seconds": 6})).await;
    assert_eq!(code, 200, "{answer}");
    world.push("long", "sleep 600", "c1", None).await;
    world.push("stop", "/stop", "c1", None).await;
    world.until_text("c1", "Stopped").await;
    world.push("next", "hello", "c1", None).await;
    world.until_text("c1", "default: hello").await;
}
