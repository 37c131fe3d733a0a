//! A gateway that finds thousands of events, interrupted turns and replies at its start does not flood chats or agents: turns run within their limit, what is a
//! day old is not sent, and a chat gets one notice.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use caduceus_actors::ledger::{LedgerWriter, SqliteStore, place};
use caduceus_contract::json::RawJson;
use caduceus_contract::messages::ledger::{InboundState, OutboundState, RecordInbound, RecordOutbound};
use caduceus_contract::wire::event::InboundEvent;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::backlog::{row, target};
use crate::hung_disk::build_library;
use crate::support::{SOON, client, get, wait_for};
use crate::world::World;

const CHATS: usize = 50;
const INTERRUPTED: usize = 64;
const RECEIVED: usize = 5_000;
/// Of the events, those whose agent is a process that counts how many run.
const COUNTED: usize = 200;
const AT_ONCE: usize = 8;
/// Long enough for a debug build on a busy machine.
const CEILING: Duration = Duration::from_mins(4);
/// Marks the run of this test binary that fills a ledger; for the test harness it is a filter that matches nothing.
const CHILD: &str = "fill-ledger=";
const DAY_AND_HOUR_S: &str = "90000";
/// More than any page of replies that is read at once.
const OF_A_DEAD_LINK: usize = 10_100;

/// Shows the time some seconds ago.
const LATE_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int outcome = real(clock, now);
    const char *late = getenv("LATE_S");
    if (clock == CLOCK_REALTIME && late) now->tv_sec -= atol(late);
    return outcome;
}
"#;

/// Counts the agents that run at the same time as this one.
const COUNTING_AGENT: &str = r#"#!/bin/sh
read -r document
mkdir "$HERMES_HOME/now.$$"
set -- "$HERMES_HOME"/now.*
echo $# >> "$HERMES_HOME/counts"
sleep 0.05
rmdir "$HERMES_HOME/now.$$"
echo counted
"#;

/// A ledger without a gateway.
struct Filling(LedgerWriter<SqliteStore>);

impl Filling {
    fn of(home: &Path) -> Self {
        let path = place::prepare(home).expect("the home is usable");
        Self(LedgerWriter::open(path).expect("the ledger opens"))
    }

    async fn events(&self, events: Vec<RecordInbound>) {
        for group in events.chunks(500) {
            let recorded = join_all(group.iter().map(|event| self.0.ask(event.clone()))).await;
            assert!(recorded.iter().all(Result::is_ok), "{recorded:?}");
        }
    }

    async fn reply(&self, link: &str, chat: &str, text: &str, state: OutboundState) {
        self.replies(link, vec![(chat.to_owned(), text.to_owned())], state).await;
    }

    async fn replies(&self, link: &str, replies: Vec<(String, String)>, state: OutboundState) {
        let reply = |(chat, text): &(String, String)| {
            let event = InboundEvent::parse(&World::message("", "", chat, None)).expect("the event is valid");
            let action = json!({"op": "send", "chat_id": chat, "content": text});
            let target = target(link, &event.source);
            RecordOutbound { inbound: None, turn: None, number: None, target, action: RawJson::of(&action), state }
        };
        for group in replies.chunks(500) {
            let recorded = join_all(group.iter().map(|one| self.0.ask(reply(one)))).await;
            assert!(recorded.iter().all(Result::is_ok), "{recorded:?}");
        }
    }

    fn close(self) {
        self.0.close(SOON).expect("the ledger closes");
    }
}

/// Replies of a day and an hour ago, which were never sent, or may have been; some over a link that is no longer configured.
async fn fill_old(home: &Path) {
    let ledger = Filling::of(home);
    for chat in 0..CHATS {
        ledger.reply("relay", &format!("c{chat}"), "old, never sent", OutboundState::Pending).await;
    }
    for chat in 0..5 {
        ledger.reply("relay", &format!("c{chat}"), "old, perhaps sent", OutboundState::Sending).await;
        ledger.reply("relay-gone", &format!("c{chat}"), "old, without a link", OutboundState::Pending).await;
    }
    ledger.close();
}

/// Runs [`fill_old`] in a process whose clock is late.
fn fill_old_in_a_late_process(home: &Path, test: &str) {
    let libraries = tempfile::tempdir().unwrap();
    let filled = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .arg(format!("{CHILD}{}", home.display()))
        .env("LD_PRELOAD", build_library(libraries.path(), LATE_CLOCK))
        .env("LATE_S", DAY_AND_HOUR_S)
        .output()
        .unwrap();
    assert!(filled.status.success(), "{filled:?}");
}

/// A message in a chat.
fn message(id: &str, chat: usize, user: usize, profile: Option<&str>) -> Value {
    let mut event = World::message(id, id, &format!("c{chat}"), profile);
    event["source"]["user_id"] = format!("u{user}").into();
    event
}

/// The id of a received event: the last number counts within its session.
fn received(number: usize) -> (String, usize, usize) {
    let (chat, user) = (number % CHATS, number / CHATS % 10);
    (format!("received-{chat}-{user}-{}", number / CHATS / 10), chat, user)
}

async fn fill_new(home: &Path) {
    let ledger = Filling::of(home);
    let interrupted = (0..INTERRUPTED).map(|number| {
        let event = message(&format!("interrupted-{number}"), number % CHATS, 100 + number, None);
        let turn = Some(format!("01900000-0000-7000-8000-{number:012}").parse().expect("an id"));
        RecordInbound { turn, ..row(&event, "relay", InboundState::Running) }
    });
    let waiting = (0..RECEIVED - COUNTED).map(|number| {
        let (id, chat, user) = received(number);
        row(&message(&id, chat, user, None), "relay", InboundState::Received)
    });
    // Each in a session of its own.
    let counted = (0..COUNTED).map(|number| {
        let event = message(&format!("counted-{number}"), number % CHATS, 1_000 + number, Some("work"));
        row(&event, "relay", InboundState::Received)
    });
    ledger.events(interrupted.chain(waiting).chain(counted).collect()).await;
    ledger.reply("relay", "c0", "new, never sent", OutboundState::Pending).await;
    ledger.reply("relay", "c1", "new, perhaps sent", OutboundState::Sending).await;
    ledger.close();
}

/// What the gateway sends from now on: the connector keeps only the last few thousand frames.
fn record_frames(world: &World) -> Rc<RefCell<Vec<Value>>> {
    let (frames, stream) =
        (Rc::<RefCell<Vec<Value>>>::default(), format!("{}/dev/outbound?after=0", world.connector.url));
    let recorded = Rc::clone(&frames);
    actix_web::rt::spawn(async move {
        let mut body = client().get(stream).timeout(CEILING).send().await.expect("the connector answers");
        let mut text = String::new();
        while let Some(Ok(chunk)) = body.next().await {
            text.push_str(&String::from_utf8_lossy(&chunk));
            let Some((lines, rest)) = text.rsplit_once('\n') else { continue };
            let values = lines.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok());
            recorded.borrow_mut().extend(values);
            text = rest.to_owned();
        }
    });
    frames
}

#[actix_web::test]
async fn thousands_of_events_and_interrupted_turns_come_back_within_the_limit_and_nothing_old_is_sent() {
    if let Some(home) = std::env::args().find_map(|argument| argument.strip_prefix(CHILD).map(PathBuf::from)) {
        return fill_old(&home).await;
    }
    let mut world = World::prepare().await;
    let limits = format!("turns:\n  max_concurrent: {AT_ONCE}\nthreads:\n  data: 2\n");
    world.write("caduceus.yaml", &format!("agent:\n  backend: echo\n{limits}"));
    world.script("work", COUNTING_AGENT, "");
    let test =
        "recovery_floods::thousands_of_events_and_interrupted_turns_come_back_within_the_limit_and_nothing_old_is_sent";
    fill_old_in_a_late_process(world.home(), test);
    fill_new(world.home()).await;
    let frames = record_frames(&world);
    world.serve_unlinked();

    let all = wait_for("every event done", CEILING, || async {
        let (code, status) = get(&world.url("/api/status")).await;
        let ledger = &status["ledger"];
        let done = ledger["inbound"]["done"] == RECEIVED && ledger["inbound"]["interrupted"] == INTERRUPTED;
        let replies = ledger["outbound"]["dead"] == CHATS + 10;
        (code == 200 && done && replies && ledger["outbound"]["pending"].is_null()).then_some(status)
    });
    let status = all.await;
    assert_eq!(status["turns"]["done"], RECEIVED, "each ran once: {}", status["turns"]);
    let counts = fs::read_to_string(world.path("profiles/work/counts")).unwrap();
    let counts: Vec<usize> = counts.lines().map(|line| line.parse().unwrap()).collect();
    let at_once = counts.iter().copied().max().unwrap();
    assert!(counts.len() == COUNTED && (2..=AT_ONCE).contains(&at_once), "{at_once} agents ran at once");

    // The last frame is recorded when the connector has passed it on.
    let text = |frame: &Value| frame["frame"]["action"]["content"].as_str().map(str::to_owned);
    let answers = RECEIVED + CHATS + 2;
    wait_for("every frame", SOON, || async {
        (frames.borrow().iter().filter(|frame| text(frame).is_some()).count() >= answers).then_some(())
    })
    .await;
    let frames = frames.borrow();
    let texts: Vec<String> = frames.iter().filter_map(text).collect();
    assert_eq!(texts.len(), answers, "answers, one notice a chat, two replies");
    assert!(!texts.iter().any(|text| text.contains("old")), "nothing old is sent");
    let with = |words: &str| texts.iter().filter(|text| text.contains(words)).collect::<Vec<_>>();
    assert_eq!(with("new, never sent"), ["new, never sent"], "sent once, without a mark");
    let repeated = with("new, perhaps sent");
    assert!(repeated.len() == 1 && repeated[0].contains("may be a repeat"), "{repeated:?}");

    let mut notices = BTreeMap::<&str, usize>::new();
    let mut answered = HashMap::<&str, Vec<&str>>::new();
    for frame in frames.iter() {
        let action = &frame["frame"]["action"];
        if text(frame).is_some_and(|text| text.contains("A restart interrupted")) {
            *notices.entry(action["chat_id"].as_str().unwrap()).or_default() += 1;
        }
        if let Some((session, _)) = action["reply_to"].as_str().and_then(|id| id.rsplit_once('-')) {
            answered.entry(session).or_default().push(action["reply_to"].as_str().unwrap());
        }
    }
    assert!(notices.len() == CHATS && notices.values().all(|notices| *notices == 1), "{notices:?}");
    assert!(!answered.contains_key("interrupted"), "no interrupted turn runs without a question");
    for number in 0..CHATS * 10 {
        let (id, ..) = received(number);
        let (session, _) = id.rsplit_once('-').unwrap();
        let events = (number..RECEIVED - COUNTED).step_by(CHATS * 10);
        let expected: Vec<String> = events.map(|number| received(number).0).collect();
        assert_eq!(answered.get(session).unwrap(), &expected, "each once and in order");
    }
    assert_eq!(answered.get("counted").unwrap().len(), COUNTED);
}

#[actix_web::test]
async fn the_replies_of_a_link_that_is_gone_delay_those_of_no_other() {
    let mut world = World::prepare().await;
    let ledger = Filling::of(world.home());
    let of_dead_link = (0..OF_A_DEAD_LINK).map(|number| (format!("gone{number}"), "not sent".to_owned())).collect();
    ledger.replies("relay-gone", of_dead_link, OutboundState::Pending).await;
    ledger.reply("relay", "c1", "sent", OutboundState::Pending).await;
    ledger.close();
    world.serve().await;
    world.until_text("c1", "sent").await;
    let status = world.until("one delivered", |status| status["ledger"]["outbound"]["delivered"] == 1).await;
    assert_eq!(status["ledger"]["outbound"]["pending"], OF_A_DEAD_LINK, "they wait for their link");
}
