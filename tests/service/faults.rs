//! Injected faults: a hundred panics and a blocked thread of each kind of actor, under traffic.
//!
//! The outcome of the messages is taken from the accounts of the connector and the agent, not from the gateway.

mod hangs;
mod intensity;
mod traffic;
mod turns;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{SOON, client, wait_for};
use crate::world::World;
use traffic::{
    HIGH_INTENSITY, doubled, node, report, settled, start_asking, start_using, under_traffic, until_restarted,
};

/// Panics of each kind.
const PANICS: u64 = 100;

/// Panics an actor repeatedly; returns how long each restart took, and how long the next answer took.
async fn panic_repeatedly(world: &World, path: &str, fault: &str) -> (Vec<Duration>, Vec<Duration>) {
    let (mut running, mut serving) = (Vec::new(), Vec::new());
    let mut generation = until_restarted(world, path, 0).await["generation"].as_u64().unwrap();
    for _ in 0..PANICS {
        let ordered = Instant::now();
        inject(world, path, &json!({"fault": fault})).await;
        generation = until_restarted(world, path, generation).await["generation"].as_u64().unwrap();
        running.push(ordered.elapsed());
        // If each incarnation panicked at its first message, a notification that is repeated until it is handled would be lost each time.
        let question = format!("question{generation}");
        world.push(&question, "are you up?", "questions", None).await;
        world.answer(&question).await;
        serving.push(ordered.elapsed());
    }
    (running, serving)
}

/// Injects a fault. A server that panics may cut the answer off, so the state of the tree counts.
async fn inject(world: &World, path: &str, fault: &Value) {
    let url = world.url(&format!("/api/actors/{path}/fault"));
    let sent = client().post(url).force_close().send_json(fault).await;
    if let Ok(answer) = sent {
        assert_eq!(answer.status(), 200, "{path} {fault}");
    }
}

/// The assertions for every kind of actor.
async fn survives_panics(path: &str, fault: &str) -> World {
    let world = start_using(path, HIGH_INTENSITY).await;
    let ((mut running, mut serving), seen) = under_traffic(&world, panic_repeatedly(&world, path, fault)).await;

    let notices = settled(&world, &seen.ids).await;
    println!(
        "{path}: {} messages, {notices} of them with a notice only; slowest sibling {:?}",
        seen.ids.len(),
        seen.slowest
    );
    report(&format!("{path}: order to running again"), &mut running);
    report(&format!("{path}: order to the next answer"), &mut serving);
    assert!(seen.queries > 100, "the siblings were queried: {}", seen.queries);
    if path != "status" && path != "http" {
        assert_eq!(seen.failures, Vec::<String>::new(), "the siblings of {path} answer");
    }
    assert!(u64::try_from(notices).unwrap() <= PANICS, "at most one message for each panic: {notices}");
    assert_eq!(doubled(&world).await, Vec::<String>::new(), "possible repeats are marked");

    let restarted = node(&world, path).await.unwrap();
    assert!(restarted["restarts_total"].as_u64() >= Some(PANICS), "{restarted}");
    assert_eq!(restarted["last_exit"]["word"], "panic", "{restarted}");
    world.push("after", "still there?", "c1", None).await;
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
async fn a_dispatcher_that_panics_cuts_off_no_turn() {
    // A turn that runs continues, and the event of one that has not started waits again.
    let world = start_asking(HIGH_INTENSITY).await;
    let (_, seen) = under_traffic(&world, panic_repeatedly(&world, "dispatch", "panic_in_handler")).await;
    let notices = settled(&world, &seen.ids).await;
    assert_eq!(notices, 0, "no chat is notified of an interrupted turn");
    assert_eq!(doubled(&world).await, Vec::<String>::new(), "each message is answered once");
    let log = world.gateway().log();
    assert!(log.contains("turn was not started; its event waits again"), "no panic came between a permit and a start");
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
    // The server takes no messages, so its timer panics.
    let world = survives_panics("http", "panic_in_timer").await;
    let tasks = format!("/proc/{}/task", world.gateway().id());
    wait_for("the threads of the old servers to end", SOON, || async {
        (std::fs::read_dir(&tasks).unwrap().count() < 40).then_some(())
    })
    .await;
}
