//! Sessions over several data threads: the order of each chat, one answer to each message, one limit of turns over all, and what a
//! crash, a restart with another number of threads, a failed dispatcher and a drain leave.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::process::Command;

use caduceus_contract::share::DispatchShare;
use caduceus_contract::wire::event::Source;
use serde_json::{Value, json};

use crate::support::{SOON, post, wait_for};
use crate::world::{World, ended_lines};

/// Data threads of most worlds.
const THREADS: usize = 3;
const CHATS: usize = 9;

/// Writes when it begins, waits for one line, writes that it ends, then answers.
const AGENT: &str = r#"#!/bin/sh
read -r document
text=${document#*\"text\":\"}; text=${text%%\"*}
echo "begin $text" >> "$1/turns"
read -r _ < "$1/go"
echo "end $text" >> "$1/turns"
echo "answer to $text"
"#;

/// A gateway whose agents wait for a line from a pipe.
struct BlockedAgents {
    world: World,
    /// One line for each agent that may continue. Open in both directions, so that no agent reads an end of file.
    pipe: File,
}

impl BlockedAgents {
    async fn start(threads: usize, more: &str) -> Self {
        let world = World::prepare().await;
        world.write("agent.sh", AGENT);
        let pipe = world.path("go");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
        let pipe = OpenOptions::new().read(true).write(true).open(pipe).expect("the pipe opens in both directions");
        let mut blocked = Self { world, pipe };
        blocked.configure(threads, more);
        blocked.world.serve().await;
        blocked
    }

    fn configure(&self, threads: usize, more: &str) {
        let command = json!(["sh", self.world.path("agent.sh"), self.world.home()]);
        let text = format!("agent: {{backend: exec, command: {command}}}\nthreads: {{data: {threads}}}\n{more}");
        self.world.write("caduceus.yaml", &text);
    }

    /// Sends this message to every chat.
    async fn send(&self, number: usize) {
        for chat in chats() {
            let text = format!("{chat}-{number}");
            self.world.push(&text, &text, &chat, None).await;
        }
    }

    /// Releases this many agents.
    fn release(&mut self, count: usize) {
        self.pipe.write_all(&vec![b'\n'; count]).expect("the pipe has room");
    }

    /// What the agents wrote: whether a turn began, and its text.
    fn turns(&self) -> Vec<(bool, String)> {
        let line = |line: String| line.split_once(' ').map(|(word, text)| (word == "begin", text.to_owned()));
        ended_lines(&self.world.path("turns")).into_iter().filter_map(line).collect()
    }

    async fn until_begun(&self, count: usize) {
        let begun = || self.turns().iter().filter(|(begun, _)| *begun).count();
        wait_for(&format!("{count} agents at work"), SOON * 2, || async { (begun() == count).then_some(()) }).await;
    }

    /// Waits for one answer to each of this many messages of every chat, and for the end of all turns.
    async fn until_all_answered(&self, messages: usize) {
        wait_for("all answers", SOON * 2, || async {
            let events = &self.world.account().await["events"];
            texts(messages).all(|text| events[text]["answered"].as_u64() > Some(0)).then_some(())
        })
        .await;
        self.world.until("no turn left", |status| status["active_agents"] == 0 && status["active_sessions"] == 0).await;
        let events = &self.world.account().await["events"];
        for text in texts(messages) {
            assert_eq!((&events[&text]["answered"], &events[&text]["repeats"]), (&json!(1), &json!(0)), "{text}");
        }
    }

    /// Checks that the last turns of each chat were those of its messages, in order, and that no more than `limit` ran at once.
    fn check_turns(&self, messages: usize, limit: usize) {
        let (mut running, mut ended) = (0_usize, BTreeMap::<String, Vec<String>>::new());
        for (begun, text) in self.turns() {
            if begun {
                running += 1;
                assert!(running <= limit, "{text} is one turn too many");
            } else {
                running -= 1;
                let chat = text.split_once('-').expect("a chat and a number").0.to_owned();
                ended.entry(chat).or_default().push(text);
            }
        }
        for (chat, ended) in ended {
            let expected: Vec<_> = (0..messages).map(|number| format!("{chat}-{number}")).collect();
            assert_eq!(ended, expected);
        }
    }

    async fn received(&self, states: &[(&str, usize)]) {
        let expected: Vec<_> = states.iter().map(|(state, count)| (*state, json!(count))).collect();
        let is = |status: &Value| expected.iter().all(|(state, count)| status["ledger"]["inbound"][state] == *count);
        self.world.until(&format!("{states:?}"), is).await;
    }
}

/// Chats of which each data thread has some, whatever their number is here.
fn chats() -> impl Iterator<Item = String> {
    (0..CHATS).map(|chat| format!("chat{chat}"))
}

fn texts(messages: usize) -> impl Iterator<Item = String> {
    (0..messages).flat_map(|number| chats().map(move |chat| format!("{chat}-{number}")))
}

/// The number of the dispatcher of a chat.
fn dispatcher_of(chat: &str, threads: usize) -> usize {
    let source =
        Source { platform: "discord".into(), chat_type: "channel".into(), chat_id: chat.into(), ..Source::default() };
    DispatchShare::number_of(&source, threads)
}

#[actix_web::test]
async fn chats_on_several_threads_keep_their_order_and_share_the_limit_of_turns() {
    let limit = 2;
    let home = "notices: {home: {platform: discord, chat_id: lobby}}\n";
    let mut blocked = BlockedAgents::start(THREADS, &format!("turns: {{max_concurrent: {limit}}}\n{home}")).await;
    for threads in [2, THREADS] {
        let used: BTreeSet<_> = chats().map(|chat| dispatcher_of(&chat, threads)).collect();
        assert_eq!(used.len(), threads, "each dispatcher has a chat");
    }
    for number in 0..3 {
        blocked.send(number).await;
    }
    blocked.received(&[("running", limit), ("received", 3 * CHATS - limit)]).await;
    let status = blocked.world.status().await;
    assert_eq!((&status["turns"]["running"], &status["active_agents"]), (&json!(limit), &json!(limit)), "{status}");
    assert_eq!(status["active_sessions"], CHATS, "{status}");
    let children = status["actors"]["children"].as_array().unwrap();
    let ids: Vec<_> = children.iter().filter_map(|node| node["id"].as_str()).collect();
    for id in ["dispatch", "dispatch-2", "dispatch-3", "turns", "turns-2", "turns-3"] {
        assert!(ids.contains(&id), "{id} of {ids:?}");
    }
    blocked.release(3 * CHATS);
    blocked.until_all_answered(3).await;
    blocked.check_turns(3, limit);
    let announced = blocked.world.texts("lobby").await;
    assert_eq!(announced, ["The gateway is up."], "once, and not by each dispatcher");
}

#[actix_web::test]
async fn a_restart_with_any_number_of_threads_finds_every_message_and_repeats_no_answer() {
    let turns = "turns: {max_concurrent: 4, interrupted: rerun}\n";
    let mut blocked = BlockedAgents::start(THREADS, turns).await;
    blocked.send(0).await;
    blocked.send(1).await;
    blocked.until_begun(4).await;
    for (round, threads) in [THREADS, 1].into_iter().enumerate() {
        blocked.world.kill_gateway();
        blocked.configure(threads, turns);
        blocked.world.serve().await;
        blocked.until_begun(4 * (round + 2)).await;
    }
    blocked.world.kill_gateway();
    // Three attempts would be the limit of the others.
    blocked.configure(2, "turns: {max_concurrent: 4, interrupted: ask}\n");
    blocked.world.serve().await;
    blocked.until_begun(16).await;
    blocked.release(2 * CHATS);
    let settled = |status: &Value| {
        let count = |state: &str| status["ledger"]["inbound"][state].as_u64().unwrap_or_default();
        count("interrupted") >= 4 && count("interrupted") + count("done") == 2 * CHATS as u64
    };
    blocked.world.until("every message done or interrupted", settled).await;
    let account = blocked.world.account().await;
    for chat in chats() {
        let texts = blocked.world.texts(&chat).await;
        let count = |words: &str| texts.iter().filter(|text| text.contains(words)).count();
        let (asked, first) = (count("A restart interrupted the work"), count(&format!("answer to {chat}-0")));
        assert_eq!((asked + first, count(&format!("answer to {chat}-1"))), (1, 1), "{texts:?}");
        let (first_event, second_event) =
            (&account["events"][format!("{chat}-0")], &account["events"][format!("{chat}-1")]);
        assert_eq!(
            (first_event["answered"].as_u64(), &second_event["answered"]),
            (u64::try_from(first).ok(), &json!(1))
        );
        assert_eq!((&first_event["repeats"], &second_event["repeats"]), (&json!(0), &json!(0)));
    }
}

#[actix_web::test]
async fn a_failed_dispatcher_finds_its_turns_and_leaves_those_of_others_alone() {
    let mut blocked = BlockedAgents::start(THREADS, "turns: {max_concurrent: 6}\n").await;
    blocked.send(0).await;
    blocked.send(1).await;
    blocked.until_begun(6).await;
    for dispatcher in ["dispatch-2", "dispatch"] {
        assert_eq!(blocked.world.fault(dispatcher, json!({"fault": "panic_in_timer"})).await.0, 200);
        let again = |node: &Value| node["id"] == dispatcher && node["generation"] == 2 && node["state"] == "running";
        let restarted =
            |status: &Value| status["actors"]["children"].as_array().is_some_and(|all| all.iter().any(again));
        blocked.world.until(&format!("{dispatcher} restarted"), restarted).await;
    }
    let status = blocked.world.until("its turns found", |status| status["turns"]["running"] == 6).await;
    assert_eq!(status["active_agents"], 6, "{status}");
    blocked.release(2 * CHATS);
    blocked.until_all_answered(2).await;
    blocked.check_turns(2, 6);
}

#[actix_web::test]
async fn a_turn_of_any_dispatcher_is_stopped_by_its_id_and_by_its_session() {
    let blocked = BlockedAgents::start(THREADS, "").await;
    blocked.send(0).await;
    blocked.until_begun(CHATS).await;
    let status = blocked.world.until("all turns", |status| status["active_agents"] == CHATS).await;
    let turns = status["drain"]["turns"].as_array().unwrap();
    assert_eq!(turns.len(), CHATS, "{status}");
    for turn in turns {
        let url = blocked.world.url(&format!("/api/turns/{}/stop", turn["turn_id"].as_str().unwrap()));
        let (code, answer) = post(&url, &json!({})).await;
        assert_eq!(code, 200, "{answer}");
    }
    blocked.world.until("no turn left", |status| status["active_agents"] == 0).await;
    for turn in turns {
        let url = blocked.world.url(&format!("/api/turns/{}/stop", turn["turn_id"].as_str().unwrap()));
        assert_eq!(post(&url, &json!({})).await.0, 404, "it has ended");
    }
    blocked.send(1).await;
    blocked.world.until("all turns", |status| status["active_agents"] == CHATS).await;
    for chat in chats() {
        let session = format!("agent:main:discord:channel:{chat}:u1");
        let url = format!("{}/dev/inbound", blocked.world.connector.url);
        let (code, answer) = post(&url, &json!({"interrupt": {"session_key": session}})).await;
        assert_eq!(code, 202, "{answer}");
    }
    blocked.world.until("no turn left", |status| status["active_agents"] == 0).await;
}

#[actix_web::test]
async fn after_a_drain_each_chat_of_each_dispatcher_gets_one_notice_of_what_was_not_read() {
    let blocked = BlockedAgents::start(THREADS, "drain: {refused: notice}\n").await;
    assert_eq!(blocked.world.drain(json!({})).await.0, 200);
    blocked.send(0).await;
    blocked.send(1).await;
    blocked.received(&[("refused", 2 * CHATS)]).await;
    assert_eq!(blocked.world.drain(json!({"action": "cancel"})).await.0, 200);
    for chat in chats() {
        blocked.world.until_text(&chat, "2 messages sent here meanwhile were not read").await;
    }
    for chat in chats() {
        let texts = blocked.world.texts(&chat).await;
        let count = |words: &str| texts.iter().filter(|text| text.contains(words)).count();
        assert_eq!((count("not read"), count("send your message again")), (1, 1), "{texts:?}");
    }
}

#[actix_web::test]
async fn a_reply_without_a_result_is_sent_again_once_and_not_by_each_dispatcher() {
    let mut blocked = BlockedAgents::start(THREADS, "").await;
    let faults = format!("{}/dev/faults", blocked.world.connector.url);
    assert_eq!(post(&faults, &json!({"answerNever": true})).await.0, 200);
    blocked.send(0).await;
    blocked.release(CHATS);
    wait_for("one answer in each chat", SOON * 2, || async {
        let events = &blocked.world.account().await["events"];
        texts(1).all(|text| events[text]["answered"] == 1).then_some(())
    })
    .await;
    blocked.world.kill_gateway();
    assert_eq!(post(&faults, &json!({"answerNever": false})).await.0, 200);
    blocked.world.serve().await;
    // With the answer of each chat, the notice that its turn was interrupted.
    let delivered = |status: &Value| status["ledger"]["outbound"]["delivered"] == 2 * CHATS;
    blocked.world.until("every reply and notice delivered", delivered).await;
    blocked.release(CHATS);
    blocked.send(1).await;
    wait_for("the answers to later messages", SOON * 2, || async {
        let events = &blocked.world.account().await["events"];
        texts(2).skip(CHATS).all(|text| events[text]["answered"] == 1).then_some(())
    })
    .await;
    let events = &blocked.world.account().await["events"];
    for text in texts(1) {
        assert_eq!((&events[&text]["answered"], &events[&text]["repeats"]), (&json!(2), &json!(1)), "{text}");
    }
}
