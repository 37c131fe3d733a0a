//! Turns that break down: a failed turn and a word to the chat, never more. And what the agent itself saw of it all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::siege::{GENEROUS, node, reborn, settled, under_traffic};
use super::{PANICS, strike};
use crate::support::{SOON, wait_for};
use crate::world::World;

/// Turns that run at once.
const AT_ONCE: usize = 10;
/// A message whose turn lasts until somebody ends it.
const ENDLESS: &str = "sleep 600";

/// Chats that were told that a message was not answered, once for each time.
async fn told(world: &World) -> Vec<String> {
    let frames = world.outbound().await;
    let notices = frames.iter().map(|frame| &frame["frame"]["action"]);
    let notices = notices.filter(|action| action["content"].as_str().unwrap_or_default().contains("was not answered"));
    notices.map(|action| action["chat_id"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn running_turns(world: &World) -> Vec<String> {
    let turns = node(world, "turns").await.unwrap_or_default();
    let children = turns["children"].as_array().cloned().unwrap_or_default();
    children.iter().filter_map(|turn| turn["path"].as_str().map(str::to_owned)).collect()
}

/// Has turns run into `fault`, in rounds, and a sibling answered in each.
async fn break_turns(world: &World, fault: &Value, rounds: usize) {
    for round in 0..rounds {
        for turn in 0..AT_ONCE {
            let name = format!("b{round}-{turn}");
            world.say(&name, ENDLESS, &name, None).await;
        }
        let begun = || world.agent_account(None).iter().filter(|(_, _, text)| text == ENDLESS).count();
        let turns = wait_for("the turns to run", SOON, || async {
            let turns = running_turns(world).await;
            (turns.len() == AT_ONCE && begun() == (round + 1) * AT_ONCE).then_some(turns)
        })
        .await;
        for path in &turns {
            strike(world, path, fault).await;
        }
        let sibling = format!("sibling{round}");
        world.say(&sibling, "hello", "another chat", None).await;
        world.answer(&sibling).await;
        world.until("no turn left", |status| status["active_agents"] == 0).await;
    }
    let expected: BTreeSet<String> =
        (0..rounds).flat_map(|round| (0..AT_ONCE).map(move |turn| format!("b{round}-{turn}"))).collect();
    let told = wait_for("a notice in each chat", SOON, || async {
        let told = told(world).await;
        (told.len() >= expected.len()).then_some(told)
    })
    .await;
    assert_eq!(told.len(), expected.len(), "one notice each: {told:?}");
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), expected);
    let account = world.account().await;
    for name in &expected {
        assert_eq!(account["events"][name]["answered"], 0, "{name} is failed, not answered");
    }
}

#[actix_web::test]
async fn a_hundred_panicking_turns_are_failed_turns_with_a_notice_each() {
    let mut world = World::prepare().await;
    world.configure(GENEROUS);
    world.serve().await;
    let rounds = usize::try_from(PANICS).unwrap() / AT_ONCE;
    break_turns(&world, &json!({"fault": "panic_in_timer"}), rounds).await;

    let account = world.agent_account(None);
    assert_eq!(account.len(), (AT_ONCE + 1) * rounds, "no turn ran twice");
    let turns = node(&world, "turns").await.unwrap();
    assert_eq!((&turns["generation"], &turns["children"]), (&json!(1), &json!([])), "nothing else fell: {turns}");
}

/// The agent's side of it: each event ran once, or its later runs say which attempt they are.
#[actix_web::test]
async fn the_agent_runs_nothing_twice_unless_told_so_whoever_panics() {
    let mut world = World::prepare().await;
    world.configure(&format!("turns: {{interrupted: rerun}}\n{GENEROUS}"));
    world.serve().await;
    let kinds = ["ledger", "status", "profiles/default", "drain", "honcho", "dispatch", "relays/relay"];
    let ((), seen) = under_traffic(&world, async {
        for _ in 0..5 {
            for path in kinds {
                let generation = reborn(&world, path, 0).await["generation"].as_u64().unwrap();
                strike(&world, path, &json!({"fault": "panic_in_handler"})).await;
                reborn(&world, path, generation).await;
            }
        }
    })
    .await;
    let told = settled(&world, &seen.ids).await;
    let mut attempts: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    // One whose profile died with it in hand has read nothing.
    for (_, attempt, text) in world.agent_account(None).into_iter().filter(|(_, _, text)| !text.is_empty()) {
        attempts.entry(text).or_default().push(attempt);
    }
    let repeated = attempts.values().filter(|attempts| attempts.len() > 1).count();
    println!("{} messages: {told} only told of, {repeated} run again", seen.ids.len());
    for (text, attempts) in &attempts {
        let distinct: BTreeSet<_> = attempts.iter().collect();
        assert_eq!(distinct.len(), attempts.len(), "{text} ran as attempts {attempts:?}");
    }
}
