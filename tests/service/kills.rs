//! `kill -9` of the gateway with turns running and acknowledged messages queued behind them, again and again on one home.
//!
//! The expected answers are taken from the connector's account (acknowledged, answered) and from the agent's own (its runs,
//! with their attempt numbers), not from the gateway.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::processes;
use crate::support::{SOON, wait_for};
use crate::world::World;

/// Sessions at once.
const CHATS: usize = 3;
/// Messages queued behind the long turn of each session.
const QUEUED: usize = 3;

/// `hold` is a long turn with a child and a daemon, as long as the file `holding` exists. An agent whose gateway is
/// killed before it sent the document ends at once.
const AGENT: &str = r#"#!/bin/sh
read -r document || exit 1
text=${document#*\"event\":}
text=${text#*\"text\":\"}
text=${text%%\"*}
printf '%s %s %s\n' "$CADUCEUS_TURN_ID" "$CADUCEUS_ATTEMPT" "$text" >> "$HERMES_HOME/account"
case $text in
hold*)
    if [ -e "$HERMES_HOME/holding" ]; then setsid sleep 600 & fi
    while [ -e "$HERMES_HOME/holding" ]; do sleep 0.05; done ;;
esac
echo "received $text"
"#;

/// When the gateway is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Every message is acknowledged, the long turns run, the others wait.
    AllQueued,
    /// The messages are being delivered.
    Arriving,
    /// The queues are being processed.
    Processing,
    /// As [`Moment::AllQueued`], and a second time when the new gateway has begun to load them.
    WhileRecovering,
}

const MOMENTS: [Moment; 4] = [Moment::AllQueued, Moment::Arriving, Moment::Processing, Moment::WhileRecovering];

#[actix_web::test]
async fn acknowledged_messages_are_answered_after_a_kill_and_interrupted_turns_after_a_retry() {
    let mut world = world("turns:\n  interrupted: ask\n").await;
    for (round, moment) in MOMENTS.into_iter().cycle().take(2 * MOMENTS.len()).enumerate() {
        let messages = kill_in_the_middle(&mut world, round, moment).await;
        let retries = all_answered(&world, &messages, true).await;
        eprintln!("{moment:?}: {retries} times /retry was sent");
    }
    // Each long turn that certainly ran was interrupted, and its chat got a notice each time.
    let noticed = world.outbound().await.iter().filter(|frame| frame.to_string().contains("Send /retry")).count();
    assert!(noticed >= 4 * CHATS, "{noticed} chats got a notice");
    nothing_ran_twice_unmarked(&world).await;
}

#[actix_web::test]
async fn with_rerun_an_interrupted_turn_runs_again_as_the_second_attempt() {
    let mut world = world("turns:\n  interrupted: rerun\n").await;
    for (round, moment) in MOMENTS.into_iter().enumerate().take(3) {
        let messages = kill_in_the_middle(&mut world, round, moment).await;
        all_answered(&world, &messages, false).await;
    }
    for chat in 0..CHATS {
        let attempts = &attempts(&world)[&format!("hold-0-{chat}")];
        assert_eq!(attempts, &[1, 2], "the agent gets the number of the second attempt");
    }
    nothing_ran_twice_unmarked(&world).await;
}

async fn world(more: &str) -> World {
    let mut world = World::prepare().await;
    world.write("agent.sh", AGENT);
    world.configure(more);
    world.serve().await;
    world
}

/// Kills the gateway at `moment` and starts it again. Returns the messages of this round: id and chat.
async fn kill_in_the_middle(world: &mut World, round: usize, moment: Moment) -> BTreeMap<String, String> {
    world.write("holding", "");
    let mut messages = BTreeMap::new();
    for place in 0..=QUEUED {
        for chat in 0..CHATS {
            let id = if place == 0 { format!("hold-{round}-{chat}") } else { format!("queued-{round}-{chat}-{place}") };
            world.push(&id, &id, &format!("chat-{chat}"), None).await;
            messages.insert(id, format!("chat-{chat}"));
        }
    }
    if moment != Moment::Arriving {
        let runs = |ran: &BTreeMap<String, _>| (0..CHATS).all(|chat| ran.contains_key(&format!("hold-{round}-{chat}")));
        wait_for("the long turns", SOON, || async { runs(&attempts(world)).then_some(()) }).await;
        wait_for("every acknowledgement", SOON, || async {
            let account = world.account().await;
            messages.keys().all(|id| account["events"][id]["acked"] != 0).then_some(())
        })
        .await;
        // Shows that the search for survivors below can find them: guard, shell, child and daemon of each.
        let below = wait_for("the agents' processes", SOON, || async {
            Some(processes::of_home(world.home()).len()).filter(|below| *below >= 4 * CHATS)
        });
        below.await;
    }
    if moment == Moment::Processing {
        let _ = fs::remove_file(world.path("holding"));
        let next = format!("queued-{round}-0-1");
        wait_for("a queued turn", SOON, || async { attempts(world).contains_key(&next).then_some(()) }).await;
    }
    kill(world).await;
    let _ = fs::remove_file(world.path("holding"));
    let (acked, missing) = unanswered(world, &messages).await;
    eprintln!("{moment:?}: {acked} acknowledged at the kill, {missing} of them not answered");
    assert!(moment == Moment::Arriving || missing >= CHATS, "{moment:?}: {missing} messages were unanswered");
    world.serve().await;
    if moment == Moment::WhileRecovering {
        kill(world).await;
        world.serve().await;
    }
    messages
}

/// Kills the gateway; asserts that no process of its agents survives.
async fn kill(world: &mut World) {
    world.kill_gateway();
    let home = world.home().to_owned();
    wait_for("the end of every agent, with all below it", SOON, || async {
        processes::of_home(&home).is_empty().then_some(())
    })
    .await;
}

/// How many of `messages` are acknowledged, and how many of those are not answered, by the connector's account.
async fn unanswered(world: &World, messages: &BTreeMap<String, String>) -> (usize, usize) {
    let account = world.account().await;
    let acked = messages.keys().map(|id| &account["events"][id]).filter(|event| event["acked"] != 0);
    let answered: Vec<bool> = acked.map(|event| event["answered"] != 0).collect();
    (answered.len(), answered.iter().filter(|answered| !**answered).count())
}

/// Waits until each message is answered. After a notice of an interrupted turn the user sends `/retry`, which
/// runs one again. Returns how often that was needed.
async fn all_answered(world: &World, messages: &BTreeMap<String, String>, retrying: bool) -> usize {
    let mut retries = 0;
    loop {
        let missing = settled(world, messages).await;
        if missing.is_empty() {
            return retries;
        }
        assert!(retrying, "no answer to {missing:?}");
        assert!(retries < messages.len(), "no answer to {missing:?} after {retries} retries");
        let before = answers(&world.account().await);
        world.push(&format!("retry-{}-{retries}", missing[0]), "/retry", &messages[&missing[0]], None).await;
        retries += 1;
        let after = || async { (answers(&world.account().await) > before).then_some(()) };
        wait_for("an answer to what /retry runs again", SOON, after).await;
    }
}

/// Answers to all events, by the connector's account.
fn answers(account: &Value) -> u64 {
    account["events"].as_object().expect("events by id").values().filter_map(|event| event["answered"].as_u64()).sum()
}

/// Waits until the gateway is idle; returns the messages without an answer.
async fn settled(world: &World, messages: &BTreeMap<String, String>) -> Vec<String> {
    let account = wait_for("an idle gateway, and every acknowledgement", SOON, || async {
        let status = world.status().await;
        let account = world.account().await;
        let inbound = &status["ledger"]["inbound"];
        let open = ["received", "running", "held"].iter().any(|state| inbound[state].as_u64().unwrap_or(0) > 0);
        let idle = !open && status["active_agents"] == 0 && status["active_sessions"] == 0;
        let acked = account["events"].as_object()?.values().all(|event| event["acked"] != 0);
        (idle && acked).then_some(account)
    })
    .await;
    messages.keys().filter(|id| account["events"][*id]["answered"] == 0).cloned().collect()
}

/// The attempts of each message, by the agent's account.
fn attempts(world: &World) -> BTreeMap<String, Vec<u32>> {
    let mut attempts: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (_, attempt, text) in world.agent_account(None) {
        attempts.entry(text).or_default().push(attempt);
    }
    attempts
}

/// A second run has a higher attempt number, and a second answer either comes from it or is marked as a possible repeat.
async fn nothing_ran_twice_unmarked(world: &World) {
    let account = world.account().await;
    for (id, attempts) in attempts(world) {
        assert!(attempts.windows(2).all(|pair| pair[0] < pair[1]), "{id} ran as attempts {attempts:?}");
        let event = &account["events"][&id];
        let answers = event["answers"].as_array().unwrap_or_else(|| panic!("{id:?} is not a message"));
        let plain = answers.iter().filter(|answer| is_plain(answer)).count();
        assert!(plain <= attempts.len(), "{id} ran {} times and was answered: {event}", attempts.len());
    }
}

fn is_plain(answer: &Value) -> bool {
    answer["op"] == "send" && answer["repeat"] == false
}
