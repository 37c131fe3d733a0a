//! Actors broken on purpose: a hundred panics and a blocked thread of each kind, under traffic.
//!
//! What became of the messages is told by the connector and by the agent, never by the gateway.

mod hangs;
mod siege;
mod spent;
mod turns;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{SOON, client, wait_for};
use crate::world::World;
use siege::{GENEROUS, doubled, echoing, node, reborn, report, settled, under_traffic};

/// Panics of each kind.
const PANICS: u64 = 100;

/// Panics an actor again and again; how long each took until it ran again, and until the next question was answered.
async fn panic_again_and_again(world: &World, path: &str, fault: &str) -> (Vec<Duration>, Vec<Duration>) {
    let (mut running, mut serving) = (Vec::new(), Vec::new());
    let mut generation = reborn(world, path, 0).await["generation"].as_u64().unwrap();
    for _ in 0..PANICS {
        let ordered = Instant::now();
        strike(world, path, &json!({"fault": fault})).await;
        generation = reborn(world, path, generation).await["generation"].as_u64().unwrap();
        running.push(ordered.elapsed());
        // Were each incarnation struck at its first message, whatever is told again until it is heard would be in hand for ever.
        let question = format!("question{generation}");
        world.say(&question, "are you up?", "questions", None).await;
        world.answer(&question).await;
        serving.push(ordered.elapsed());
    }
    (running, serving)
}

/// Orders a fault. The server that is broken by it may cut the answer off, so the tree is what counts.
async fn strike(world: &World, path: &str, fault: &Value) {
    let url = world.url(&format!("/api/actors/{path}/fault"));
    let sent = client().post(url).force_close().send_json(fault).await;
    if let Ok(answer) = sent {
        assert_eq!(answer.status(), 200, "{path} {fault}");
    }
}

/// What every kind has to show.
async fn survives_panics(path: &str, fault: &str) -> World {
    let world = echoing(GENEROUS).await;
    let ((mut running, mut serving), seen) = under_traffic(&world, panic_again_and_again(&world, path, fault)).await;

    let told = settled(&world, &seen.ids).await;
    println!("{path}: {} messages, {told} of them only told of; slowest sibling {:?}", seen.ids.len(), seen.slowest);
    report(&format!("{path}: order to running again"), &mut running);
    report(&format!("{path}: order to the next answer"), &mut serving);
    assert!(seen.asked > 100, "somebody looked at the siblings: {}", seen.asked);
    if path != "status" && path != "http" {
        assert_eq!(seen.unwell, Vec::<String>::new(), "the siblings of {path} answer");
    }
    assert!(u64::try_from(told).unwrap() <= PANICS, "at most the message in hand each time: {told}");
    assert_eq!(doubled(&world).await, Vec::<String>::new(), "what may be a repeat says so");

    let struck = node(&world, path).await.unwrap();
    assert!(struck["restarts_total"].as_u64() >= Some(PANICS), "{struck}");
    assert_eq!(struck["last_exit"]["word"], "panic", "{struck}");
    world.say("after", "still there?", "c1", None).await;
    world.answer("after").await;
    world
}

#[actix_web::test]
async fn a_hundred_panics_of_the_ledger_lose_nothing() {
    survives_panics("ledger", "panic_in_handler").await;
}

#[actix_web::test]
async fn a_hundred_panics_of_the_status_lose_nothing() {
    survives_panics("status", "panic_in_handler").await;
}

#[actix_web::test]
async fn a_hundred_panics_of_a_profile_lose_nothing() {
    survives_panics("profiles/default", "panic_in_handler").await;
}

#[actix_web::test]
async fn a_hundred_panics_of_the_drain_lose_nothing() {
    survives_panics("drain", "panic_in_handler").await;
}

#[actix_web::test]
async fn a_hundred_panics_of_honcho_lose_nothing() {
    survives_panics("honcho", "panic_in_handler").await;
}

#[actix_web::test]
async fn a_hundred_panics_of_the_dispatcher_lose_nothing() {
    survives_panics("dispatch", "panic_in_handler").await;
}

#[actix_web::test]
async fn a_hundred_panics_of_the_link_lose_nothing_and_never_double_it() {
    let world = survives_panics("relays/relay", "panic_in_handler").await;
    let account = world.account().await;
    let link = &account["gateways"]["world"];
    println!("sockets: at most {} at once, {} dials", link["mostOpen"], link["dials"]);
    // The old socket may still be closing while the connector has accepted the new one.
    assert!(link["mostOpen"].as_u64() <= Some(2), "{link}");
    wait_for("a single link", SOON, || async {
        (world.account().await["gateways"]["world"]["open"] == 1).then_some(())
    })
    .await;
}

#[actix_web::test]
async fn a_hundred_panics_of_the_server_lose_nothing_and_leave_no_threads() {
    // It takes no messages, so it is its timer that panics.
    let world = survives_panics("http", "panic_in_timer").await;
    let tasks = format!("/proc/{}/task", world.gateway().id());
    wait_for("the threads of the old servers to end", SOON, || async {
        (std::fs::read_dir(&tasks).unwrap().count() < 40).then_some(())
    })
    .await;
}
