//! Far more events than the gateway can answer, over both ways in. What waits and the memory stay bounded, and every refusal has an answer: for
//! the sender of a delivery, or in the chat. Counted by the connector, by the senders and by the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failing_disks::{deliver, prepare};
use crate::support::{pace, post, wait_for};
use crate::world::World;

/// `turns.max_waiting`.
const WAITING: usize = 20;
/// `turns.max_concurrent`.
const TURNS: usize = 4;
/// Dispatchers, which share the limit.
const DISPATCHERS: usize = 2;
/// Events over the socket, and over that of another link while the first one is at its limit.
const PUSHED: usize = 320;
const OVER_OTHER: usize = 5;
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

/// An event by the account of the connector.
#[derive(Default)]
struct EventAccount {
    acknowledged: u64,
    answered: u64,
}

async fn account(world: &World) -> BTreeMap<String, EventAccount> {
    let account = world.account().await;
    let events = account["events"].as_object().cloned().unwrap_or_default();
    let of = |event: &Value| {
        let count = |what: &str| event[what].as_u64().unwrap_or_default();
        EventAccount { acknowledged: count("acked"), answered: count("answered") }
    };
    events.iter().map(|(id, event)| (id.clone(), of(event))).collect()
}

/// The chat of an event over the socket.
fn chat_of(number: usize) -> String {
    format!("c{}", number % CHATS)
}

/// Pushes an event over the link of `gateway`.
async fn push(world: &World, gateway: &str, id: &str, text: &str, chat: &str) {
    let event = json!({"gatewayId": gateway, "event": World::message(id, text, chat, None)});
    let (status, answer) = post(&format!("{}/dev/inbound", world.connector.url), &event).await;
    assert_eq!(status, 202, "{answer}");
}

/// Delivers events over HTTP until `until`. Returns what each got: nothing, or why it was not taken.
async fn flood(world: &World, sender: usize, until: Instant) -> BTreeMap<String, Option<String>> {
    let mut answers = BTreeMap::new();
    while Instant::now() < until {
        let id = format!("h{sender}-{}", answers.len());
        let (status, body, has_time) = deliver(world, &id, &format!("c{}", answers.len() % CHATS)).await;
        let error = body["error"].as_str().map(str::to_owned);
        match (status, error.as_deref()) {
            (200, None) => {}
            (503, Some("not_taken" | "too_many_deliveries")) => {
                assert!(has_time, "{body}: the sender learns when to try again");
                pace(Duration::from_millis(20)).await;
            }
            other => panic!("{other:?}: {body}"),
        }
        answers.insert(id, error);
    }
    answers
}

/// Floods the gateway over both ways in while no turn ends. Returns what each delivery got.
async fn flood_all(world: &World) -> BTreeMap<String, Option<String>> {
    let until = Instant::now() + FLOOD;
    let pushes = async {
        for number in 0..PUSHED {
            let id = format!("s{number}");
            push(world, "world", &id, &id, &chat_of(number)).await;
        }
    };
    let floods = futures_util::future::join_all((0..SENDERS).map(|sender| flood(world, sender, until)));
    let watch = async {
        while Instant::now() < until {
            let status = world.status().await;
            let waiting = status["turns"]["queued"].as_u64();
            assert!(waiting <= Some(WAITING as u64), "{}", status["turns"]);
            pace(Duration::from_millis(100)).await;
        }
    };
    let ((), floods, ()) = futures_util::future::join3(pushes, floods, watch).await;
    wait_for("every pushed event to be acknowledged", CEILING, || async {
        let account = account(world).await;
        (0..PUSHED)
            .all(|number| account.get(&format!("s{number}")).is_some_and(|event| event.acknowledged > 0))
            .then_some(())
    })
    .await;
    floods.into_iter().flatten().collect()
}

#[actix_web::test]
async fn more_events_than_it_can_answer_are_refused_and_each_that_was_taken_is_answered() {
    let mut world = prepare().await;
    world.write("agent.sh", AGENT);
    let limits = format!("max_concurrent: {TURNS}, max_waiting: {WAITING}");
    world.configure(&format!("threads: {{data: {DISPATCHERS}}}\nturns: {{{limits}}}\n"));
    world.profile("work", &world.link_env("of-work").await);
    world.serve().await;
    world.until("both links connected", |status| status["relay"][1]["state"] == "connected").await;
    assert_eq!(deliver(&world, "first", "first").await.0, 200);
    world.until("a turn", |status| status["turns"]["running"] == 1).await;
    let before = resident(&world);

    let delivered = flood_all(&world).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = delivered.iter().partition(|(_, error)| error.is_none());
    println!("{} accepted and {} refused over HTTP", accepted.len(), refused.len());
    assert!(refused.len() > accepted.len(), "far more were delivered than accepted");
    let more = resident(&world).saturating_sub(before);
    assert!(more < GROWTH, "{more} bytes more");
    assert!(world.gateway().log().contains("too many events of the link wait"));

    // A command passes, and so does the other link.
    push(&world, "world", "command", "/status", &chat_of(0)).await;
    world.until_text(&chat_of(0), "4 running in total").await;
    for number in 0..OVER_OTHER {
        let id = format!("w{number}");
        push(&world, "of-work", &id, &id, &id).await;
    }
    world.until("those of the other link waiting", |status| status["turns"]["queued"] == WAITING + OVER_OTHER).await;

    world.write("go", "");
    world.write("profiles/work/go", "");
    let taken = WAITING + TURNS + OVER_OTHER;
    let done = |status: &Value| status["ledger"]["inbound"]["done"] == taken + 1;
    let status = world.until("every event that was taken, and the command, done", done).await;
    let account = account(&world).await;

    // The account of the agent: each that was taken ran once, and in each chat in order.
    let ran: Vec<_> = world.agent_account(None).into_iter().map(|(_, _, text)| text).collect();
    let of_work = world.agent_account(Some("work")).len();
    let once: BTreeSet<_> = ran.iter().cloned().collect();
    assert_eq!((ran.len(), once.len(), of_work), (WAITING + TURNS, WAITING + TURNS, OVER_OTHER), "{ran:?}");
    let pushed: Vec<usize> = ran.iter().filter_map(|id| id.strip_prefix('s')?.parse().ok()).collect();
    for chat in 0..CHATS {
        let in_chat = pushed.iter().filter(|number| *number % CHATS == chat);
        assert!(in_chat.is_sorted(), "{pushed:?}");
    }
    let expected = accepted.iter().map(|(id, _)| (*id).clone());
    let expected = expected.chain(pushed.iter().map(|number| format!("s{number}"))).chain(["first".to_owned()]);
    assert_eq!(once, expected.collect(), "none that was refused over HTTP");

    // The account of the connector: answered once, or refused with a notice in the chat.
    let noticed: BTreeSet<String> = chats_with_notice(&world).await;
    for number in 0..PUSHED {
        let id = format!("s{number}");
        let answered = account[&id].answered;
        assert_eq!(answered, u64::from(once.contains(&id)), "{id}");
        assert!(answered == 1 || noticed.contains(&chat_of(number)), "{id} was refused in silence");
    }
    let refused_in_chat = PUSHED - pushed.len();
    assert_eq!(status["ledger"]["inbound"], json!({"done": taken + 1, "refused": refused_in_chat}));
    let not_taken = refused.iter().filter(|(_, error)| error.as_deref() == Some("not_taken")).count();
    assert_eq!(status["turns"]["dropped"]["events"], refused_in_chat + not_taken);
    assert_eq!(status["turns"]["dropped"]["notices"], 0);

    // There is room again, and the connection was the same all the time.
    push(&world, "world", "after", "after", "first").await;
    world.answer("after").await;
    assert!(world.gateway().log().contains("events of the link may wait again"));
    assert_eq!(world.account().await["gateways"]["world"]["dials"], 1);
}

/// The chats that got the notice of a message that was not accepted.
async fn chats_with_notice(world: &World) -> BTreeSet<String> {
    let frames = world.outbound().await;
    let actions = frames.iter().map(|kept| &kept["frame"]["action"]);
    let notices = actions.filter(|action| {
        action["content"].as_str().is_some_and(|text| text.starts_with("Too many messages are waiting for the agent"))
    });
    notices.filter_map(|action| action["chat_id"].as_str().map(str::to_owned)).collect()
}
