//! Turns that panic or hang: each is a failed turn with a notice in the chat, and nothing else fails. Includes the agent's own account.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::traffic::{HIGH_INTENSITY, node, settled, under_traffic, until_restarted};
use super::{PANICS, inject};
use crate::support::{SOON, wait_for};
use crate::world::World;

/// Turns that run at once.
const AT_ONCE: usize = 10;
/// A message whose turn lasts until it is ended.
const ENDLESS: &str = "sleep 600";

/// Chats with a notice of an unanswered message, once for each notice.
async fn noticed(world: &World) -> Vec<String> {
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

/// Injects `fault` into turns, in rounds, with an answered sibling in each.
async fn break_turns(world: &World, fault: &Value, rounds: usize) {
    for round in 0..rounds {
        for turn in 0..AT_ONCE {
            let name = format!("b{round}-{turn}");
            world.push(&name, ENDLESS, &name, None).await;
        }
        let begun = || world.agent_account(None).iter().filter(|(_, _, text)| text == ENDLESS).count();
        let turns = wait_for("the turns to run", SOON, || async {
            let turns = running_turns(world).await;
            (turns.len() == AT_ONCE && begun() == (round + 1) * AT_ONCE).then_some(turns)
        })
        .await;
        for path in &turns {
            inject(world, path, fault).await;
        }
        let sibling = format!("sibling{round}");
        world.push(&sibling, "hello", "another chat", None).await;
        world.answer(&sibling).await;
        world.until("no turn left", |status| status["active_agents"] == 0).await;
    }
    let expected: BTreeSet<String> =
        (0..rounds).flat_map(|round| (0..AT_ONCE).map(move |turn| format!("b{round}-{turn}"))).collect();
    let noticed = wait_for("a notice in each chat", SOON, || async {
        let noticed = noticed(world).await;
        (noticed.len() >= expected.len()).then_some(noticed)
    })
    .await;
    assert_eq!(noticed.len(), expected.len(), "one notice for each turn: {noticed:?}");
    assert_eq!(noticed.into_iter().collect::<BTreeSet<_>>(), expected);
    let account = world.account().await;
    for name in &expected {
        assert_eq!(account["events"][name]["answered"], 0, "{name} is failed, not answered");
    }
}

#[actix_web::test]
async fn a_hundred_panicking_turns_are_failed_turns_with_a_notice_each() {
    let mut world = World::prepare().await;
    world.configure(HIGH_INTENSITY);
    world.serve().await;
    let rounds = usize::try_from(PANICS).unwrap() / AT_ONCE;
    break_turns(&world, &json!({"fault": "panic_in_timer"}), rounds).await;

    let account = world.agent_account(None);
    assert_eq!(account.len(), (AT_ONCE + 1) * rounds, "no turn ran twice");
    let turns = node(&world, "turns").await.unwrap();
    assert_eq!((&turns["generation"], &turns["children"]), (&json!(1), &json!([])), "nothing else failed: {turns}");
}

#[actix_web::test]
async fn a_turn_that_hangs_is_a_failed_turn_and_the_thread_it_blocked_is_replaced() {
    let mut world = World::prepare().await;
    world.configure(HIGH_INTENSITY);
    world.serve().await;
    world.push("stuck", ENDLESS, "stuck", None).await;
    wait_for("the agent at work", SOON, || async { world.agent_account(None).pop() }).await;
    let turn = wait_for("the turn", SOON, || async { running_turns(&world).await.pop() }).await;
    inject(&world, &turn, &json!({"fault": "hang_in_timer", "seconds": 4})).await;
    world.push("sibling", "hello", "another chat", None).await;
    world.answer("sibling").await;

    // The dispatcher shared the thread and was restarted with it, so the chat gets one notice or the other.
    wait_for("a notice in the chat", SOON, || async {
        let frames = world.outbound().await;
        let to_chat = |frame: &&Value| frame["frame"]["action"]["chat_id"] == "stuck";
        let words = frames.iter().filter(to_chat).map(Value::to_string);
        let noticed =
            words.filter(|words| words.contains("was not answered") || words.contains("interrupted the work"));
        (noticed.count() == 1).then_some(())
    })
    .await;
    // The turn no longer counts, although its thread is still blocked.
    world.until("no turn left", |status| status["active_agents"] == 0).await;
    assert_eq!(world.agent_account(None).len(), 2, "neither ran twice");
    assert_eq!(world.account().await["events"]["stuck"]["answered"], 0);
}

/// By the agent's account: each event ran once, or its later runs have a higher attempt number.
#[actix_web::test]
async fn no_event_runs_twice_with_the_same_attempt_number_after_any_panic() {
    let mut world = World::prepare().await;
    world.configure(&format!("turns: {{interrupted: rerun}}\n{HIGH_INTENSITY}"));
    world.serve().await;
    let kinds = ["ledger", "status", "profiles/default", "drain", "honcho", "dispatch", "relays/relay"];
    let ((), seen) = under_traffic(&world, async {
        for _ in 0..5 {
            for path in kinds {
                let generation = until_restarted(&world, path, 0).await["generation"].as_u64().unwrap();
                inject(&world, path, &json!({"fault": "panic_in_handler"})).await;
                until_restarted(&world, path, generation).await;
            }
        }
    })
    .await;
    let noticed = settled(&world, &seen.ids).await;
    let mut attempts: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    // An agent whose profile panicked during its start has read nothing.
    for (_, attempt, text) in world.agent_account(None).into_iter().filter(|(_, _, text)| !text.is_empty()) {
        attempts.entry(text).or_default().push(attempt);
    }
    let repeated = attempts.values().filter(|attempts| attempts.len() > 1).count();
    println!("{} messages: {noticed} with a notice only, {repeated} run again", seen.ids.len());
    for (text, attempts) in &attempts {
        let distinct: BTreeSet<_> = attempts.iter().collect();
        assert_eq!(distinct.len(), attempts.len(), "{text} ran as attempts {attempts:?}");
    }
}
