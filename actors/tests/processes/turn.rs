//! Whole turns: an event in, a running agent, messages in the chat and rows in the ledger.

use caduceus_contract::messages::ledger::OutboundState;
use caduceus_contract::messages::turn::TurnOutcome;
use caduceus_contract::wire::descriptor::Descriptor;
use serde_json::{Value, json};

use super::support::{Fixture, TurnParams};
use super::turn_stub::TurnRecord;
use super::wait::until;

pub(super) fn notice(outcome: &TurnOutcome) -> &str {
    match outcome {
        TurnOutcome::Failed { notice, .. } => notice,
        other => panic!("{other:?} is not a failure"),
    }
}

/// A script that uses the jsonl protocol.
pub(super) fn jsonl(script: &str) -> Fixture {
    Fixture::with_script(script, "  reply: jsonl\n")
}

#[actix::test]
async fn a_reply_is_recorded_then_sent_then_marked_before_the_turn_ends() {
    let fixture = Fixture::new("agent:\n  backend: echo\n");
    let profile = fixture.profile("default", &[]);
    fixture.turn(&profile, TurnParams::default()).await;
    let ended = fixture.stub.ended().await;
    assert_eq!((ended.outcome, ended.reply.as_str()), (TurnOutcome::Done, "hello"));
    let state = fixture.stub.state();
    let seen: Vec<&TurnRecord> =
        state.seen.iter().filter(|seen| !matches!(seen, TurnRecord::Sent(sent) if sent["op"] == "typing")).collect();
    let [
        TurnRecord::Recorded(row, recorded, OutboundState::Sending),
        TurnRecord::Sent(sent),
        marked,
        TurnRecord::Ended(_),
    ] = &seen[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!(recorded, sent);
    assert_eq!(**marked, TurnRecord::Marked(*row, OutboundState::Delivered, None));
    let whole =
        json!({"op": "send", "chat_id": "c1", "content": "hello", "reply_to": null, "metadata": {"scope_id": "guild"}});
    assert_eq!(*sent, whole);
}

#[actix::test]
async fn the_turn_counts_until_its_end_is_reported_to_the_dispatcher() {
    let fixture = Fixture::with_script("read line; sleep 0.2; echo done", "");
    let profile = fixture.profile("default", &[]);
    fixture.turn(&profile, TurnParams::default()).await;
    assert_eq!(fixture.gate.count(), 1);
    let typing = || {
        fixture.stub.state().seen.iter().any(|seen| matches!(seen, TurnRecord::Sent(sent) if sent["op"] == "typing"))
    };
    until("a typing indicator", || typing().then_some(())).await;
    until("the end of the count", || (fixture.gate.count() == 0).then_some(())).await;
    assert!(
        matches!(fixture.stub.state().seen.last(), Some(TurnRecord::Ended(_))),
        "the permit was dropped before the end was reported"
    );
}

#[actix::test]
async fn the_output_of_a_script_is_the_reply_and_its_input_is_one_document() {
    let fixture = Fixture::with_script("cat; echo; echo two", "");
    let profile = fixture.profile("default", &[]);
    let (id, _) =
        fixture.turn(&profile, TurnParams { raw: json!({"text": "hi", "extra": [1]}), ..TurnParams::default() }).await;
    let ended = fixture.stub.ended().await;
    assert_eq!(ended.outcome, TurnOutcome::Done);
    let mut lines = ended.reply.lines();
    let document: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(document["turn_id"], id.to_string());
    assert_eq!(document["session_key"], "agent:main:discord:channel:c1");
    assert_eq!((&document["profile"], &document["attempt"]), (&json!("default"), &json!(1)));
    assert_eq!(document["event"], json!({"text": "hi", "extra": [1]}));
    assert_eq!(document["history"], json!([]));
    assert_eq!(document["descriptor"]["len_unit"], "chars");
    assert_eq!(lines.last(), Some("two"));
}

#[actix::test]
async fn the_output_of_a_failed_agent_is_posted_before_a_notice_with_the_exit_code() {
    let fixture = Fixture::with_script("echo before; exit 3", "");
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    let ended = fixture.stub.ended().await;
    assert_eq!(notice(&ended.outcome), "The agent stopped with exit code 3.");
    assert_eq!(fixture.stub.posted(), ["before", "The agent stopped with exit code 3."]);
    assert!(fixture.stub.ledger().values().all(|state| *state == OutboundState::Delivered));
}

#[actix::test]
async fn a_command_that_cannot_be_run_gets_a_notice_without_its_name() {
    let fixture = Fixture::new("agent:\n  backend: exec\n  command: [/nowhere/agent]\n");
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    let ended = fixture.stub.ended().await;
    assert!(matches!(ended.outcome, TurnOutcome::Failed { .. }));
    assert!(!notice(&ended.outcome).contains("nowhere"));
}

#[actix::test]
async fn an_agent_with_too_much_output_is_stopped_with_a_notice_and_few_messages() {
    let fixture = Fixture::with_script("yes flood", "");
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    let ended = fixture.stub.ended().await;
    assert!(notice(&ended.outcome).contains("4 MiB"));
    assert!(fixture.stub.posted().len() < 50, "{} messages", fixture.stub.posted().len());
}

#[actix::test]
async fn a_flood_on_standard_error_does_not_fail_the_turn() {
    let fixture = Fixture::with_script("head -c 20000000 /dev/zero >&2; yes x | head -c 20000000 >&2; echo fine", "");
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Done);
    assert_eq!(fixture.stub.posted(), ["fine"]);
}

#[actix::test]
async fn the_output_of_an_agent_that_never_reads_is_posted() {
    let fixture = Fixture::with_script("echo received", "");
    let raw = json!({"text": "x".repeat(1_000_000)});
    fixture.turn(&fixture.profile("default", &[]), TurnParams { raw, ..TurnParams::default() }).await;
    assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Done);
    assert_eq!(fixture.stub.posted(), ["received"]);
}

#[actix::test]
async fn an_agent_that_ends_without_output_gets_a_notice() {
    let fixture = Fixture::with_script("exit 0", "");
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    assert_eq!(notice(&fixture.stub.ended().await.outcome), "The agent ended without an answer.");
    assert_eq!(fixture.stub.posted(), ["The agent ended without an answer."]);
}

#[actix::test]
async fn a_jsonl_agent_may_end_without_a_reply_on_purpose() {
    let fixture = jsonl(r#"echo '{"type":"final"}'"#);
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Done);
    assert!(fixture.stub.posted().is_empty());
}

#[actix::test]
async fn a_jsonl_agent_without_one_valid_line_gets_a_notice() {
    let deep = format!("echo '{}'", "[".repeat(100_000));
    for output in ["echo invalid", "printf '\\377\\376\\n'", "printf '{\"type\":\"text\",\"te'", &deep] {
        let fixture = jsonl(output);
        fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
        assert_eq!(notice(&fixture.stub.ended().await.outcome), "The agent's answer could not be understood.");
    }
}

#[actix::test]
async fn the_turn_waits_for_the_exit_of_an_agent_that_closed_its_output() {
    let fixture = Fixture::with_script("echo last; exec 1>&-; sleep 0.3; exit 4", "");
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    assert_eq!(notice(&fixture.stub.ended().await.outcome), "The agent stopped with exit code 4.");
    assert_eq!(fixture.stub.posted()[0], "last");
}

#[actix::test]
async fn the_output_of_an_agent_before_it_was_killed_is_posted() {
    let fixture = Fixture::with_script("printf 'no line end'; kill -9 $$$$", "");
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    assert_eq!(notice(&fixture.stub.ended().await.outcome), "The agent stopped with exit code 137.");
    assert_eq!(fixture.stub.posted()[0], "no line end");
}

#[actix::test]
async fn a_code_block_left_open_by_a_failed_agent_is_closed() {
    let fixture = Fixture::with_script("printf '```rs\\nlet a\\n'; exit 3", "");
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    assert_eq!(notice(&fixture.stub.ended().await.outcome), "The agent stopped with exit code 3.");
    assert_eq!(fixture.stub.shown()[0], "```rs\nlet a\n```");
}

#[actix::test]
async fn a_reply_that_the_connector_refuses_fails_the_turn_with_a_notice() {
    for (script, delivered) in [
        ("printf '%0200d' 1", 0),
        ("printf '%0200d\\n' 1 1 1; echo short", 0),
        ("printf '%0090d\\n' 1; printf '%0120d' 1", 1),
    ] {
        let fixture = Fixture::with_script(script, "");
        fixture.stub.state().takes = Some(100);
        let descriptor = Descriptor { max_message_length: 200, supports_edit: false, ..Descriptor::default() };
        fixture.turn(&fixture.profile("default", &[]), TurnParams { descriptor, ..TurnParams::default() }).await;
        let ended = fixture.stub.ended().await;
        let posted = notice(&ended.outcome);
        assert!(posted.contains("could not be delivered"), "{posted}");
        let shown = fixture.stub.shown();
        assert_eq!(shown.last().map(String::as_str), Some(posted), "{script}");
        let states: Vec<_> = fixture.stub.ledger().into_values().collect();
        assert!(states.contains(&OutboundState::Refused), "{states:?}");
        assert!(shown.len() > delivered, "{shown:?}");
    }
}

#[actix::test]
async fn a_notice_is_cut_to_the_limit_like_a_reply() {
    let fixture = Fixture::with_script("exit 3", "");
    fixture.stub.state().takes = Some(20);
    let descriptor = Descriptor { max_message_length: 20, ..Descriptor::default() };
    fixture.turn(&fixture.profile("default", &[]), TurnParams { descriptor, ..TurnParams::default() }).await;
    fixture.stub.ended().await;
    assert_eq!(fixture.stub.shown(), ["The agent stopped", "with exit code 3."]);
}

#[actix::test]
async fn the_jsonl_protocol_carries_actions_with_results_and_an_end() {
    let fixture = jsonl(
        r#"read opening
        echo '{"type":"text","text":"result: "}'
        echo '{"type":"action","id":"a1","action":{"op":"send","content":"by action"}}'
        read result
        echo '{"type":"action","id":"a2","action":{"op":"react","message_id":"m","emoji":"x"}}'
        read refused
        case "$result$refused" in *'"id":"a1","result":{"success":true'*'"id":"a2","result":{"success":false'*) word=both;; esac
        echo "{\"type\":\"final\",\"text\":\"$word\"}"
        read more || exit 0
        exit 5"#,
    );
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Done);
    let mut posted = fixture.stub.posted();
    posted.sort();
    assert_eq!(posted, ["by action", "result: both"]);
    let by_action = fixture.stub.sent().into_iter().find(|sent| sent["content"] == "by action").unwrap();
    assert_eq!((&by_action["chat_id"], &by_action["metadata"]), (&json!("c1"), &json!({"scope_id": "guild"})));
    assert_eq!(fixture.stub.ledger().len(), 2, "an action with content is recorded in the ledger");
}

#[actix::test]
async fn lines_that_are_not_of_the_jsonl_protocol_are_skipped() {
    let fixture = jsonl(
        "echo invalid; echo '{\"type\":1}'; echo '{\"type\":\"text\",\"text\":\"valid\"}'; printf '{\"type\":\"fin'",
    );
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Done);
    assert_eq!(fixture.stub.posted(), ["valid"]);
}

#[actix::test]
async fn an_agent_that_does_not_exit_after_its_final_line_is_ended_and_the_turn_succeeds() {
    let fixture = jsonl("echo '{\"type\":\"final\",\"text\":\"done\"}'; sleep 300");
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Done);
    assert_eq!(fixture.stub.posted(), ["done"]);
}

#[actix::test]
async fn a_reply_without_a_link_waits_in_the_ledger_and_the_turn_succeeds() {
    let fixture = Fixture::with_script("echo later", "");
    fixture.stub.state().link_down = true;
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Done);
    assert_eq!(fixture.stub.ledger().into_values().collect::<Vec<_>>(), [OutboundState::Pending]);
}

#[actix::test]
async fn a_reply_that_finds_the_queue_of_its_link_full_is_tried_again_under_the_same_row() {
    let fixture = Fixture::new("agent:\n  backend: echo\n");
    fixture.stub.state().link_full = 1;
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    let ended = fixture.stub.ended().await;
    assert_eq!(ended.outcome, TurnOutcome::Done);
    assert_eq!(fixture.stub.sent().len(), 2, "once refused, once sent");
    let states = ended.replies.iter().map(|reply| reply.state).collect::<Vec<_>>();
    assert_eq!((states, fixture.stub.ledger().len()), (vec![OutboundState::Delivered], 1));
}

#[actix::test]
async fn nothing_is_sent_before_the_ledger_has_recorded_it() {
    let fixture = Fixture::new("agent:\n  backend: echo\n");
    fixture.stub.state().ledger_refusals = 2;
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Done);
    let state = fixture.stub.state();
    let place = |wanted: fn(&TurnRecord) -> bool| state.seen.iter().position(wanted).unwrap();
    let recorded = place(|seen| matches!(seen, TurnRecord::Recorded(..)));
    assert!(recorded < place(|seen| matches!(seen, TurnRecord::Sent(sent) if sent["op"] == "send")));
}

#[actix::test]
async fn a_long_reply_is_split_and_every_part_is_recorded() {
    let fixture = Fixture::with_script("for i in 1 2 3 4 5 6; do echo twelve chars; done", "");
    let descriptor = Descriptor { max_message_length: 20, supports_edit: false, ..Descriptor::default() };
    fixture.turn(&fixture.profile("default", &[]), TurnParams { descriptor, ..TurnParams::default() }).await;
    assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Done);
    assert_eq!(fixture.stub.posted(), ["twelve chars"; 6]);
    assert_eq!(fixture.stub.ledger().len(), 6);
}

#[actix::test]
async fn an_event_with_an_interaction_token_is_answered_by_follow_ups() {
    let fixture = Fixture::new("agent:\n  backend: echo\n");
    let raw = json!({"text": "hello", "follow_up": "discord.interaction_token"});
    fixture.turn(&fixture.profile("default", &[]), TurnParams { raw, ..TurnParams::default() }).await;
    fixture.stub.ended().await;
    let sent = fixture.stub.sent();
    assert_eq!(sent[0]["op"], "follow_up");
    assert_eq!(sent[0]["session_key"], "agent:main:discord:channel:c1");
    assert_eq!(sent[0]["kind"], "discord.interaction_token");
}

#[actix::test]
async fn a_profile_without_an_agent_answers_with_a_notice() {
    let fixture = Fixture::new("");
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    assert_eq!(notice(&fixture.stub.ended().await.outcome), "No agent is set up here.");
    assert_eq!(fixture.stub.posted(), ["No agent is set up here."]);
}
