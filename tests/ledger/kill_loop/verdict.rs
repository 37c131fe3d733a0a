//! What became of each message, by the accounts of the connector and the agent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{KilledHome, Mode};
use crate::rows::LedgerRows;

/// In a notice that a turn was interrupted.
const ASKED: &str = "A restart interrupted the work";
/// In a notice that it was interrupted too often.
const GIVEN_UP: &str = "Restarts interrupted the work here too often";

/// The number of messages with each outcome.
pub(super) type Outcomes = BTreeMap<&'static str, usize>;

/// What became of one message.
struct Ended<'a> {
    id: &'a str,
    chat: &'a str,
    outcome: &'static str,
    /// The last kill at which its turn ran.
    interrupted_at: Option<usize>,
}

/// Checks what became of each message. The error is everything that is wrong.
pub(super) async fn check(home: &KilledHome, rows: &LedgerRows) -> Result<Outcomes, String> {
    let account = home.world.account().await;
    let runs = runs(home);
    let mut wrong = Vec::new();
    let mut all = Vec::new();
    for (id, chat) in &home.pushed {
        let event = &account["events"][id];
        let attempts = runs.get(id.as_str()).map(Vec::as_slice).unwrap_or_default();
        wrong.extend(repeated_unmarked(id, event, attempts));
        let interrupted_at = home.running.iter().rposition(|running| running.contains(id));
        match outcome(home.mode, event, rows.state(id), interrupted_at) {
            Some(outcome) => all.push(Ended { id, chat, outcome, interrupted_at }),
            None => wrong.push(format!(
                "{id} in {chat} is lost: it is {:?}, ran as {attempts:?}, {event}, running at the kill {interrupted_at:?}",
                rows.state(id)
            )),
        }
    }
    wrong.extend(out_of_order(home));
    wrong.extend(without_notice(home, rows, &all).await);
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    let mut outcomes = Outcomes::new();
    for ended in all {
        *outcomes.entry(ended.outcome).or_default() += 1;
    }
    Ok(outcomes)
}

/// The attempts of each message, in the agent's order.
fn runs(home: &KilledHome) -> BTreeMap<String, Vec<u32>> {
    let mut runs: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (_, attempt, text) in home.world.agent_account(None) {
        runs.entry(text).or_default().push(attempt);
    }
    runs
}

/// A second run has a higher number, and a second answer the mark of a repeat.
fn repeated_unmarked(id: &str, event: &Value, attempts: &[u32]) -> Option<String> {
    let answers = event["answers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let plain_later = answers.iter().skip(1).any(|answer| answer["repeat"] == false);
    let is_again = !attempts.windows(2).all(|pair| pair[0] < pair[1]);
    (plain_later || is_again).then(|| format!("{id} ran as attempts {attempts:?}, and was answered: {event}"))
}

/// `None`: it is lost.
fn outcome(
    mode: Mode,
    event: &Value,
    state: Option<&'static str>,
    interrupted_at: Option<usize>,
) -> Option<&'static str> {
    let (answered, repeats) = (event["answered"].as_u64()?, event["repeats"].as_u64()?);
    match (answered, state?) {
        (1.., _) if repeats > 0 => Some("answered, marked as a repeat"),
        (1.., _) => Some("answered once"),
        // Only a turn that ran is interrupted.
        (0, "interrupted") if interrupted_at.is_some() && mode == Mode::Drop => Some("dropped, as configured"),
        (0, "interrupted") if interrupted_at.is_some() => Some("asked about"),
        (0, "dead") if interrupted_at.is_some() && mode == Mode::Rerun => Some("given up"),
        _ => None,
    }
}

/// In each chat the turns run in the order of the messages; one that runs again comes before all later ones.
fn out_of_order(home: &KilledHome) -> Vec<String> {
    let chats: BTreeMap<&str, (usize, &str)> =
        home.pushed.iter().enumerate().map(|(place, (id, chat))| (id.as_str(), (place, chat.as_str()))).collect();
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (_, _, text) in home.world.agent_account(None) {
        let Some(&(place, chat)) = chats.get(text.as_str()) else {
            wrong.push(format!("the agent ran {text:?}, which is no message"));
            continue;
        };
        if last.insert(chat, place).is_some_and(|before| before > place) {
            wrong.push(format!("{text} ran in {chat} after a later message"));
        }
    }
    wrong
}

/// Each start that left messages of a chat interrupted or gave them up has sent it a notice: one that the ledger has as delivered, and
/// that the connector received.
async fn without_notice(home: &KilledHome, rows: &LedgerRows, all: &[Ended<'_>]) -> Vec<String> {
    let mut wrong = Vec::new();
    let frames = home.world.outbound().await;
    let in_chat = |chat: &str, words: &str| {
        let actions = frames.iter().map(|kept| &kept["frame"]["action"]).filter(|action| action["chat_id"] == chat);
        actions.filter(|action| action["content"].as_str().is_some_and(|content| content.contains(words))).count()
    };
    for (outcome, words) in [("asked about", ASKED), ("given up", GIVEN_UP)] {
        let mut starts: BTreeMap<&str, (BTreeSet<usize>, Vec<&str>)> = BTreeMap::new();
        for ended in all.iter().filter(|ended| ended.outcome == outcome) {
            let (kills, ids) = starts.entry(ended.chat).or_default();
            kills.extend(ended.interrupted_at);
            ids.push(ended.id);
        }
        for (chat, (kills, ids)) in starts {
            let notices = rows.replies.iter().filter(|reply| reply.chat == chat && reply.action.contains(words));
            let delivered = notices.filter(|notice| notice.answers.is_none() && notice.state == "delivered").count();
            let received = in_chat(chat, words);
            if delivered < kills.len() || received < delivered {
                wrong.push(format!(
                    "{ids:?} in {chat} were {outcome} after the kills {kills:?}, with {delivered} notices, {received} received"
                ));
            }
        }
    }
    wrong
}

#[test]
fn a_message_without_an_answer_counts_as_lost_unless_its_turn_was_interrupted_and_two_plain_answers_are_found() {
    let unanswered = json!({"answered": 0, "repeats": 0, "answers": []});
    for state in ["received", "running", "held", "done", "failed", "refused", "dead"] {
        assert_eq!(outcome(Mode::Ask, &unanswered, Some(state), Some(1)), None, "{state}");
    }
    assert_eq!(outcome(Mode::Ask, &unanswered, None, Some(1)), None, "it is not in the ledger");
    assert_eq!(outcome(Mode::Ask, &unanswered, Some("interrupted"), None), None, "it never ran");
    assert_eq!(outcome(Mode::Ask, &Value::Null, Some("done"), None), None, "the connector has no account of it");
    assert_eq!(outcome(Mode::Ask, &unanswered, Some("interrupted"), Some(1)), Some("asked about"));
    let answers = |repeats: &[bool]| {
        let answers: Vec<Value> = repeats.iter().map(|repeat| json!({"repeat": repeat})).collect();
        json!({"answers": answers})
    };
    for (repeats, attempts, is_found) in [
        (&[false][..], &[1][..], false),
        (&[false, true], &[1, 2], false),
        (&[true], &[2], false),
        (&[false, false], &[1], true),
        (&[true, false], &[1, 2], true),
        (&[false], &[1, 1], true),
    ] {
        assert_eq!(repeated_unmarked("m", &answers(repeats), attempts).is_some(), is_found, "{repeats:?} {attempts:?}");
    }
}
