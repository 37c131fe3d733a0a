//! A backlog is processed at a constant cost for each event, and does not delay other sessions. The long form, 100,000
//! events on the release binary, is in `tests/release`.

use std::fs;
use std::time::Duration;

use caduceus_contract::messages::ledger::InboundState;
use serde_json::json;

use crate::backlog::{Backlog, fill, release};
use crate::support::{get, post, wait_for};
use crate::world::World;

/// Long enough for a debug build on a busy machine.
const CEILING: Duration = Duration::from_mins(2);
const FEW: usize = 300;
const MANY: usize = 2_400;

async fn world() -> World {
    let world = World::prepare().await;
    world.write("caduceus.yaml", "agent:\n  backend: echo\n");
    world
}

#[actix_web::test]
async fn the_cost_of_an_event_does_not_grow_with_the_backlog_it_is_released_from() {
    let few = release(&mut world().await, FEW, CEILING).await;
    let many = release(&mut world().await, MANY, CEILING).await;
    println!("{FEW} events: {few:?}");
    println!("{MANY} events: {many:?}");
    let ratio = many.answered.as_secs_f64() / few.answered.as_secs_f64();
    println!("an event of {MANY} costs {ratio:.2} times one of {FEW}");
    // A scan of the whole backlog for each event would cost eight times as much.
    assert!(ratio < 2.0, "{ratio}");
}

#[actix_web::test]
async fn a_backlog_of_one_link_does_not_delay_events_of_another() {
    let mut world = world().await;
    let env = world.link_env("of-work").await;
    world.profile("work", &env);
    let waiting =
        Backlog { link: "relay", profile: "default", prefix: "held-", events: 1_500, state: InboundState::Held };
    fill(world.home(), &waiting).await;
    fs::write(world.path(".drain_request.json"), "").unwrap();
    world.serve().await;
    world.until("both links connected", |status| status["relay"][1]["state"] == "connected").await;
    world.until("everything held", |status| status["turns"]["held"] == 1_500).await;
    fs::remove_file(world.path(".drain_request.json")).unwrap();
    world.until("the first answered event of the backlog", |status| status["turns"]["done"].as_u64() > Some(0)).await;

    let event = World::message("probe", "are you there?", "c", None);
    let body = json!({"gatewayId": "of-work", "event": event});
    assert_eq!(post(&format!("{}/dev/inbound", world.connector.url), &body).await.0, 202);
    world.answer("probe").await;
    let done = world.status().await["turns"]["done"].as_u64().unwrap();
    println!("the other link was answered when {done} of 1,500 were done");
    assert!(done < 1_500, "the event waited for the whole backlog");
}

#[actix_web::test]
async fn events_that_arrive_while_the_ledger_is_read_keep_their_order_and_run_once() {
    let mut world = world().await;
    let waiting =
        Backlog { link: "relay", profile: "default", prefix: "c", events: 800, state: InboundState::Received };
    fill(world.home(), &waiting).await;
    world.serve_unlinked();
    // The connector sends it as soon as the link is up; its session has an event that waits since the last process.
    world.push("new", "new", "c799", None).await;
    // Its acknowledgement was lost with the last process, so it is sent again.
    let again = World::message("c5", "c5", "c5", Some("default"));
    assert_eq!(post(&format!("{}/dev/inbound", world.connector.url), &json!({"event": again})).await.0, 202);
    world.answer("new").await;
    wait_for("all answers", CEILING, || async {
        let (code, status) = get(&world.url("/api/status")).await;
        (code == 200 && status["turns"]["done"] == 801).then_some(())
    })
    .await;
    let frames = world.outbound().await;
    let place = |id: &str| {
        let here = |frame: &&serde_json::Value| frame["frame"]["action"]["reply_to"] == id;
        assert_eq!(frames.iter().filter(here).count(), 1, "{id}");
        frames.iter().position(|frame| here(&frame)).unwrap()
    };
    assert!(place("c799") < place("new"));
    place("c5");
}
