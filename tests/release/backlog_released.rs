//! 100,000 held events released, and 100,000 found at the start: all answered, no thread unresponsive for a second, and an event
//! costs no more than 1.2 times one of 1,000. `CADUCEUS_LONG=1 cargo test --test release backlog -- --nocapture --test-threads 1`;
//! without it these tests do nothing: `service::backlog_released` is the short form.

use std::time::Duration;

use crate::backlog::{Worked, find, release};
use crate::release_binary;
use crate::support::{Process, long};
use crate::world::World;

const CEILING: Duration = Duration::from_mins(20);
const FEW: usize = 1_000;
const MANY: usize = 100_000;

async fn world() -> World {
    let connector = Process::start_binary(&release_binary(), &["connector", "--bind", "127.0.0.1:0"]);
    let mut world = World::prepare_with(connector).await;
    world.program(&release_binary());
    world.write("caduceus.yaml", "agent:\n  backend: echo\nsupervision:\n  wedge_after_ms: 1000\n");
    world.variable("RUST_LOG", "warn");
    world
}

fn compare(few: Worked, many: Worked) {
    println!("{FEW} events: {few:?}\n{MANY} events: {many:?}");
    let ratio = many.answered.as_secs_f64() / few.answered.as_secs_f64();
    println!("an event of {MANY} costs {ratio:.2} times one of {FEW}");
    assert!(ratio <= 1.2, "{ratio}");
}

#[actix_web::test]
async fn an_event_of_a_released_backlog_of_100_000_costs_as_much_as_of_1_000() {
    if long() {
        let few = release(&mut world().await, FEW, CEILING).await;
        let many = release(&mut world().await, MANY, CEILING).await;
        let held = many.resident.saturating_sub(few.resident) / (MANY - FEW) as u64;
        println!("an event that waits holds {held} bytes");
        compare(few, many);
    }
}

#[actix_web::test]
async fn an_event_of_a_backlog_of_100_000_found_at_the_start_costs_as_much_as_of_1_000() {
    if long() {
        let few = find(&mut world().await, FEW, CEILING).await;
        let many = find(&mut world().await, MANY, CEILING).await;
        compare(few, many);
    }
}
