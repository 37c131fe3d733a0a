//! A drain over HTTP races messages that become turns of real processes.
//!
//! Why the criterion is sound. In each round every message has a chat, and so a session, of its own, and every turn that
//! starts writes its line and then waits until the round is judged. So each message has one of two lasting results:
//! a line in the agent's account, or a notice in its chat. When lines and notices together are as many as messages,
//! no further turn can start. A turn admitted after the drain was answered `n` is then line `n + 1`, whenever it
//! started; the criterion needs no clock and no event that might not occur. Neither count is the gateway's own: the agent
//! writes the lines, the connector counts the notices, and every message is in one of the two.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{QueryLimit, SOON, get, pace, wait_for};
use crate::world::World;

/// Messages in a round; below the number of turns at once, so that none waits for a place.
const MESSAGES: usize = 40;
/// Each drain begins at another stage of its messages.
const ROUNDS: usize = 25;
/// Messages in flight to the connector at one time, so that there are some at every stage when the drain begins.
const AT_ONCE: usize = 4;
/// How much the moment of the drain is moved if it was before, or after, all its messages.
const STEP: Duration = Duration::from_millis(4);
/// Pause between two queries of the connector's account, which is long.
const QUERY_PAUSE: Duration = Duration::from_millis(40);

/// Writes its line and reads one from the pipe, which arrives once the round is judged.
const AGENT: &str = r#"#!/bin/sh
read -r document
text=${document#*\"event\":}
text=${text#*\"text\":\"}
text=${text%%\"*}
printf '%s %s %s\n' "$CADUCEUS_TURN_ID" "$CADUCEUS_ATTEMPT" "$text" >> "$HERMES_HOME/account"
read -r _ < "$HERMES_HOME/pipe"
echo "answer to $text"
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
    // The delay between connector and gateway depends on the machine, and is estimated from round to round.
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

        // A byte for each waiting turn.
        pipe.write_all(&vec![b'\n'; admitted]).expect("the pipe takes a byte for each turn");
        let (_, view) = get(&world.url("/api/gateway/drain?wait=20")).await;
        assert_eq!((&view["drained"], &view["active_agents"]), (&json!(true), &json!(0)), "{view}");
        assert_eq!(world.drain(json!({"action": "cancel"})).await.0, 200);
        let idle = |status: &Value| status["gateway_state"] == "running" && status["active_agents"] == 0;
        world.until("the end of the round", idle).await;
        // Each refused message is in a chat of its own, which gets a notice after the drain.
        wait_for("a notice in every chat", SOON, || async { (notices(&world).await == 2 * refused).then_some(()) })
            .await;
    }
    eprintln!("{started} started, {refused} refused, {split} of {ROUNDS} rounds split, in {:?}", begun.elapsed());
    assert!(split > ROUNDS / 4, "the drains began among their messages in {split} rounds of {ROUNDS}");
    each_ended_in_one_way(&world, started).await;
}

/// One round; returns how many turns were admitted.
async fn race(world: &World, round: usize, behind: Duration, (started, refused): (usize, usize)) -> usize {
    let pushed = watch::Sender::new(0);
    let mut reached = pushed.subscribe();
    let push = async |message: usize| {
        let id = format!("m-{round}-{message}");
        world.push(&id, &id, &format!("chat-{round}-{message}"), None).await;
        pushed.send_modify(|pushed| *pushed += 1);
    };
    let drain = async {
        // A step without a common factor with the number of messages, so that the moments spread.
        let moment = 1 + round * 7 % MESSAGES;
        reached.wait_for(|pushed| *pushed >= moment).await.expect("the sender lives as long as the round");
        pace(behind).await;
        world.drain(json!({"action": "drain"})).await
    };
    let traffic = stream::iter(0..MESSAGES).for_each_concurrent(AT_ONCE, push);
    let ((code, answer), ()) = join(drain, traffic).await;
    assert_eq!(code, 200, "{answer}");
    let admitted = usize::try_from(answer["active_agents"].as_u64().expect("a count")).expect("a small one");

    let limit = QueryLimit::new(format!("the end of round {round}"), SOON);
    loop {
        let status = world.status().await;
        // The status may be older than the answer, but not than the round, in which turns only start: its count may be lower, not higher.
        let shown = status["active_agents"].as_u64();
        assert!(shown <= Some(admitted as u64), "round {round}: answered {admitted}, and the status shows {shown:?}");
        let lines = world.agent_account(None).len() - started;
        let notices = notices(world).await - 2 * refused;
        assert!(lines <= admitted, "round {round}: answered {admitted}, and {lines} turns have started");
        if lines + notices == MESSAGES {
            assert_eq!(lines, admitted, "round {round}: {notices} notices");
            return admitted;
        }
        limit.pause(QUERY_PAUSE, || format!(": {admitted} admitted, {lines} lines, {notices} notices")).await;
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
    assert_eq!(ran, answered(&account), "exactly the messages that ran were answered");
    let refused_ids: BTreeSet<String> = world.outbound().await.iter().filter_map(with_maintenance_notice).collect();
    assert!(ran.is_disjoint(&refused_ids), "{:?}", ran.intersection(&refused_ids));
    assert_eq!(&ran | &refused_ids, all, "every message ran, or was refused");
}

fn answered(account: &Value) -> BTreeSet<String> {
    let events = account["events"].as_object().expect("events by id");
    events.iter().filter(|(_, event)| event["answered"] != 0).map(|(id, _)| id.clone()).collect()
}

/// The message whose chat gets a maintenance notice by this frame.
fn with_maintenance_notice(frame: &Value) -> Option<String> {
    let action = frame.get("action").or_else(|| frame["frame"].get("action"))?;
    let text = action["content"].as_str()?;
    let chat = action["chat_id"].as_str()?.strip_prefix("chat-")?;
    text.contains("send your message again").then(|| format!("m-{chat}"))
}

/// A named pipe with both ends open here, so that an open of it does not block and a read finds no end of file.
fn pipe(world: &World) -> File {
    let path = world.path("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
    OpenOptions::new().read(true).write(true).open(path).expect("the pipe opens")
}
