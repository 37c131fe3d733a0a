//! Frames that waited at the connector arrive in order, run once, and are acknowledged only when they are in the ledger; also if the
//! gateway is killed in the middle of it.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::support::{SOON, post, wait_for};
use crate::world::{BOOKKEEPER, World};

/// Frames that wait.
const EVENTS: usize = 500;
/// One passthrough frame in this many frames.
const FORWARD_EACH: usize = 10;
/// Chats of the frames; a session queues 32.
const CHATS: usize = 25;

/// A world whose gateway is not running while the connector fills its buffer.
async fn waiting(more: &str) -> World {
    let world = World::prepare().await;
    world.write("agent.sh", BOOKKEEPER);
    world.configure(more);
    for number in 0..EVENTS {
        let body = if number % FORWARD_EACH == 0 { forward(number) } else { json!({"event": event(number)}) };
        let (status, pushed) = post(&format!("{}/dev/inbound", world.connector.url), &body).await;
        assert_eq!((status, &pushed["delivered"]), (202, &json!(0)), "{pushed}");
    }
    world
}

fn event(number: usize) -> Value {
    World::message(&format!("event-{number}"), &format!("event-{number}"), &format!("c{}", number % CHATS), None)
}

/// A slash command, as Discord posts it.
fn forward(number: usize) -> Value {
    let interaction = json!({
        "type": 2, "id": format!("interaction-{number}"), "channel_id": format!("f{}", number % CHATS), "guild_id": "g1",
        "member": {"user": {"id": "u1", "username": "ann"}}, "data": {"name": format!("forward-{number}")},
    });
    let body = STANDARD.encode(interaction.to_string());
    json!({"forward": {"platform": "discord", "botId": "b", "method": "POST", "path": "/interactions", "headers": [], "bodyB64": body}})
}

/// The frames in the ledger, in the order in which they were recorded.
fn recorded(world: &World) -> Vec<usize> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let ledger = Connection::open_with_flags(world.path("caduceus/ledger.db"), flags).unwrap();
    let mut rows = ledger.prepare("SELECT event FROM inbound ORDER BY id").unwrap();
    let texts = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let number = |event: String| {
        let event: Value = serde_json::from_str(&event).unwrap();
        event["text"].as_str().unwrap().rsplit('-').next().unwrap().parse().unwrap()
    };
    texts.map(|event| number(event.unwrap())).collect()
}

async fn buffered(world: &World) -> u64 {
    world.account().await["links"][0]["buffered"].as_u64().unwrap()
}

/// How often the agent ran for each frame, by its own account.
fn runs(world: &World) -> BTreeMap<usize, usize> {
    let mut runs = BTreeMap::new();
    for (_, _, text) in world.agent_account(None) {
        let number = text.rsplit('-').next().unwrap().parse().unwrap();
        *runs.entry(number).or_default() += 1;
    }
    runs
}

async fn all_ran(world: &World) {
    wait_for("a turn for every frame", 3 * SOON, || async { (runs(world).len() == EVENTS).then_some(()) }).await;
}

#[actix_web::test]
async fn waiting_frames_arrive_in_order_and_run_once() {
    let mut world = waiting("").await;
    world.serve().await;
    all_ran(&world).await;
    wait_for("an acknowledgement of every frame", SOON, || async { (buffered(&world).await == 0).then_some(()) }).await;
    assert_eq!(recorded(&world), (0..EVENTS).collect::<Vec<_>>());
    assert!(runs(&world).values().all(|times| *times == 1), "each ran once");
    // Within a chat the turns kept the order as well.
    for chat in 0..CHATS {
        let ran = world.agent_account(None).into_iter().map(|(_, _, text)| text);
        let of_chat: Vec<usize> = ran
            .filter_map(|text| text.strip_prefix("event-")?.parse().ok())
            .filter(|number: &usize| number % CHATS == chat)
            .collect();
        assert!(of_chat.is_sorted(), "chat {chat}: {of_chat:?}");
    }
}

#[actix_web::test]
async fn a_killed_gateway_has_acknowledged_only_frames_in_its_ledger() {
    let mut world = waiting("turns: {interrupted: rerun}\n").await;
    // Two kills, because a turn that is interrupted a third time does not run again.
    for left in [400, 150] {
        world.serve_unlinked();
        wait_for("some acknowledgements", SOON, || async { (buffered(&world).await < left).then_some(()) }).await;
        world.kill_gateway();
        let account = world.account().await;
        let acknowledged: BTreeSet<usize> = (0..EVENTS)
            .filter(|number| account["events"][format!("event-{number}")]["acked"].as_u64() > Some(0))
            .collect();
        let recorded: BTreeSet<usize> = recorded(&world).into_iter().collect();
        let lost: Vec<_> = acknowledged.difference(&recorded).collect();
        println!("killed with {} acknowledged, {} recorded", acknowledged.len(), recorded.len());
        assert!(lost.is_empty(), "acknowledged and not in the ledger: {lost:?}");
    }
    world.serve().await;
    all_ran(&world).await;
    wait_for("an acknowledgement of every frame", SOON, || async { (buffered(&world).await == 0).then_some(()) }).await;
    assert_eq!(recorded(&world), (0..EVENTS).collect::<Vec<_>>(), "recorded once and in order across all kills");
    // A turn that was running at the kill runs again, with its attempt number.
    let again: Vec<_> = runs(&world).into_iter().filter(|(_, times)| *times > 1).collect();
    let marked = world.agent_account(None).iter().filter(|(_, attempt, _)| *attempt > 1).count();
    let extra: usize = again.iter().map(|(_, times)| times - 1).sum();
    println!("{extra} ran again, {marked} of them marked so");
    assert!(extra <= marked, "no turn ran twice without a higher attempt number: {again:?}");
}
