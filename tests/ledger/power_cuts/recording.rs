//! A home whose gateway is journalled: it works, is killed, recovers, is stopped, and works on.

use std::collections::BTreeSet;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::disk::Disk;
use super::journal::{self, Journal, Record, SentFrame};
use crate::support::{post, wait_with_pause};
use crate::world::World;

/// Ceiling for the end of all work, beside a loaded machine.
pub(super) const SETTLED: Duration = Duration::from_mins(1);
/// Pause between two queries of accounts with hundreds of messages.
pub(super) const QUERY_PAUSE: Duration = Duration::from_millis(100);
/// Messages of each gateway, and bytes that each one has besides its text: more than the log holds until it is written back.
const MESSAGES: usize = 160;
const PADDING: usize = 20_000;
/// First bytes of a log.
const LOG: [u8; 3] = [0x37, 0x7f, 0x06];
const CHATS: usize = 12;

/// Repeats the message; keeps an account as each agent of these tests does.
const AGENT: &str = r#"#!/bin/sh
read -r document || exit 1
text=${document#*\"event\":}
text=${text#*\"text\":\"}
text=${text%%\"*}
printf '%s %s %s\n' "$CADUCEUS_TURN_ID" "$CADUCEUS_ATTEMPT" "$text" >> "$HERMES_HOME/account"
echo "received $text"
"#;

/// A message that was pushed.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) chat: String,
    profile: Option<&'static str>,
}

/// What happened, in order.
pub(super) struct Recording {
    /// The directory before the journal, and after it.
    base: TempDir,
    end: TempDir,
    pub(super) journal: Journal,
    sent: Vec<SentFrame>,
    pub(super) messages: Vec<Message>,
    /// What had left a gateway before the journal.
    before: LeftBefore,
    /// Whether the ledger was damaged before the journal, so that it is called so.
    pub(super) is_damaged: bool,
}

/// What had left the gateway before a cut.
#[derive(Debug, Default, Clone)]
pub(super) struct LeftBefore {
    /// Messages whose acknowledgement had.
    pub(super) acked: BTreeSet<String>,
    /// Messages that had an answer.
    pub(super) answered: BTreeSet<String>,
    /// Texts that answer no message: chat and text.
    pub(super) notices: Vec<(String, String)>,
}

/// A home in which `interrupted` applies; the profile `quick` repeats the message without a process if `has_quick`.
pub(super) async fn prepare(interrupted: &str, has_quick: bool) -> World {
    let world = World::prepare().await;
    world.write("agent.sh", AGENT);
    world.configure(&format!("turns:\n  interrupted: {interrupted}\n"));
    if has_quick {
        world.profile("quick", "");
        world.write("profiles/quick/caduceus.yaml", "agent:\n  backend: echo\n");
    } else {
        world.script("quick", AGENT, "");
    }
    world
}

/// Pushes a message with a buffer id that is its own, so that it can be pushed again.
pub(super) async fn push(world: &World, message: &Message) {
    let Message { id, chat, profile } = message;
    let mut event = World::message(id, id, chat, *profile);
    event["padding"] = "p".repeat(PADDING).into();
    let body = json!({"event": event, "bufferId": id});
    let (status, pushed) = post(&format!("{}/dev/inbound", world.connector.url), &body).await;
    assert_eq!(status, 202, "{pushed}");
}

/// Whether the ledger has something left to do, by the status.
pub(super) fn is_open(status: &Value) -> bool {
    let has = |kind: &str, states: &[&str]| {
        states.iter().any(|state| status["ledger"][kind][state].as_u64().unwrap_or(0) > 0)
    };
    has("inbound", &["received", "running", "held"]) || has("outbound", &["pending", "sending", "ambiguous"])
}

impl Recording {
    /// Records a gateway on an empty home.
    pub(super) async fn of_new_home() -> Self {
        let mut messages = Vec::new();
        let mut world = JournalledWorld::prepare(None).await;
        // Killed while it works: the next one finds a log, and turns that were interrupted.
        world.serve().await;
        push_some(&world, &mut messages, MESSAGES).await;
        settle(&world, &messages).await;
        push_some(&world, &mut messages, 30).await;
        world.kill_gateway();
        // Stopped: the log is written back and removed.
        world.serve().await;
        push_some(&world, &mut messages, MESSAGES).await;
        settle(&world, &messages).await;
        assert!(world.stop_gateway().success());
        world.serve().await;
        push_some(&world, &mut messages, MESSAGES).await;
        world.kill_gateway();
        world.end(messages, LeftBefore::default(), false)
    }

    /// Records a gateway on what `first` left, whose structure is said to be damaged: all rows are carried over to a new file.
    pub(super) async fn of_carried_home(first: &Self) -> Self {
        let mut messages = first.messages.clone();
        let mut world = JournalledWorld::prepare(Some(first.end.path())).await;
        world.serve().await;
        push_some(&world, &mut messages, 10).await;
        settle(&world, &messages[messages.len() - 10..]).await;
        world.kill_gateway();
        world.end(messages, first.left_before(first.journal.records.len()), true)
    }

    /// The disk after the first `cut` records; one that `ignores_syncs` is broken.
    pub(super) fn disk(&self, cut: usize, ignores_syncs: bool) -> Disk {
        let mut disk = Disk::of(self.base.path());
        disk.ignores_syncs = ignores_syncs;
        (0..cut).for_each(|at| disk.apply(&self.journal, at));
        disk
    }

    /// What had left the gateway in the first `cut` records.
    pub(super) fn left_before(&self, cut: usize) -> LeftBefore {
        let mut left = self.before.clone();
        for SentFrame { frame, .. } in self.sent.iter().filter(|sent| sent.at < cut) {
            let action = &frame["action"];
            match (frame["type"].as_str(), action["op"].as_str(), action["reply_to"].as_str()) {
                (Some("inbound_ack"), ..) => drop(left.acked.insert(frame["bufferId"].as_str().unwrap().to_owned())),
                (Some("outbound"), Some("send"), Some(id)) => drop(left.answered.insert(id.to_owned())),
                (Some("outbound"), Some("send"), None) => {
                    let text = |name: &str| action[name].as_str().unwrap_or_default().to_owned();
                    left.notices.push((text("chat_id"), text("content")));
                }
                _ => {}
            }
        }
        left
    }

    /// How often a log began.
    pub(super) fn logs(&self) -> usize {
        self.journal.records.iter().filter(|record| self.begins_log(record)).count()
    }

    /// The record that begins the first log.
    pub(super) fn first_log(&self) -> usize {
        self.journal.records.iter().position(|record| self.begins_log(record)).unwrap()
    }

    fn begins_log(&self, record: &Record) -> bool {
        matches!(record, Record::Written { offset: 0, bytes, .. } if self.journal.bytes(bytes)[..3] == LOG)
    }

    /// The records with an acknowledgement.
    pub(super) fn acknowledgements(&self) -> Vec<usize> {
        self.sent.iter().filter(|sent| sent.frame["type"] == "inbound_ack").map(|sent| sent.at).collect()
    }
}

/// A home whose gateways are journalled.
struct JournalledWorld {
    world: World,
    base: TempDir,
    library: TempDir,
}

impl Deref for JournalledWorld {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for JournalledWorld {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl JournalledWorld {
    /// A home that has what is in `from`, said to be damaged, as its ledger.
    async fn prepare(from: Option<&Path>) -> Self {
        let mut world = prepare("rerun", true).await;
        let directory = world.path("caduceus");
        let (base, library) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        if let Some(from) = from {
            fs::create_dir(&directory).unwrap();
            copy_files(from, &directory);
            let synced = fs::File::options().write(true).open(directory.join("ledger.db-synced")).unwrap();
            synced.write_all_at(b"damaged!", 512).unwrap();
            copy_files(&directory, base.path());
        }
        let port = world.connector.url.rsplit_once(':').unwrap().1.to_owned();
        let home = world.home().canonicalize().unwrap();
        for (name, value) in [
            ("LD_PRELOAD", journal::build_library(library.path()).display().to_string()),
            ("CADUCEUS_JOURNAL", library.path().join("journal").display().to_string()),
            ("CADUCEUS_JOURNAL_DIRECTORY", home.join("caduceus").display().to_string()),
            ("CADUCEUS_JOURNAL_PORT", port),
        ] {
            world.variable(name, &value);
        }
        Self { world, base, library }
    }

    fn end(self, messages: Vec<Message>, before: LeftBefore, is_damaged: bool) -> Recording {
        let journal = Journal::read(&self.library.path().join("journal"));
        let (sent, end) = (journal.sent_frames(), tempfile::tempdir().unwrap());
        copy_files(&self.path("caduceus"), end.path());
        Recording { base: self.base, end, journal, sent, messages, before, is_damaged }
    }
}

/// Copies the files of a directory, with their times.
pub(super) fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (modified, to) = (entry.metadata().unwrap().modified().unwrap(), to.join(entry.file_name()));
        fs::copy(entry.path(), &to).unwrap();
        fs::File::options().write(true).open(to).unwrap().set_modified(modified).unwrap();
    }
}

/// Pushes messages into some chats; one in ten is for an agent that is a process.
async fn push_some(world: &World, messages: &mut Vec<Message>, count: usize) {
    for _ in 0..count {
        let number = messages.len();
        let profile = (!number.is_multiple_of(10)).then_some("quick");
        let message = Message { id: format!("m{number}"), chat: format!("chat-{}", number % CHATS), profile };
        push(world, &message).await;
        messages.push(message);
    }
}

async fn settle(world: &World, messages: &[Message]) {
    wait_with_pause("an answer to every message", SETTLED, QUERY_PAUSE, || async {
        let account = world.account().await;
        let answered = messages.iter().all(|message| account["events"][&message.id]["answered"].as_u64() > Some(0));
        (answered && !is_open(&world.status().await)).then_some(())
    })
    .await;
}
