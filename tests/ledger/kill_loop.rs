//! `kill -9` of the gateway at random moments under traffic through the development connector, again and again on one home.
//!
//! A seed is one home, with a mode of `turns.interrupted`, and ten kills. `CADUCEUS_LONG` kills 1,000 times in place of 50;
//! `CADUCEUS_SEEDS=FROM..TO` runs these seeds. What comes in which order follows from the seed, the moment of a kill from the machine too.
//!
//! Accounts: that of the connector (acknowledged, answered, marked), that of the agent, which appends and syncs each message before it
//! works, and the rows of the ledger between a kill and the next start. None of them is a report of the gateway.

mod phase;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::rows::LedgerRows;
use crate::support::{self, pace, post, wait_for};
use crate::world::World;
use phase::Phase;

/// Kills of one home.
const KILLS: usize = 10;
/// Homes at once: a home mostly waits.
const TOGETHER: u64 = 2;
/// Seeds that may follow those of the run while a class of states is missing.
const MORE_SEEDS: u64 = 6;
/// Ceiling for the end of all work, beside a loaded machine.
const SETTLED: Duration = Duration::from_mins(1);

/// States that have to be found at a restart.
const CLASSES: [(&str, &str); 11] = [
    ("event", "received"),
    ("event", "running"),
    ("event", "held"),
    ("event", "interrupted"),
    ("event", "done"),
    ("event", "failed"),
    ("event", "dead"),
    ("reply", "pending"),
    ("reply", "sending"),
    ("reply", "ambiguous"),
    ("reply", "delivered"),
];

/// Starts no process that would outlive a kill unnoticed. `hold` is a turn as long as the file `holding` exists.
const AGENT: &str = r#"#!/bin/sh
read -r document || exit 1
text=${document#*\"event\":}
text=${text#*\"text\":\"}
text=${text%%\"*}
printf '%s %s %s\n' "$CADUCEUS_TURN_ID" "$CADUCEUS_ATTEMPT" "$text" >> "$HERMES_HOME/account"
sync "$HERMES_HOME/account"
case $text in
hold*) while [ -e "$HERMES_HOME/holding" ]; do sleep 0.1; done ;;
slow*) sleep 0.2 ;;
fail*) exit 3 ;;
esac
echo "received $text"
"#;

/// What happens with interrupted turns in a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Ask,
    /// With more than five starts in two minutes as [`Mode::Ask`].
    Rerun,
    Drop,
}

impl Mode {
    fn of(seed: u64) -> Self {
        [Self::Ask, Self::Rerun, Self::Drop][usize::try_from(seed % 3).unwrap()]
    }

    fn text(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Rerun => "rerun",
            Self::Drop => "drop",
        }
    }
}

/// How often each state was found at a restart: kind and state, and the number of rows.
type Histogram = BTreeMap<(&'static str, &'static str), usize>;

/// A home that is killed.
struct KilledHome {
    world: World,
    mode: Mode,
    rng: Rng,
    /// Messages in order: id and chat.
    pushed: Vec<(String, String)>,
    /// The messages that were running at each kill.
    running: Vec<BTreeSet<String>>,
    histogram: Histogram,
    is_draining: bool,
}

#[actix_web::test]
async fn every_acknowledged_message_is_answered_marked_asked_about_or_given_up_after_kills_at_random_moments() {
    let seeds = support::seeds(5, 100);
    let mut histogram = Histogram::new();
    let mut outcomes = BTreeMap::new();
    let mut kills = 0;
    let mut next = seeds.start;
    while next < seeds.end || (next < seeds.end + MORE_SEEDS && !missing(&histogram).is_empty()) {
        let together = next..next.saturating_add(TOGETHER).min(seeds.end.max(next + 1));
        next = together.end;
        for (found, ended) in join_all(together.map(run)).await {
            kills += KILLS;
            for (class, count) in found {
                *histogram.entry(class).or_default() += count;
            }
            for (outcome, count) in ended {
                *outcomes.entry(outcome).or_insert(0_usize) += count;
            }
        }
    }
    eprintln!("{kills} kills, seeds from {}; rows found at the restarts:", seeds.start);
    for ((kind, state), count) in &histogram {
        eprintln!("{count:8} {kind} {state}");
    }
    eprintln!("messages: {outcomes:?}");
    assert!(missing(&histogram).is_empty(), "never found at a restart: {:?}", missing(&histogram));
}

/// The classes without a row.
fn missing(histogram: &Histogram) -> Vec<(&'static str, &'static str)> {
    CLASSES.into_iter().filter(|class| !histogram.contains_key(class)).collect()
}

/// Kills one home; returns the states found, and the number of messages with each outcome.
async fn run(seed: u64) -> (Histogram, verdict::Outcomes) {
    let mode = Mode::of(seed);
    eprintln!("seed {seed}: turns.interrupted: {}", mode.text());
    let mut home = KilledHome::prepare(mode, seed).await;
    for (round, phase) in Phase::order(&mut home.rng, KILLS).into_iter().enumerate() {
        home.kill_in(phase, round).await;
    }
    let rows = home.settle().await;
    let outcomes = verdict::check(&home, &rows).await.unwrap_or_else(|wrong| panic!("seed {seed}:\n{wrong}"));
    (home.histogram, outcomes)
}

/// What a gateway leaves that acknowledges before the disk has the event, or answers before the disk has the answer: its ledger is an older
/// one than the connector and the agent have seen. The accounts of the loop find both.
#[actix_web::test]
async fn a_gateway_that_acknowledges_or_answers_before_the_disk_is_found_by_the_accounts() {
    let mut home = KilledHome::prepare(Mode::Ask, 0).await;
    home.world.serve().await;
    home.push(0, &["plain"]).await;
    home.world.answer(&home.pushed[0].0).await;
    assert!(home.world.stop_gateway().success());
    let (ledger, older) = (home.world.path("caduceus"), home.world.path("older"));
    copy(&ledger, &older);

    home.world.serve().await;
    home.push(1, &["plain"]).await;
    let (id, _) = home.pushed[1].clone();
    home.world.answer(&id).await;
    home.world.kill_gateway();
    home.running.push(BTreeSet::new());
    // It is acknowledged and answered, and the ledger has never had it.
    std::fs::remove_dir_all(&ledger).unwrap();
    copy(&older, &ledger);
    let rows = home.settle().await;
    let wrong = verdict::check(&home, &rows).await.expect_err("the message is lost");
    assert!(
        wrong.contains(&format!("{id} in ")) && wrong.contains("is lost") && !wrong.contains(&home.pushed[0].0),
        "{wrong}"
    );

    // Its record is on disk, and its turn and answer are not: it runs again as if for the first time.
    home.world.serve().await;
    assert_eq!(home.world.drain(json!({})).await.0, 200);
    home.push(2, &["plain"]).await;
    let (id, _) = home.pushed[2].clone();
    home.world.until("a held event", |status| status["ledger"]["inbound"]["held"] == 1).await;
    assert!(home.world.stop_gateway().success());
    std::fs::remove_dir_all(&older).unwrap();
    copy(&ledger, &older);
    home.world.serve().await;
    home.cancel_drain().await;
    home.world.answer(&id).await;
    home.world.kill_gateway();
    std::fs::remove_dir_all(&ledger).unwrap();
    copy(&older, &ledger);
    home.world.write("holding", "");
    let rows = home.settle().await;
    let wrong = verdict::check(&home, &rows).await.expect_err("it ran twice");
    assert!(wrong.contains(&format!("{id} ran as attempts [1, 1]")), "{wrong}");
}

/// Copies a directory of files.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

impl KilledHome {
    /// A home whose gateway has not started yet.
    async fn prepare(mode: Mode, seed: u64) -> Self {
        let world = World::prepare().await;
        world.write("agent.sh", AGENT);
        world.write("holding", "");
        world.configure(&format!("drain:\n  refused: hold\nturns:\n  interrupted: {}\n", mode.text()));
        Self {
            world,
            mode,
            rng: Rng::with_seed(seed),
            pushed: Vec::new(),
            running: Vec::new(),
            histogram: Histogram::new(),
            is_draining: false,
        }
    }

    /// Starts the gateway, brings it into `phase` and kills it.
    async fn kill_in(&mut self, phase: Phase, round: usize) {
        if phase == Phase::Starting {
            self.kill_while_starting().await;
        } else {
            self.faults(json!({})).await;
            self.world.serve().await;
            if self.is_draining {
                self.cancel_drain().await;
            }
            self.bring_into(phase, round).await;
            self.world.kill_gateway();
        }
        let rows = self.rows();
        for event in &rows.events {
            *self.histogram.entry(("event", event.state)).or_default() += 1;
        }
        for reply in &rows.replies {
            *self.histogram.entry(("reply", reply.state)).or_default() += 1;
        }
        let running = rows.events.into_iter().filter(|event| event.state == "running");
        self.running.push(running.map(|event| event.message_id).collect());
    }

    /// Kills a gateway that may not have opened its ledger yet, or that recovers.
    async fn kill_while_starting(&mut self) {
        let home = self.world.home().display().to_string();
        let mut command = support::binary();
        command.args(["serve", "--home", &home, "--bind", "127.0.0.1:0", "--insecure-loopback-drain"]);
        let output = std::process::Stdio::null;
        let mut gateway = command.stdin(output()).stdout(output()).stderr(output()).spawn().unwrap();
        pace(Duration::from_millis(self.rng.u64(0..250))).await;
        gateway.kill().unwrap();
        gateway.wait().unwrap();
    }

    /// Pushes some messages into chats of this round.
    async fn push(&mut self, round: usize, texts: &[&str]) {
        for text in texts {
            let id = format!("{text}-{}", self.pushed.len());
            let chat = format!("chat-{round}-{}", self.rng.usize(0..3));
            self.world.push(&id, &id, &chat, None).await;
            self.pushed.push((id, chat));
        }
    }

    async fn faults(&self, faults: Value) {
        let (status, body) = post(&format!("{}/dev/faults", self.world.connector.url), &faults).await;
        assert_eq!(status, 200, "{body}");
    }

    async fn cancel_drain(&mut self) {
        let (status, cancelled) = self.world.drain(json!({"action": "cancel"})).await;
        assert_eq!(status, 200, "{cancelled}");
        self.is_draining = false;
    }

    fn rows(&self) -> LedgerRows {
        LedgerRows::of(&self.world.path("caduceus/ledger.db"))
    }

    /// Starts the gateway a last time and waits until nothing is left to do; returns the rows after its shutdown.
    async fn settle(&mut self) -> LedgerRows {
        std::fs::remove_file(self.world.path("holding")).unwrap();
        self.faults(json!({})).await;
        self.world.serve().await;
        if self.is_draining {
            self.cancel_drain().await;
        }
        let is_open = |status: &Value, kind: &str, states: &[&str]| {
            states.iter().any(|state| status["ledger"][kind][state].as_u64().unwrap_or(0) > 0)
        };
        wait_for("every acknowledgement, and nothing left to do", SETTLED, || async {
            let (status, account) = (self.world.status().await, self.world.account().await);
            let acked = self.pushed.iter().all(|(id, _)| account["events"][id]["acked"] != 0);
            let open = is_open(&status, "inbound", &["received", "running", "held"])
                || is_open(&status, "outbound", &["pending", "sending", "ambiguous"]);
            (acked && !open && status["active_agents"] == 0).then_some(())
        })
        .await;
        assert!(self.world.stop_gateway().success());
        self.rows()
    }
}
