//! Misbehaving agents: each gets a notice in its own chat, and no other session is affected.

use std::fs;

use crate::support::{SOON, wait_for};
use crate::world::World;

/// A misbehaviour of an agent, and the notice in its chat.
struct Misbehaviour {
    profile: &'static str,
    script: &'static str,
    /// Further lines of its `agent:` block.
    more: &'static str,
    notice: &'static str,
}

const fn text(profile: &'static str, script: &'static str, notice: &'static str) -> Misbehaviour {
    Misbehaviour { profile, script, more: "", notice }
}

const fn jsonl(profile: &'static str, script: &'static str, notice: &'static str) -> Misbehaviour {
    Misbehaviour { profile, script, more: "  reply: jsonl\n", notice }
}

const TOO_MUCH: &str = "The agent wrote more than 4 MiB and was stopped.";
const NOT_UNDERSTOOD: &str = "The agent's answer could not be understood.";

const MISBEHAVIOURS: [Misbehaviour; 17] = [
    text("floods", "yes flood", TOO_MUCH),
    text("endless-line", "head -c 20000000 /dev/zero | tr '\\0' x", TOO_MUCH),
    text("noisy", "yes noise | head -c 20000000 >&2; echo fine after all", "fine after all"),
    text("noisy-line", "head -c 20000000 /dev/zero >&2; echo fine after all", "fine after all"),
    text("never-reads", "echo output without reading; sleep 0.5", "output without reading"),
    text("silent", "exit 0", "The agent ended without an answer."),
    text("closes-early", "echo last word; exec 1>&-; sleep 0.5; exit 4", "The agent stopped with exit code 4."),
    text("fails", "echo some; exit 3", "The agent stopped with exit code 3."),
    text("crashes", "kill -9 $$", "The agent stopped with exit code 137."),
    Misbehaviour {
        profile: "slow",
        script: "trap '' TERM; sleep 600",
        more: "  timeout_s: 1\n",
        notice: "The agent took longer than 1 second and was stopped.",
    },
    jsonl("nonsense", "echo nonsense; echo 17; echo []", NOT_UNDERSTOOD),
    jsonl("binary", "head -c 100000 /dev/urandom; echo", NOT_UNDERSTOOD),
    jsonl("deep", "head -c 1000000 /dev/zero | tr '\\0' [; echo", NOT_UNDERSTOOD),
    jsonl("half-a-line", r#"printf '{"type":"final","text":"never wh'"#, NOT_UNDERSTOOD),
    jsonl("endless-json", "yes '{\"type\":\"thought\"}'", TOO_MUCH),
    jsonl("one-valid-line", r#"echo '{"type'; echo '{"type":"text","text":"valid text"}'"#, "valid text"),
    jsonl(
        "never-reads-results",
        r#"yes '{"type":"action","id":1,"action":{"op":"nothing"}}' | head -n 20000; echo '{"type":"final","text":"done"}'"#,
        "done",
    ),
];

/// Prints `waiting`, then waits until there is a file `go`.
const WAITING_AGENT: &str = r#"#!/bin/sh
read -r document
case $document in
*'"text":"wait"'*) touch "$HERMES_HOME/waiting"; while ! [ -e "$HERMES_HOME/go" ]; do sleep 0.05; done; echo waited ;;
*) echo answered ;;
esac
"#;

/// Current and highest resident memory of the gateway, in kilobytes.
fn memory(world: &World) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{}/status", world.gateway().id())).unwrap();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    (of("VmRSS:"), of("VmHWM:"))
}

async fn world() -> World {
    let mut world = World::prepare().await;
    world.write("agent.sh", WAITING_AGENT);
    for Misbehaviour { profile, script, more, .. } in MISBEHAVIOURS {
        world.script(profile, script, more);
    }
    world.profile("nowhere", "");
    world.write("profiles/nowhere/caduceus.yaml", "agent:\n  backend: exec\n  command: [/nowhere/agent]\n");
    world.profile("no-program", "");
    world.write("profiles/no-program/caduceus.yaml", "agent:\n  backend: exec\n  command: [./agent.txt]\n");
    world.write("profiles/no-program/agent.txt", "this is no program");
    world.serve().await;
    world
}

#[actix_web::test]
async fn each_misbehaving_agent_gets_a_notice_in_its_own_chat_and_other_sessions_are_served() {
    let world = world().await;
    world.push("waits", "wait", "chat-waits", None).await;
    wait_for("the sibling's turn", SOON, || async { world.path("waiting").exists().then_some(()) }).await;
    let (before, _) = memory(&world);

    // More than the pipe of an agent holds, so that an agent that never reads gets only a part of it.
    let long = "x".repeat(500_000);
    let mut cases: Vec<(&str, &str)> = MISBEHAVIOURS.iter().map(|case| (case.profile, case.notice)).collect();
    cases.extend([("nowhere", "The agent cannot be run."), ("no-program", "The agent cannot be run.")]);
    for (profile, _) in &cases {
        world.push(&format!("m-{profile}"), &long, &format!("chat-{profile}"), Some(profile)).await;
    }
    // During the misbehaviour.
    world.push("meanwhile", "hello", "chat-meanwhile", None).await;
    world.until_text("chat-meanwhile", "answered").await;

    for (profile, notice) in &cases {
        let chat = format!("chat-{profile}");
        world.until_text(&chat, notice).await;
    }
    let idle = |status: &serde_json::Value| status["active_agents"] == 1;
    world.until("no turn but the sibling's", idle).await;
    for (profile, notice) in &cases {
        let texts = world.texts(&format!("chat-{profile}")).await;
        assert!(texts.last().unwrap().ends_with(notice), "{profile}: the last message is {:?}", texts.last());
        assert!(texts.len() < 50, "{profile}: {} messages", texts.len());
    }
    world.write("go", "");
    world.until_text("chat-waits", "waited").await;

    let log = world.gateway().log();
    assert!(log.contains("agent wrote too much to its standard error"), "the flood is not reported in the log");
    assert!(log.matches("noise").count() < 1_000, "the flood is in the log");
    let (after, most) = memory(&world);
    eprintln!("memory in kB: {before} before, {after} after, {most} at most");
    assert!(most < before + 150_000, "{most} kB were used, {before} kB before the floods");
}

#[actix_web::test]
async fn an_agent_that_closed_its_output_runs_on_and_occupies_only_its_session() {
    let mut world = World::prepare().await;
    world.write("agent.sh", WAITING_AGENT);
    let closed = "echo before; exec 1>&- 2>&-; while ! [ -e \"$HERMES_HOME/go\" ]; do sleep 0.05; done";
    world.script("closed", closed, "");
    world.serve().await;
    world.push("c1", "hello", "chat-closed", Some("closed")).await;
    world.until_text("chat-closed", "before").await;
    world.push("c2", "and again", "chat-closed", Some("closed")).await;
    world.push("s1", "hello", "chat-sibling", None).await;
    world.until_text("chat-sibling", "answered").await;
    let waits = |status: &serde_json::Value| status["active_agents"] == 1;
    world.until("the running turn", waits).await;
    assert_eq!(world.texts("chat-closed").await, ["before"]);
    world.write("profiles/closed/go", "");
    wait_for("the second turn", SOON, || async { (world.texts("chat-closed").await == ["before"; 2]).then_some(()) })
        .await;
}
