//! Far more events than the gateway can answer, over both ways in. What waits and the memory stay bounded, a refusal says so, and every event
//! that was acknowledged is answered. Counted by the connector, by the senders and by the agent.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failing_disks::{deliver, prepare};
use crate::support::{pace, post, wait_for};
use crate::world::World;

/// `turns.max_waiting`.
const WAITING: usize = 20;
/// `turns.max_concurrent`.
const TURNS: usize = 4;
/// Dispatchers, each of which may have read the count of the others a moment ago.
const DISPATCHERS: usize = 2;
/// Most events that a dispatcher takes beside the limit: those of one read.
const OVERSHOOT: usize = DISPATCHERS * 64;
/// Events over the socket. The connector accepts all, and sends more of them without an acknowledgement than the link has places for.
const PUSHED: usize = 320;
/// How long senders deliver over HTTP, as fast as they are answered, and how many there are.
const FLOOD: Duration = Duration::from_secs(3);
const SENDERS: usize = 6;
/// Chats, so that no session has as many events as it queues.
const CHATS: usize = 100;
/// Allowed growth of the resident memory: a waiting event takes up to 1 KiB, and a gateway that queued everything would not be found by this
/// but by the count; this finds what is kept of refused events.
const GROWTH: u64 = 48 * 1024 * 1024;
const CEILING: Duration = Duration::from_mins(2);

/// Keeps its account as [`BOOKKEEPER`](crate::world::BOOKKEEPER) does, and answers once the file `go` is there, so that nothing is answered during
/// the flood.
const AGENT: &str = r#"#!/bin/sh
read -r document || exit 1
text=${document#*\"event\":}
text=${text#*\"text\":\"}
text=${text%%\"*}
printf '%s %s %s\n' "$CADUCEUS_TURN_ID" "$CADUCEUS_ATTEMPT" "$text" >> "$HERMES_HOME/account"
while [ ! -e "$HERMES_HOME/go" ]; do sleep 0.05; done
echo "received $text"
"#;

/// Resident memory of the gateway in bytes, as the system counts it.
fn resident(world: &World) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", world.gateway().id())).expect("the gateway runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel counts it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") * 1024
}

/// Events that the connector saw acknowledged, or the senders accepted, and those of them that it saw answered.
async fn taken_and_answered(world: &World, accepted: usize) -> (usize, usize) {
    let account = world.account().await;
    let events = account["events"].as_object().cloned().unwrap_or_default();
    let has = |event: &Value, what: &str| event[what].as_u64() > Some(0);
    let acknowledged = events.values().filter(|event| has(event, "acked")).count();
    let answered = events.values().filter(|event| has(event, "answered")).count();
    (acknowledged + accepted, answered)
}

/// Delivers events over HTTP until `until`, and counts those that are accepted. Returns what each got.
async fn flood(world: &World, sender: usize, until: Instant, accepted: &Cell<usize>) -> BTreeMap<String, u16> {
    let mut answers = BTreeMap::new();
    while Instant::now() < until {
        let id = format!("h{sender}-{}", answers.len());
        let (status, body, has_time) = deliver(world, &id, &format!("c{}", answers.len() % CHATS)).await;
        match status {
            200 => accepted.set(accepted.get() + 1),
            503 => {
                assert!(has_time, "{body}: the sender learns when to try again");
                assert!(["not_taken", "too_many_deliveries"].contains(&body["error"].as_str().unwrap()), "{body}");
            }
            other => panic!("{other}: {body}"),
        }
        answers.insert(id, status);
        if status == 503 {
            pace(Duration::from_millis(20)).await;
        }
    }
    answers
}

#[actix_web::test]
async fn more_events_than_it_can_answer_are_refused_and_each_that_was_taken_is_answered() {
    let mut world = prepare().await;
    world.write("agent.sh", AGENT);
    let limits = format!("max_concurrent: {TURNS}, max_waiting: {WAITING}");
    world.configure(&format!("threads: {{data: {DISPATCHERS}}}\nturns: {{{limits}}}\n"));
    world.serve().await;
    assert_eq!(deliver(&world, "first", "first").await.0, 200);
    world.until("a turn", |status| status["turns"]["running"] == 1).await;
    let before = resident(&world);

    let (until, accepted) = (Instant::now() + FLOOD, Rc::<Cell<usize>>::default());
    let push = async {
        for number in 0..PUSHED {
            let (id, chat) = (format!("s{number}"), format!("c{}", number % CHATS));
            let event = json!({"event": World::message(&id, &id, &chat, None)});
            let (status, answer) = post(&format!("{}/dev/inbound", world.connector.url), &event).await;
            assert_eq!(status, 202, "{answer}");
        }
    };
    let floods = futures_util::future::join_all((0..SENDERS).map(|sender| flood(&world, sender, until, &accepted)));
    let watch = async {
        let mut most = (0, 0);
        while Instant::now() < until {
            // The answers first: an event that is taken in between does not count as one that waits.
            let (_, answered) = taken_and_answered(&world, 0).await;
            let (taken, _) = taken_and_answered(&world, 0).await;
            most = (most.0.max((taken + accepted.get()).saturating_sub(answered)), most.1.max(resident(&world)));
            pace(Duration::from_millis(100)).await;
        }
        most
    };
    let ((), floods, (most_waiting, most_resident)) = futures_util::future::join3(push, floods, watch).await;
    let delivered: BTreeMap<String, u16> = floods.into_iter().flatten().collect();
    let count = |status| delivered.values().filter(|answer| **answer == status).count();
    println!("{} accepted and {} refused over HTTP; {most_waiting} waiting at most", count(200), count(503));
    assert!(count(503) > count(200), "far more were delivered than accepted");
    let more = most_resident.saturating_sub(before);
    assert!(more < GROWTH, "{more} bytes more");

    // The limit was reached, and is not exceeded by more than what is on its way at that moment.
    let most = WAITING + TURNS + OVERSHOOT;
    assert!((WAITING / 2..=most).contains(&most_waiting), "{most_waiting} waited at once");
    let status = world.status().await;
    assert!(status["turns"]["dropped"]["offers"].as_u64() > Some(0), "{}", status["turns"]);
    assert!(world.gateway().log().contains("too many events wait"));

    world.write("go", "");

    let all = 1 + PUSHED + count(200);
    wait_for(&format!("{all} answers"), CEILING, || async {
        (taken_and_answered(&world, 0).await.1 >= all).then_some(())
    })
    .await;
    let status = world.until("every event done", |status| status["ledger"]["inbound"]["done"] == all).await;
    assert_eq!(status["ledger"]["inbound"], json!({"done": all}), "none was refused, failed or given up");
    let mut texts: Vec<_> = world.agent_account(None).into_iter().map(|(_, _, text)| text).collect();
    texts.sort();
    let accepted = delivered.iter().filter(|(_, status)| **status == 200).map(|(id, _)| id.clone());
    let pushed = (0..PUSHED).map(|number| format!("s{number}"));
    let expected: BTreeSet<String> = accepted.chain(pushed).chain(["first".to_owned()]).collect();
    assert_eq!(texts, expected.into_iter().collect::<Vec<_>>(), "each that was taken ran once, and no other");
    let dials = world.account().await["gateways"]["world"]["dials"].as_u64();
    assert!(dials > Some(1), "the link fetched over another connection what it had left with the connector");
}
