//! What became of the ledger after a power cut.

use std::path::Path;
use std::time::Duration;

use caduceus_actors::ledger::LedgerWriter;
use serde_json::Value;

use super::recording::{self, LeftBefore, Message, QUERY_PAUSE, Recording, SETTLED};
use crate::rows::LedgerRows;
use crate::support::wait_with_pause;
use crate::world::World;

/// Messages that the connector sends again, at most.
const RESENT: usize = 10;
/// In a notice that a turn was interrupted, or was it too often.
const NOTICES: [&str; 2] = ["A restart interrupted the work", "Restarts interrupted the work here too often"];

/// Opens the ledger in `directory` as a gateway does. Returns what is wrong.
pub(super) fn opened(directory: &Path, recording: &Recording, left: &LeftBefore) -> Vec<String> {
    let path = directory.join("ledger.db");
    let writer = match LedgerWriter::open(&path) {
        Ok(writer) => writer,
        Err(error) => return vec![format!("it does not open: {error:?}")],
    };
    let view = writer.view();
    writer.close(Duration::from_secs(20)).unwrap();
    drop(writer);
    let mut wrong = Vec::new();
    if view.corrupt > 0 {
        wrong.push(format!("{} corrupt rows", view.corrupt));
    }
    if !recording.is_damaged {
        wrong.extend(view.damage);
        wrong.extend(set_aside(directory));
    }
    let rows = LedgerRows::of(&path);
    wrong.extend(lost(&rows, left));
    wrong
}

/// Files that were set aside, although nothing is damaged.
fn set_aside(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.contains("damaged") || name.contains("carried"))
        .map(|name| format!("there is {name}"))
        .collect()
}

/// What had left the gateway and is not in the ledger, or in a state in which it would be done again without a mark.
fn lost(rows: &LedgerRows, left: &LeftBefore) -> Vec<String> {
    let mut wrong = Vec::new();
    let row = |id: &String| rows.events.iter().find(|event| event.buffer_id.as_ref() == Some(id));
    for id in left.acked.iter().filter(|id| row(id).is_none()) {
        wrong.push(format!("{id} was acknowledged and is lost"));
    }
    for id in &left.answered {
        let event = row(id);
        let may_run = event.is_none_or(|event| {
            matches!(event.state, "received" | "held") || (event.state == "running" && event.attempts == 0)
        });
        if may_run {
            wrong.push(format!("{id} was answered and may run again unmarked: {event:?}"));
        }
        let replies: Vec<_> = rows.replies.iter().filter(|reply| reply.answers.as_ref() == Some(id)).collect();
        if replies.is_empty() || replies.iter().any(|reply| reply.state == "pending") {
            wrong.push(format!("{id} was answered and would be sent again unmarked: {replies:?}"));
        }
    }
    wrong
}

/// Starts a real gateway with the ledger in `directory`, and waits until it has done all. Returns what is wrong.
pub(super) async fn served(
    directory: &Path,
    recording: &Recording,
    left: &LeftBefore,
    interrupted: &str,
) -> Vec<String> {
    let mut world = recording::prepare(interrupted, false).await;
    std::fs::create_dir(world.path("caduceus")).unwrap();
    recording::copy_files(directory, &world.path("caduceus"));
    world.serve().await;
    // As a connector does with what was not acknowledged.
    let unacked = recording.messages.iter().filter(|message| !left.acked.contains(&message.id));
    let resent: Vec<&Message> = unacked.take(RESENT).collect();
    for message in &resent {
        recording::push(&world, message).await;
    }
    let account = wait_with_pause("every acknowledgement, and nothing left to do", SETTLED, QUERY_PAUSE, || async {
        let (status, account) = (world.status().await, world.account().await);
        let acked = resent.iter().all(|message| account["events"][&message.id]["acked"] != 0);
        (acked && !recording::is_open(&status)).then_some(account)
    })
    .await;
    let log = world.gateway().log();
    let notices = notices(&world).await;
    assert!(world.stop_gateway().success());
    let mut wrong = Vec::new();
    if !recording.is_damaged {
        let damage = log.lines().filter(|line| line.contains("damage") || line.contains("corrupt"));
        wrong.extend(damage.map(str::to_owned));
        wrong.extend(set_aside(&world.path("caduceus")));
    }
    let rows = LedgerRows::of(&world.path("caduceus/ledger.db"));
    let runs = [world.agent_account(None), world.agent_account(Some("quick"))].concat();
    for message in &recording.messages {
        let (id, event) = (&message.id, &account["events"][&message.id]);
        let is_ours = left.acked.contains(id) || resent.iter().any(|resent| resent.id == *id);
        if !is_ours {
            continue;
        }
        let was_answered = left.answered.contains(id);
        let is_asked = || {
            let here = |(chat, text): &(String, String)| {
                *chat == message.chat && NOTICES.iter().any(|notice| text.contains(notice))
            };
            rows.state(id) == Some("interrupted") && (left.notices.iter().any(here) || notices.iter().any(here))
        };
        let is_answered = was_answered || event["answered"].as_u64() > Some(0);
        if !is_answered && !is_asked() {
            wrong.push(format!("{id} is lost: {:?}, {event}", rows.state(id)));
        }
        // The first answer, at whichever of the two, may be without a mark, and so may be the first run.
        let answers = event["answers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let unmarked = answers.iter().skip(usize::from(!was_answered)).filter(|answer| answer["repeat"] == false);
        if unmarked.count() > 0 {
            wrong.push(format!("{id} was answered {} before: {event}", if was_answered { "once" } else { "never" }));
        }
        let attempts: Vec<u32> = runs.iter().filter(|(_, _, text)| text == id).map(|run| run.1).collect();
        if attempts.windows(2).any(|pair| pair[0] >= pair[1]) || (was_answered && attempts.first() == Some(&1)) {
            wrong.push(format!("{id} ran as attempts {attempts:?}"));
        }
    }
    wrong
}

/// Texts that answer no message: chat and text.
async fn notices(world: &World) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let frames = world.outbound().await;
    let actions = frames.iter().map(|kept| &kept["frame"]["action"]).filter(|action| action["op"] == "send");
    actions.map(|action| (text(&action["chat_id"]), text(&action["content"]))).collect()
}
