//! Whole turns: an event in, an agent at work, words in the chat and rows in the ledger.

use std::time::{Duration, Instant};

use actix::Arbiter;
use caduceus_actors::ledger::messages::OutboundState;
use caduceus_actors::relay::descriptor::Descriptor;
use caduceus_actors::turn::messages::{OPERATOR_STOPPED, SteerError, SteerTurn, StopCause, StopTurn, TurnOutcome};
use caduceus_supervision::Port;
use serde_json::{Value, json};

use super::support::{CEILING, House, Seen, Wish, marked, until};

fn notice(outcome: &TurnOutcome) -> &str {
    match outcome {
        TurnOutcome::Failed { notice, .. } => notice,
        other => panic!("{other:?} is not a failure"),
    }
}

/// A script that converses.
fn jsonl(script: &str) -> House {
    House::with_script(script, "  reply: jsonl\n")
}

#[actix::test]
async fn an_echo_is_written_down_then_sent_then_marked_and_only_then_has_the_turn_ended() {
    let house = House::new("agent:\n  backend: echo\n");
    let profile = house.profile("default", &[]);
    house.turn(&profile, Wish::default()).await;
    let ended = house.desk.ended().await;
    assert_eq!((ended.outcome, ended.reply.as_str()), (TurnOutcome::Done, "hello"));
    let state = house.desk.state();
    let seen: Vec<&Seen> =
        state.seen.iter().filter(|seen| !matches!(seen, Seen::Sent(sent) if sent["op"] == "typing")).collect();
    let [Seen::Recorded(row, recorded, OutboundState::Sending), Seen::Sent(sent), marked, Seen::Ended(_)] = &seen[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!(recorded, sent);
    assert_eq!(**marked, Seen::Marked(*row, OutboundState::Delivered, None));
    let whole =
        json!({"op": "send", "chat_id": "c1", "content": "hello", "reply_to": null, "metadata": {"scope_id": "guild"}});
    assert_eq!(*sent, whole);
}

#[actix::test]
async fn the_turn_counts_until_the_dispatcher_has_heard_of_its_end() {
    let house = House::with_script("read line; sleep 0.2; echo done", "");
    let profile = house.profile("default", &[]);
    house.turn(&profile, Wish::default()).await;
    assert_eq!(house.gate.count(), 1);
    let typing =
        || house.desk.state().seen.iter().any(|seen| matches!(seen, Seen::Sent(sent) if sent["op"] == "typing"));
    until("a sign of work", || typing().then_some(())).await;
    until("the end of the count", || (house.gate.count() == 0).then_some(())).await;
    assert!(matches!(house.desk.state().seen.last(), Some(Seen::Ended(_))), "it was dropped before it was told");
}

#[actix::test]
async fn what_a_script_prints_is_the_reply_and_it_reads_one_document() {
    let house = House::with_script("cat; echo; echo two", "");
    let profile = house.profile("default", &[]);
    let (id, _) = house.turn(&profile, Wish { raw: json!({"text": "hi", "extra": [1]}), ..Wish::default() }).await;
    let ended = house.desk.ended().await;
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
async fn a_failed_agents_words_are_posted_and_then_a_notice_with_the_code() {
    let house = House::with_script("echo before; exit 3", "");
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    let ended = house.desk.ended().await;
    assert_eq!(notice(&ended.outcome), "The agent stopped with exit code 3.");
    assert_eq!(house.desk.posted(), ["before", "The agent stopped with exit code 3."]);
    assert!(house.desk.ledger().values().all(|state| *state == OutboundState::Delivered));
}

#[actix::test]
async fn a_command_that_cannot_be_run_is_told_without_its_name() {
    let house = House::new("agent:\n  backend: exec\n  command: [/nowhere/agent]\n");
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    let ended = house.desk.ended().await;
    assert!(matches!(ended.outcome, TurnOutcome::Failed { agent_missing: true, .. }));
    assert!(!notice(&ended.outcome).contains("nowhere"));
}

#[actix::test]
async fn a_flooding_agent_is_stopped_with_a_notice_and_does_not_flood_the_chat() {
    let house = House::with_script("yes flood", "");
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    let ended = house.desk.ended().await;
    assert!(notice(&ended.outcome).contains("4 MiB"));
    assert!(house.desk.posted().len() < 50, "{} messages", house.desk.posted().len());
}

#[actix::test]
async fn a_flood_on_standard_error_harms_nobody() {
    let house = House::with_script("head -c 20000000 /dev/zero >&2; yes x | head -c 20000000 >&2; echo fine", "");
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Done);
    assert_eq!(house.desk.posted(), ["fine"]);
}

#[actix::test]
async fn an_agent_that_never_reads_is_heard_all_the_same() {
    let house = House::with_script("echo heard", "");
    let raw = json!({"text": "x".repeat(1_000_000)});
    house.turn(&house.profile("default", &[]), Wish { raw, ..Wish::default() }).await;
    assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Done);
    assert_eq!(house.desk.posted(), ["heard"]);
}

#[actix::test]
async fn an_agent_that_ends_at_once_without_a_word_is_told_of() {
    let house = House::with_script("exit 0", "");
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    assert_eq!(notice(&house.desk.ended().await.outcome), "The agent ended without an answer.");
    assert_eq!(house.desk.posted(), ["The agent ended without an answer."]);
}

#[actix::test]
async fn an_agent_that_converses_may_be_silent_on_purpose() {
    let house = jsonl(r#"echo '{"type":"final"}'"#);
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Done);
    assert!(house.desk.posted().is_empty());
}

#[actix::test]
async fn an_agent_that_talks_nothing_but_nonsense_is_told_of() {
    let deep = format!("echo '{}'", "[".repeat(100_000));
    for nonsense in ["echo nonsense", "printf '\\377\\376\\n'", "printf '{\"type\":\"text\",\"te'", &deep] {
        let house = jsonl(nonsense);
        house.turn(&house.profile("default", &[]), Wish::default()).await;
        assert_eq!(notice(&house.desk.ended().await.outcome), "The agent's answer could not be understood.");
    }
}

#[actix::test]
async fn an_agent_that_closes_its_output_early_is_waited_for() {
    let house = House::with_script("echo last; exec 1>&-; sleep 0.3; exit 4", "");
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    assert_eq!(notice(&house.desk.ended().await.outcome), "The agent stopped with exit code 4.");
    assert_eq!(house.desk.posted()[0], "last");
}

#[actix::test]
async fn what_an_agent_said_before_it_was_killed_is_not_lost() {
    let house = House::with_script("printf 'no line end'; kill -9 $$$$", "");
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    assert_eq!(notice(&house.desk.ended().await.outcome), "The agent stopped with exit code 137.");
    assert_eq!(house.desk.posted()[0], "no line end");
}

#[actix::test]
async fn an_agent_that_takes_too_long_is_stopped_with_all_that_it_started() {
    let house = House::with_script("setsid sleep 300 & sleep 300", "  timeout_s: 1\n");
    let (id, _) = house.turn(&house.profile("default", &[]), Wish::default()).await;
    assert_eq!(notice(&house.desk.ended().await.outcome), "The agent took longer than 1 second and was stopped.");
    assert!(marked(&id.to_string()).is_empty());
}

#[actix::test]
async fn a_stopped_turn_ends_its_agent_and_marks_the_message_that_it_was_writing() {
    let house = House::with_script("trap 'exit 9' TERM; echo working; sleep 300 & wait", "");
    let (id, turn) = house.turn(&house.profile("default", &[]), Wish::default()).await;
    until("the first word", || (!house.desk.posted().is_empty()).then_some(())).await;
    Port::from(turn).tell(StopTurn { cause: StopCause::Asked }).unwrap();
    assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Stopped(StopCause::Asked));
    assert_eq!(house.desk.posted(), ["working"]);
    assert_eq!(house.desk.shown(), ["working\n\n(stopped)"], "`/stop` itself is answered by the dispatcher");
    assert_eq!(house.desk.ledger().len(), 1, "what the chat shows is in the ledger");
    assert!(marked(&id.to_string()).is_empty());
}

#[actix::test]
async fn whatever_stops_a_turn_its_half_written_message_is_closed_and_marked() {
    for (cause, mark, notice) in [
        (StopCause::Asked, "(stopped)", None),
        (StopCause::Interrupt, "(stopped)", Some("Stopped.")),
        (StopCause::Operator, "(stopped)", Some(OPERATOR_STOPPED)),
        (StopCause::Superseded, "(stopped for a newer message)", None),
        (StopCause::Shutdown, "(cut off: the gateway is going down)", None),
    ] {
        let house = House::with_script("printf 'so:\\n~~~ sh\\nls\\n'; sleep 300", "");
        let (_, turn) = house.turn(&house.profile("default", &[]), Wish::default()).await;
        until("the first word", || (!house.desk.posted().is_empty()).then_some(())).await;
        Port::from(turn).tell(StopTurn { cause }).unwrap();
        assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Stopped(cause));
        let closed = format!("so:\n~~~ sh\nls\n~~~\n\n{mark}");
        let expected: Vec<String> = std::iter::once(closed).chain(notice.map(str::to_owned)).collect();
        assert_eq!(house.desk.shown(), expected, "{cause:?}");
        assert!(house.desk.ledger().values().all(|state| *state == OutboundState::Delivered), "{cause:?}");
    }
}

#[actix::test]
async fn an_operator_who_stops_a_turn_that_has_said_nothing_is_told_of_in_the_chat() {
    let house = House::with_script("sleep 300", "");
    let (id, turn) = house.turn(&house.profile("default", &[]), Wish::default()).await;
    until("the agent", || (!marked(&id.to_string()).is_empty()).then_some(())).await;
    Port::from(turn).tell(StopTurn { cause: StopCause::Operator }).unwrap();
    house.desk.ended().await;
    assert_eq!(house.desk.shown(), [OPERATOR_STOPPED]);
}

#[actix::test]
async fn code_that_a_failed_agent_left_open_is_closed() {
    let house = House::with_script("printf '```rs\\nlet a\\n'; exit 3", "");
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    assert_eq!(notice(&house.desk.ended().await.outcome), "The agent stopped with exit code 3.");
    assert_eq!(house.desk.shown()[0], "```rs\nlet a\n```");
}

#[actix::test]
async fn an_answer_that_the_connector_refuses_fails_the_turn_and_the_chat_is_told() {
    for (script, delivered) in [
        ("printf '%0200d' 1", 0),
        ("printf '%0200d\\n' 1 1 1; echo short", 0),
        ("printf '%0090d\\n' 1; printf '%0120d' 1", 1),
    ] {
        let house = House::with_script(script, "");
        house.desk.state().takes = Some(100);
        let descriptor = Descriptor { max_message_length: 200, supports_edit: false, ..Descriptor::default() };
        house.turn(&house.profile("default", &[]), Wish { descriptor, ..Wish::default() }).await;
        let ended = house.desk.ended().await;
        let told = notice(&ended.outcome);
        assert!(told.contains("could not be delivered"), "{told}");
        let shown = house.desk.shown();
        assert_eq!(shown.last().map(String::as_str), Some(told), "{script}");
        let states: Vec<_> = house.desk.ledger().into_values().collect();
        assert!(states.contains(&OutboundState::Refused), "{states:?}");
        assert!(shown.len() > delivered, "{shown:?}");
    }
}

#[actix::test]
async fn a_notice_is_cut_to_the_limit_like_a_reply() {
    let house = House::with_script("exit 3", "");
    house.desk.state().takes = Some(20);
    let descriptor = Descriptor { max_message_length: 20, ..Descriptor::default() };
    house.turn(&house.profile("default", &[]), Wish { descriptor, ..Wish::default() }).await;
    house.desk.ended().await;
    assert_eq!(house.desk.shown(), ["The agent stopped", "with exit code 3."]);
}

#[actix::test]
async fn an_agent_that_ignores_the_stop_is_killed_after_5_seconds() {
    let house = House::with_script("trap '' TERM; echo up; while :; do sleep 1; done", "");
    let (id, turn) = house.turn(&house.profile("default", &[]), Wish::default()).await;
    until("the first word", || (!house.desk.posted().is_empty()).then_some(())).await;
    let begun = Instant::now();
    Port::from(turn).tell(StopTurn { cause: StopCause::Operator }).unwrap();
    assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Stopped(StopCause::Operator));
    let took = begun.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(9)).contains(&took), "{took:?}");
    assert!(marked(&id.to_string()).is_empty());
}

#[actix::test]
async fn an_agent_dies_with_its_turn() {
    let house = House::with_script("setsid sleep 300 & sleep 300", "");
    let arbiter = Arbiter::new();
    let (id, _) = house.turn_on(&arbiter.handle(), &house.profile("default", &[]), Wish::default()).await;
    until("the agent", || (marked(&id.to_string()).len() >= 4).then_some(())).await;
    // Its thread goes, and takes the turn along without a word.
    arbiter.stop();
    until("the end of the agent", || marked(&id.to_string()).is_empty().then_some(())).await;
    assert_eq!(house.gate.count(), 0);
}

#[actix::test]
async fn a_conversation_has_actions_with_results_and_an_end() {
    let house = jsonl(
        r#"read opening
        echo '{"type":"text","text":"look: "}'
        echo '{"type":"action","id":"a1","action":{"op":"send","content":"by action"}}'
        read result
        echo '{"type":"action","id":"a2","action":{"op":"react","message_id":"m","emoji":"x"}}'
        read refused
        case "$result$refused" in *'"id":"a1","result":{"success":true'*'"id":"a2","result":{"success":false'*) word=both;; esac
        echo "{\"type\":\"final\",\"text\":\"$word\"}"
        read more || exit 0
        exit 5"#,
    );
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Done);
    let mut posted = house.desk.posted();
    posted.sort();
    assert_eq!(posted, ["by action", "look: both"]);
    let by_action = house.desk.sent().into_iter().find(|sent| sent["content"] == "by action").unwrap();
    assert_eq!((&by_action["chat_id"], &by_action["metadata"]), (&json!("c1"), &json!({"scope_id": "guild"})));
    assert_eq!(house.desk.ledger().len(), 2, "an action with content is an obligation");
}

#[actix::test]
async fn lines_that_are_no_conversation_are_passed_over() {
    let house = jsonl(
        "echo nonsense; echo '{\"type\":1}'; echo '{\"type\":\"text\",\"text\":\"sense\"}'; printf '{\"type\":\"fin'",
    );
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Done);
    assert_eq!(house.desk.posted(), ["sense"]);
}

#[actix::test]
async fn a_conversing_agent_can_be_steered_and_a_printing_one_cannot() {
    let steer = SteerTurn { raw_event: std::sync::Arc::new(json!({"text": "left"})) };
    let house = jsonl(
        r#"read opening; echo '{"type":"text","text":"up"}'; read event
        case "$event" in *'"type":"event","event":{"text":"left"}'*) echo '{"type":"final","text":" and steered"}';; esac"#,
    );
    let (_, turn) = house.turn(&house.profile("default", &[]), Wish::default()).await;
    until("the first word", || (!house.desk.posted().is_empty()).then_some(())).await;
    assert_eq!(Port::from(turn).ask(steer.clone(), CEILING).await.unwrap(), Ok(()));
    assert_eq!(house.desk.ended().await.reply, "up and steered");

    let house = House::with_script("echo up; sleep 300", "");
    let (_, turn) = house.turn(&house.profile("default", &[]), Wish::default()).await;
    until("the first word", || (!house.desk.posted().is_empty()).then_some(())).await;
    let refused = Port::from(turn.clone()).ask(steer, CEILING).await.unwrap();
    assert_eq!(refused, Err(SteerError::NotSteerable));
    Port::from(turn).tell(StopTurn { cause: StopCause::Asked }).unwrap();
    house.desk.ended().await;
}

#[actix::test]
async fn an_agent_that_is_done_and_does_not_end_is_ended_and_done() {
    let house = jsonl("echo '{\"type\":\"final\",\"text\":\"done\"}'; sleep 300");
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Done);
    assert_eq!(house.desk.posted(), ["done"]);
}

#[actix::test]
async fn a_reply_without_a_link_waits_in_the_ledger_and_the_turn_is_done() {
    let house = House::with_script("echo later", "");
    house.desk.state().link_down = true;
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Done);
    assert_eq!(house.desk.ledger().into_values().collect::<Vec<_>>(), [OutboundState::Pending]);
}

#[actix::test]
async fn a_ledger_that_takes_no_writes_is_waited_for_and_nothing_is_sent_before() {
    let house = House::new("agent:\n  backend: echo\n");
    house.desk.state().ledger_refusals = 2;
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Done);
    let state = house.desk.state();
    let place = |wanted: fn(&Seen) -> bool| state.seen.iter().position(wanted).unwrap();
    let recorded = place(|seen| matches!(seen, Seen::Recorded(..)));
    assert!(recorded < place(|seen| matches!(seen, Seen::Sent(sent) if sent["op"] == "send")));
}

#[actix::test]
async fn a_long_reply_is_split_and_every_part_is_an_obligation() {
    let house = House::with_script("for i in 1 2 3 4 5 6; do echo twelve chars; done", "");
    let descriptor = Descriptor { max_message_length: 20, supports_edit: false, ..Descriptor::default() };
    house.turn(&house.profile("default", &[]), Wish { descriptor, ..Wish::default() }).await;
    assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Done);
    assert_eq!(house.desk.posted(), ["twelve chars"; 6]);
    assert_eq!(house.desk.ledger().len(), 6);
}

#[actix::test]
async fn an_event_that_came_with_a_kept_right_is_answered_by_follow_ups() {
    let house = House::new("agent:\n  backend: echo\n");
    let raw = json!({"text": "hello", "follow_up": "discord.interaction_token"});
    house.turn(&house.profile("default", &[]), Wish { raw, ..Wish::default() }).await;
    house.desk.ended().await;
    let sent = house.desk.sent();
    assert_eq!(sent[0]["op"], "follow_up");
    assert_eq!(sent[0]["session_key"], "agent:main:discord:channel:c1");
    assert_eq!(sent[0]["kind"], "discord.interaction_token");
}

#[actix::test]
async fn a_profile_without_an_agent_says_so() {
    let house = House::new("");
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    assert_eq!(notice(&house.desk.ended().await.outcome), "No agent is set up here.");
    assert_eq!(house.desk.posted(), ["No agent is set up here."]);
}
