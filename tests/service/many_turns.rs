//! Two hundred turns over fifty profiles: all at once, and one after another above the limit. They leave nothing in use.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::processes;
use crate::support::{SOON, wait_for};
use crate::world::{World, ended_lines};

const TURNS: usize = 200;
const PROFILES: usize = 50;
/// Default of `turns.max_concurrent`.
const DEFAULT_AT_ONCE: usize = 64;
/// Allowed growth of resident memory in two rounds, in bytes: the allocator does not get the same blocks each time, and the ledger
/// fills a page cache of 2 MiB. A turn that left its event, its descriptor and a pipe's buffer behind would be 10 KiB, and the 400 of
/// two rounds 4 MiB. Smaller leaks are found by the tests of the parts of a turn, such as its mailbox.
const TOLERANCE: u64 = 4 * 1024 * 1024;
/// The allocator keeps some pages for each thread of the pool.
const TOLERANCE_A_THREAD: u64 = 192 * 1024;
/// Allowed growth of the number of threads in two rounds. Files are read and guards started on threads of a pool, which grows to as many as were
/// ever needed at once, at most 128, and which the profiles' checks of their files keep from shrinking. A thread left by each turn, or by
/// every second, would be two hundred.
const THREADS: usize = 136;

/// Writes the text of its message, waits for one line, then answers.
const AGENT: &str = r#"#!/bin/sh
read -r document
text=${document#*\"text\":\"}; text=${text%%\"*}
echo "$text" >> "$1/begun"
read -r _ < "$1/go"
echo "$HERMES_PROFILE: $text"
"#;

/// A gateway whose agents wait for a line from a pipe.
struct BlockedTurns {
    world: World,
    /// One line for each agent that may continue. Open in both directions, so that no agent reads an end of file.
    pipe: File,
}

impl BlockedTurns {
    async fn start(more: &str) -> Self {
        let mut world = World::prepare().await;
        for number in 1..PROFILES {
            world.profile(&name(number), &format!("KEY=value-of-profile-{number}\n"));
        }
        world.write("agent.sh", AGENT);
        let (agent, home) = (world.path("agent.sh"), world.home().to_owned());
        let command = json!(["sh", agent, home]);
        world.write("caduceus.yaml", &format!("agent: {{backend: exec, command: {command}}}\n{more}"));
        let pipe = world.path("go");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
        let pipe = OpenOptions::new().read(true).write(true).open(pipe).expect("the pipe opens in both directions");
        // Freed memory is returned at once, so that what is left is in use.
        world.variable("MIMALLOC_PURGE_DELAY", "0");
        world.serve().await;
        Self { world, pipe }
    }

    /// Sends one message to each of 200 sessions.
    async fn send_all(&self, round: usize) {
        for number in 0..TURNS {
            self.send(round, number).await;
        }
    }

    /// The same, one after the other: each is recorded before the next is sent.
    async fn send_in_order(&self, round: usize) {
        for number in 0..TURNS {
            self.send(round, number).await;
            wait_for("its acknowledgement", SOON, || async {
                (self.world.account().await["events"][id(round, number)]["acked"] == 1).then_some(())
            })
            .await;
        }
    }

    async fn send(&self, round: usize, number: usize) {
        let profile = name(number % PROFILES);
        let named = (profile != "default").then_some(profile.as_str());
        self.world.push(&id(round, number), &id(round, number), &format!("chat-{number}"), named).await;
    }

    /// Releases this many agents.
    fn release(&mut self, count: usize) {
        self.pipe.write_all(&vec![b'\n'; count]).expect("the pipe has room");
    }

    /// The turns whose agents have begun, in order.
    fn begun(&self) -> Vec<String> {
        ended_lines(&self.world.path("begun"))
    }

    async fn until_begun(&self, count: usize) {
        let what = format!("{count} agents at work");
        wait_for(&what, SOON * 2, || async { (self.begun().len() == count).then_some(()) }).await;
    }

    async fn all_answered(&self, round: usize) {
        wait_for("all answers", SOON * 2, || async {
            let events = &self.world.account().await["events"];
            (0..TURNS).all(|number| events[id(round, number)]["answered"] == 1).then_some(())
        })
        .await;
        self.world.until("no turn left", |status| status["active_agents"] == 0 && status["active_sessions"] == 0).await;
    }

    /// A round of all turns at once.
    async fn round(&mut self, round: usize) {
        self.send_all(round).await;
        self.until_begun((round + 1) * TURNS).await;
        // The agents have begun before the status has counted them all.
        let all = |status: &Value| status["active_agents"] == TURNS && status["turns"]["running"] == TURNS;
        let status = self.world.until("all turns in the status", all).await;
        assert_eq!(status["turns"]["queued"], 0);
        self.release(TURNS);
        self.all_answered(round).await;
    }

    /// The resources in use once those of the turns are released and at most `most` descriptors are open: a file that is being
    /// read or a short connection may be one more.
    async fn in_use(&self, most: usize) -> InUse {
        let gateway = self.world.gateway().id();
        wait_for("the last agent and guard to be gone", SOON, || async {
            (processes::below_home(self.world.home()).is_empty() && processes::children_of(gateway).is_empty())
                .then_some(())
        })
        .await;
        let open = || fs::read_dir(format!("/proc/{gateway}/fd")).expect("the process runs").count();
        let few = || async { Some(open()).filter(|open| *open <= most) };
        InUse {
            descriptors: wait_for(&format!("at most {most} descriptors"), SOON, few).await,
            threads: self.threads(),
            resident: self.world.status().await["process"]["resident_bytes"].as_u64().expect("the status has the size"),
        }
    }

    fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.world.gateway().id())).expect("the process runs").count()
    }
}

#[derive(Debug, Clone, Copy)]
struct InUse {
    descriptors: usize,
    threads: usize,
    resident: u64,
}

fn name(number: usize) -> String {
    if number == 0 { "default".to_owned() } else { format!("p{number}") }
}

fn id(round: usize, number: usize) -> String {
    format!("r{round}-t{number}")
}

#[actix_web::test]
async fn two_hundred_turns_at_once_are_answered_and_leave_nothing_in_use() {
    let mut turns = BlockedTurns::start(&format!("turns: {{max_concurrent: {TURNS}}}\n")).await;
    let mut rounds = Vec::new();
    // The first two rounds are a warm-up: one for all first-time costs, one at full load.
    for round in 0..4 {
        turns.round(round).await;
        let most = rounds.get(1).map_or(usize::MAX, |warm: &InUse| warm.descriptors);
        rounds.push(turns.in_use(most).await);
        println!("after round {round}: {:?}", rounds[round]);
    }
    let grown = rounds[3].resident.saturating_sub(rounds[1].resident);
    let threads = rounds[3].threads.saturating_sub(rounds[1].threads) as u64;
    assert!(
        grown <= TOLERANCE + threads * TOLERANCE_A_THREAD,
        "memory grew by {grown} bytes in two rounds: {rounds:?}"
    );
    assert!(rounds[3].threads <= rounds[1].threads + THREADS, "threads are left: {rounds:?}");

    let status = turns.world.status().await;
    assert_eq!(status["turns"]["done"], 4 * TURNS, "{}", status["turns"]);
    assert_eq!(
        (&status["turns"]["failed"], &status["turns"]["refused"]),
        (&0.into(), &0.into()),
        "{}",
        status["turns"]
    );
    assert_eq!(status["ledger"]["inbound"]["received"].as_u64().unwrap_or_default(), 0, "{}", status["ledger"]);
    let ran: BTreeSet<String> = turns.begun().into_iter().collect();
    assert_eq!(ran.len(), 4 * TURNS, "each ran once");
}

#[actix_web::test]
async fn turns_above_the_limit_wait_in_order_and_the_status_shows_them() {
    // The order over all chats is that of one thread.
    let mut turns = BlockedTurns::start("threads: {data: 1}\n").await;
    turns.send_in_order(0).await;
    turns.until_begun(DEFAULT_AT_ONCE).await;
    let waiting = TURNS - DEFAULT_AT_ONCE;
    let status = turns.world.until("the other turns queued", |status| status["turns"]["queued"] == waiting).await;
    assert_eq!(status["active_agents"], DEFAULT_AT_ONCE);
    assert_eq!(status["active_sessions"], TURNS, "{}", status["turns"]);

    // One place at a time, so that the order of the starts is observable.
    for next in 0..40 {
        turns.release(1);
        turns.until_begun(DEFAULT_AT_ONCE + next + 1).await;
    }
    let begun = turns.begun();
    let first: BTreeSet<&str> = begun[..DEFAULT_AT_ONCE].iter().map(String::as_str).collect();
    let expected: Vec<String> = (0..TURNS).map(|number| id(0, number)).collect();
    assert_eq!(first, expected[..DEFAULT_AT_ONCE].iter().map(String::as_str).collect(), "the first messages run first");
    assert_eq!(begun[DEFAULT_AT_ONCE..], expected[DEFAULT_AT_ONCE..DEFAULT_AT_ONCE + 40], "then the others in order");

    turns.release(TURNS - 40);
    turns.all_answered(0).await;
    assert_eq!(turns.begun().len(), TURNS);
}
