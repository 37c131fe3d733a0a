//! A connector that floods the gateway: memory and log stay bounded.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message as Ws;

use crate::hostile::{HostileConnector, descriptor, next_before, next_of_kind, send_all, text};
use crate::support::{SOON, wait_for, within};
use crate::world::World;

/// Allowed growth of resident memory after a flood: the one-time cost of allocators and threads.
const SLACK_KB: u64 = 24 * 1024;

/// `count` lines in messages of a hundred.
fn flood(count: usize, line: impl Fn(usize) -> Value) -> Vec<Ws> {
    let lines: Vec<usize> = (0..count).collect();
    let message = |numbers: &[usize]| {
        let mut text = String::new();
        for number in numbers {
            let _ = writeln!(text, "{}", line(*number));
        }
        Ws::text(text)
    };
    lines.chunks(100).map(message).collect()
}

fn unknown_platform(number: usize) -> Value {
    let mut frame = descriptor();
    frame["descriptor"]["platform"] =
        json!(format!("p{number}-{}", "x".repeat(if number.is_multiple_of(2) { 40 } else { 900 })));
    frame["descriptor"]["label"] = json!("l".repeat(900));
    frame
}

fn interrupt(number: usize) -> Value {
    json!({"type": "interrupt_inbound", "session_key": format!("agent:main:discord:channel:{number}-{}", "x".repeat(3_000)), "chat_id": "c"})
}

/// A line of a flood, and the gateway's count of such lines.
type FloodKind = (&'static str, fn(usize) -> Value, fn(&Value) -> u64);

/// Timeout of a flood of 20,000 lines: a debug build on a busy machine reads some hundred in a second.
const CEILING: Duration = Duration::from_mins(5);

/// Sends the flood until the gateway has counted all of it: on a busy machine the connection may break during a flood.
async fn seen(connector: &mut HostileConnector, (what, line, count): FloodKind, lines: usize) {
    let before = count(&connector.world.status().await["relay"][0]);
    // Before there is a connection: on a busy machine it takes longer than the gateway waits for a silent connector.
    let flood = flood(lines, line);
    let seen = async {
        loop {
            let mut wire = connector.wire().await;
            send_all(&mut wire, flood.iter().cloned()).await;
            connector.still_serves(what, Some(wire)).await;
            if count(&connector.world.status().await["relay"][0]) >= before + lines as u64 {
                return;
            }
        }
    };
    within(CEILING, &format!("{lines} {what} counted by the gateway"), seen).await;
}

#[actix_web::test]
async fn memory_stays_flat_under_unknown_platforms_and_under_a_flood_of_interrupts() {
    let mut connector = HostileConnector::start().await;
    let kinds: [FloodKind; 2] = [
        ("unknown platforms", unknown_platform, |link| link["skipped"].as_u64().unwrap()),
        ("interrupts", interrupt, |link| link["frames"]["interrupt_inbound"].as_u64().unwrap_or_default()),
    ];
    for kind in kinds {
        // The one-time cost of a flood: buffers, threads, pages of the ledger.
        seen(&mut connector, kind, 2_000).await;
        let before = connector.resident();
        seen(&mut connector, kind, 20_000).await;
        let after = connector.resident();
        println!("20,000 {}: {before} KB resident before, {after} KB after", kind.0);
        assert!(after < before + SLACK_KB, "{}: {before} KB before, {after} KB after", kind.0);
    }
    let _wire = connector.wire().await;
    let status = connector.world.until("a link", |status| status["relay"][0]["state"] == "connected").await;
    let platforms: Vec<_> = status["gateway_platforms"].as_object().unwrap().keys().collect();
    assert_eq!(platforms, ["discord"]);
    assert_eq!(status["relay"][0]["descriptors"].as_array().unwrap().len(), 1);
}

/// Lines of the log that have `words`.
fn lines(world: &World, words: &str) -> usize {
    world.gateway().log().lines().filter(|line| line.contains(words)).count()
}

#[actix_web::test]
async fn warnings_caused_by_a_connector_are_limited_and_the_omitted_ones_are_counted() {
    const FLOOD: usize = 1_000;
    let hostile = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut world = World::prepare().await;
    let address = hostile.local_addr().unwrap();
    let env = |id: &str| {
        format!(
            "GATEWAY_RELAY_URL=http://{address}\nGATEWAY_RELAY_ID={id}\nGATEWAY_RELAY_SECRET=a-secret-of-{id}-0123456789\n\
             GATEWAY_RELAY_PLATFORMS=discord\n"
        )
    };
    world.write(".env", &env("home"));
    world.profile("work", &env("work"));
    world.write("caduceus.yaml", "agent: {backend: echo}\n");
    world.serve_unlinked();
    let mut wires = Vec::new();
    for _ in 0..2 {
        let (socket, _) = within(SOON, "a dial", hostile.accept()).await.unwrap();
        let mut wire = accept_async(socket).await.unwrap();
        next_of_kind(&mut wire, "hello").await.unwrap();
        send_all(&mut wire, [text(&descriptor())]).await;
        wires.push(wire);
    }
    // Every link gets everything, so their order does not matter.
    let foreign =
        |_| json!({"type": "interrupt_inbound", "session_key": "agent:other:discord:channel:c", "chat_id": "c"});
    let unserved = |number| {
        let id = format!("u{number}");
        json!({"type": "inbound", "event": World::message(&id, "x", "c", Some(&format!("unknown-{number}"))), "bufferId": id})
    };
    let odd = |number| json!({"type": "inbound", "event": number, "bufferId": format!("d{number}")});
    let unknown_results =
        |number: usize| json!({"type": "outbound_result", "requestId": number.to_string(), "result": {}});
    for wire in &mut wires {
        let all = [flood(FLOOD, foreign), flood(FLOOD, unserved), flood(FLOOD, odd), flood(FLOOD, unknown_results)];
        send_all(wire, all.into_iter().flatten()).await;
        let mut acknowledged = 0;
        while acknowledged < 2 * FLOOD {
            let frame = next_before(wire, SOON).await.expect("the acknowledgements, and the link stays up");
            acknowledged += usize::from(frame["type"] == "inbound_ack");
        }
    }
    let kinds = [
        // Warnings of the profile's own link only; of the gateway's only; of both.
        ("interrupt for another profile's session", 1),
        ("the profile that it names is not served", 1),
        ("frame kept as a dead letter", 2),
    ];
    let left_out = wait_for("a count of the omitted lines", SOON, || async {
        let log = world.gateway().log();
        let omitted = log.lines().filter(|line| line.contains("log lines suppressed by the rate limit"));
        let count = |line: &str| line.split("lines=").nth(1)?.split(' ').next()?.parse::<usize>().ok();
        let sum: usize = omitted.filter_map(count).sum();
        let written: usize = kinds.iter().map(|(words, _)| lines(&world, words)).sum();
        (sum + written >= 4 * FLOOD).then_some(sum)
    })
    .await;
    let log = world.gateway().log();
    println!("{left_out} lines left out; the log has {} bytes", log.len());
    for (words, links) in kinds {
        let written = lines(&world, words);
        println!("{words}: {written} of {} lines", FLOOD * links);
        assert!((1..=100 * links).contains(&written), "{words}: {written} lines");
    }
    // Each refused event has a line of its own, with a larger burst.
    assert!(log.len() < 512 * 1024, "{} bytes of log", log.len());
}
