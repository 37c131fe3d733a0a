//! A handler that blocks its thread: the thread is replaced, its actors are restarted, and the old instance has no effect when it wakes.

use std::time::Duration;

use serde_json::json;

use super::inject;
use super::traffic::{HIGH_INTENSITY, doubled, node, settled, start_using, under_traffic, until_restarted};
use crate::support::{SOON, pace, wait_for};

/// How long the thread is blocked: many times longer than the replacement takes.
const HANG_S: u64 = 6;

/// Hangs an actor under traffic and checks again after its thread has woken.
async fn survives_a_hang(path: &str, fault: &str) {
    let world = start_using(path, HIGH_INTENSITY).await;
    let before = until_restarted(&world, path, 0).await["generation"].as_u64().unwrap();
    let dials = world.account().await["gateways"]["world"]["dials"].clone();
    let ((), seen) = under_traffic(&world, async {
        let ordered = std::time::Instant::now();
        inject(&world, path, &json!({"fault": fault, "seconds": HANG_S})).await;
        let node = until_restarted(&world, path, before).await;
        let replaced = ordered.elapsed();
        assert_eq!(node["last_exit"]["word"], "unresponsive", "{node}");
        // A new message is answered while the old thread is still blocked.
        world.push("meanwhile", "are you there?", "elsewhere", None).await;
        world.answer("meanwhile").await;
        let answered = ordered.elapsed();
        println!("{path}: replaced after {replaced:?}, answered after {answered:?}");
        assert!(answered < Duration::from_secs(HANG_S), "it was answered by the new instance: {answered:?}");
        // The hang ends by its clock and sends no event. The traffic continues past it, so that an effect of the old thread would be found.
        pace(Duration::from_secs(HANG_S + 1).saturating_sub(ordered.elapsed())).await;
    })
    .await;

    let notices = settled(&world, &seen.ids).await;
    println!(
        "{path}: {} messages, {notices} of them with a notice only; slowest answer {:?}",
        seen.ids.len(),
        seen.slowest
    );
    assert!(seen.failures.iter().all(|answer| answer.starts_with("/api/status: 503")), "{:?}", seen.failures);
    assert_eq!(doubled(&world).await, Vec::<String>::new(), "the instance that woke sent nothing");
    let account = world.account().await;
    let link = &account["gateways"]["world"];
    println!("{path}: {dials} dials before, {} after, at most {} sockets", link["dials"], link["mostOpen"]);
    // The socket of an unresponsive thread stays open until the thread wakes; it is not used any more.
    assert!(link["mostOpen"].as_u64() <= Some(2), "{link}");
    wait_for("a single link", SOON, || async {
        (world.account().await["gateways"]["world"]["open"] == 1).then_some(())
    })
    .await;
    let node = node(&world, path).await.unwrap();
    assert_eq!(node["state"], "running", "{node}");
    // On a loaded machine the new thread may have been replaced, too.
    assert!(node["generation"].as_u64() > Some(before), "{node}");
    world.push("after", "still there?", "c1", None).await;
    world.answer("after").await;
}

#[actix_web::test]
async fn a_ledger_that_hangs_is_replaced_and_its_old_instance_sends_nothing() {
    survives_a_hang("ledger", "hang_thread").await;
}

#[actix_web::test]
async fn a_status_that_hangs_is_replaced_and_its_old_instance_sends_nothing() {
    survives_a_hang("status", "hang_thread").await;
}

#[actix_web::test]
async fn a_profile_that_hangs_is_replaced_and_its_old_instance_sends_nothing() {
    survives_a_hang("profiles/default", "hang_thread").await;
}

#[actix_web::test]
async fn a_drain_that_hangs_is_replaced_and_its_old_instance_sends_nothing() {
    survives_a_hang("drain", "hang_thread").await;
}

#[actix_web::test]
async fn a_honcho_that_hangs_is_replaced_and_its_old_instance_sends_nothing() {
    survives_a_hang("honcho", "hang_thread").await;
}

#[actix_web::test]
async fn a_dispatcher_that_hangs_is_replaced_and_its_old_instance_sends_nothing() {
    survives_a_hang("dispatch", "hang_thread").await;
}

#[actix_web::test]
async fn a_link_that_hangs_is_replaced_and_its_old_instance_sends_nothing() {
    survives_a_hang("relays/relay", "hang_thread").await;
}

#[actix_web::test]
async fn a_server_that_hangs_is_replaced_and_its_old_instance_sends_nothing() {
    survives_a_hang("http", "hang_in_timer").await;
}
