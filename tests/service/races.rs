//! A drain over HTTP races messages that become turns of real processes.
//!
//! Why the criterion is sound. In each round every message has a chat, and so a session, of its own, and every turn that
//! starts writes its line and then stands still until the round is judged. So a message ends in one of two ways that both stay:
//! a line in the agent's account, or a notice in its chat. When lines and notices together are as many as messages,
//! nothing is left that could still start. A turn admitted after the drain was answered `n` is then line `n + 1`, whenever it
//! started; no clock is read and nothing is waited for that might not come. Neither count is the gateway's own: the agent
//! keeps the lines, the connector counts the notices, and every single message is found again in one of the two.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use actix_web::rt::time::sleep;
use futures_util::StreamExt as _;
use futures_util::future::join;
use futures_util::stream;
use serde_json::{Value, json};

use crate::support::{SOON, get, wait_for};
use crate::world::World;

/// Messages in a round; below the number of turns at once, so that none waits for a place.
const MESSAGES: usize = 40;
/// Each begins at another moment of its messages' way.
const ROUNDS: usize = 25;
/// Messages on their way to the connector at one time: so there are some at every stage when the drain begins.
const AT_ONCE: usize = 4;
/// By how much the moment of the drain is moved when it fell before, or behind, all its messages.
const STEP: Duration = Duration::from_millis(4);
/// How often the connector is asked for its account, which is long.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// Writes its line and reads one from the pipe, which comes once the round is judged.
const AGENT: &str = r#"#!/bin/sh
read -r document
text=${document#*\"event\":}
text=${text#*\"text\":\"}
text=${text%%\"*}
printf '%s %s %s\n' "$CADUCEUS_TURN_ID" "$CADUCEUS_ATTEMPT" "$text" >> "$HERMES_HOME/account"
read -r _ < "$HERMES_HOME/pipe"
echo "heard $text"
"#;

#[actix_web::test]
async fn no_turn_starts_after_a_drain_was_answered_over_http() {
    let mut world = World::prepare().await;
    world.write("agent.sh", AGENT);
    let mut pipe = pipe(&world);
    world.configure("drain:\n  refused: notice\n");
    world.serve().await;

    let begun = Instant::now();
    let (mut started, mut refused, mut split) = (0, 0, 0);
    // How far the gateway is behind the connector depends on the machine: found out from round to round.
    let mut behind = STEP;
    for round in 0..ROUNDS {
        let admitted = race(&world, round, behind, (started, refused)).await;
        match admitted {
            0 => behind += STEP,
            MESSAGES => behind = behind.saturating_sub(STEP),
            _ => {}
        }
        started += admitted;
        refused += MESSAGES - admitted;
        split += usize::from(0 < admitted && admitted < MESSAGES);

        // A byte for each that stands still.
        pipe.write_all(&vec![b'\n'; admitted]).expect("the pipe takes a byte for each turn");
        let (_, view) = get(&world.url("/api/gateway/drain?wait=20")).await;
        assert_eq!((&view["drained"], &view["active_agents"]), (&json!(true), &json!(0)), "{view}");
        assert_eq!(world.drain(json!({"action": "cancel"})).await.0, 200);
        let idle = |status: &Value| status["gateway_state"] == "running" && status["active_agents"] == 0;
        world.until("the round over", idle).await;
        // Each refused message was in a chat of its own, which is told after the drain that it was not read.
        wait_for("every chat told", SOON, || async { (notices(&world).await == 2 * refused).then_some(()) }).await;
    }
    eprintln!("{started} started, {refused} refused, {split} of {ROUNDS} rounds split, in {:?}", begun.elapsed());
    assert!(split > ROUNDS / 4, "the drains fell among their messages in {split} rounds of {ROUNDS}");
    each_ended_in_one_way(&world, started).await;
}

/// One round; answers how many turns were admitted.
async fn race(world: &World, round: usize, behind: Duration, (started, refused): (usize, usize)) -> usize {
    let pushed = Cell::new(0);
    let push = async |message: usize| {
        let id = format!("m-{round}-{message}");
        world.say(&id, &id, &format!("chat-{round}-{message}"), None).await;
        pushed.set(pushed.get() + 1);
    };
    let drain = async {
        // A step that shares no factor with the number of messages, so the moments spread.
        let moment = 1 + round * 7 % MESSAGES;
        while pushed.get() < moment {
            sleep(Duration::from_micros(200)).await;
        }
        sleep(behind).await;
        world.drain(json!({"action": "drain"})).await
    };
    let traffic = stream::iter(0..MESSAGES).for_each_concurrent(AT_ONCE, push);
    let ((code, answer), ()) = join(drain, traffic).await;
    assert_eq!(code, 200, "{answer}");
    let admitted = usize::try_from(answer["active_agents"].as_u64().expect("a count")).expect("a small one");

    let deadline = Instant::now() + SOON;
    loop {
        let status = world.status().await;
        // It may be older than the answer, but not than the round, in which turns only came; so it may say less, never more.
        let shown = status["active_agents"].as_u64();
        assert!(shown <= Some(admitted as u64), "round {round}: answered {admitted}, and the status says {shown:?}");
        let lines = world.agent_account(None).len() - started;
        let notices = notices(world).await - 2 * refused;
        assert!(lines <= admitted, "round {round}: answered {admitted}, and {lines} turns have started");
        if lines + notices == MESSAGES {
            assert_eq!(lines, admitted, "round {round}: {notices} notices");
            return admitted;
        }
        assert!(Instant::now() < deadline, "round {round}: {admitted} admitted, {lines} lines, {notices} notices");
        sleep(LOOK_EVERY).await;
    }
}

/// Messages that answer no event, which the agent's always do.
async fn notices(world: &World) -> usize {
    usize::try_from(world.account().await["unattributed"].as_u64().expect("a count")).expect("a small one")
}

async fn each_ended_in_one_way(world: &World, started: usize) {
    let account = wait_for("every answer", SOON, || async {
        let account = world.account().await;
        (answered(&account).len() == started).then_some(account)
    })
    .await;
    let all: BTreeSet<String> =
        (0..ROUNDS).flat_map(|round| (0..MESSAGES).map(move |message| format!("m-{round}-{message}"))).collect();
    let acked = |id: &String| account["events"][id]["acked"] == 1;
    assert!(all.iter().all(acked), "every message was acknowledged, once");

    let lines = world.agent_account(None);
    let ran: BTreeSet<String> = lines.iter().map(|(_, _, text)| text.clone()).collect();
    assert_eq!(ran.len(), lines.len(), "no message ran twice");
    assert_eq!(ran, answered(&account), "who ran was answered, and nobody else");
    let told: BTreeSet<String> = world.outbound().await.iter().filter_map(told_of_maintenance).collect();
    assert!(ran.is_disjoint(&told), "{:?}", ran.intersection(&told));
    assert_eq!(&ran | &told, all, "every message ran, or was refused");
}

fn answered(account: &Value) -> BTreeSet<String> {
    let events = account["events"].as_object().expect("events by id");
    events.iter().filter(|(_, event)| event["answered"] != 0).map(|(id, _)| id.clone()).collect()
}

/// The message whose chat a frame tells of the maintenance.
fn told_of_maintenance(frame: &Value) -> Option<String> {
    let action = frame.get("action").or_else(|| frame["frame"].get("action"))?;
    let text = action["content"].as_str()?;
    let chat = action["chat_id"].as_str()?.strip_prefix("chat-")?;
    text.contains("send your message again").then(|| format!("m-{chat}"))
}

/// A named pipe with both ends open here, so that nobody who opens it waits or reads its end.
fn pipe(world: &World) -> File {
    let path = world.path("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
    OpenOptions::new().read(true).write(true).open(path).expect("the pipe opens")
}
