//! One turn at a time in a session, and what becomes of the messages that come meanwhile.

use serde_json::{Value, json};

use crate::support::{SOON, wait_for};
use crate::world::World;

/// Keeps its account; on `wait…` it answers once there is a file `go`.
const AGENT: &str = r#"#!/bin/sh
read -r document
text=${document#*\"event\":}
text=${text#*\"text\":\"}
text=${text%%\"*}
printf '%s %s %s\n' "$CADUCEUS_TURN_ID" "$CADUCEUS_ATTEMPT" "$text" >> "$HERMES_HOME/account"
case $text in wait*) while ! [ -e "$HERMES_HOME/go" ]; do sleep 0.05; done ;; esac
echo "heard $text"
"#;

/// Converses: says what it opened with, then ends with the next event that it is told.
const TALKER: &str = r#"#!/bin/sh
read -r document
text=${document#*\"event\":}
text=${text#*\"text\":\"}
text=${text%%\"*}
printf '%s %s %s\n' "$CADUCEUS_TURN_ID" "$CADUCEUS_ATTEMPT" "$text" >> "$HERMES_HOME/account"
case $text in
wait*)
    echo '{"type":"text","text":"begun"}'
    read -r event
    case $event in *'"type":"event"'*'"text":"more"'*) touch "$HERMES_HOME/steered" ;; esac
    while ! [ -e "$HERMES_HOME/go" ]; do sleep 0.05; done
    echo '{"type":"final","text":" and steered"}' ;;
*) echo "{\"type\":\"final\",\"text\":\"heard $text\"}" ;;
esac
"#;

async fn world(settings: &str) -> World {
    let mut world = World::prepare().await;
    world.write("agent.sh", AGENT);
    world.configure(settings);
    world.serve().await;
    world
}

/// The texts that the agent was given, in order.
fn heard(world: &World) -> Vec<String> {
    world.agent_account(None).into_iter().map(|(_, _, text)| text).collect()
}

async fn until_heard(world: &World, texts: &[&str]) {
    wait_for(&format!("the agent to hear {texts:?}"), SOON, || async { (heard(world) == texts).then_some(()) }).await;
}

#[actix_web::test]
async fn a_busy_session_queues_32_in_order_and_tells_the_next_one_while_others_are_served() {
    let world = world("").await;
    world.say("first", "wait", "c1", None).await;
    until_heard(&world, &["wait"]).await;
    let texts: Vec<String> = (1..=32).map(|number| format!("number {number}")).collect();
    for text in &texts {
        world.say(text, text, "c1", None).await;
    }
    world.until("32 in the queue", |status| status["turns"]["queued"] == 32).await;
    world.say("too-much", "one too many", "c1", None).await;
    world.until_told("c1", "Too many messages are waiting here").await;
    world.say("other", "hello", "c2", None).await;
    world.until_told("c2", "heard hello").await;
    world.write("go", "");
    world.until_told("c1", "heard number 32").await;
    let mut expected = vec!["wait".to_owned(), "hello".to_owned()];
    expected.extend(texts);
    assert_eq!(heard(&world), expected);
}

#[actix_web::test]
async fn an_interrupting_message_stops_the_turn_and_runs() {
    let world = world("sessions:\n  busy: interrupt\n").await;
    world.say("m1", "wait", "c1", None).await;
    world.say("n1", "wait beside", "c2", None).await;
    wait_for("both turns", SOON, || async { (heard(&world).len() == 2).then_some(()) }).await;
    world.say("m2", "never mind", "c1", None).await;
    world.until_told("c1", "heard never mind").await;
    assert_eq!(world.texts("c1").await, ["heard never mind"]);
    world.write("go", "");
    world.until_told("c2", "heard wait beside").await;
}

#[actix_web::test]
async fn a_rejecting_session_tells_that_it_is_busy_and_runs_nothing() {
    let world = world("sessions:\n  busy: reject\n").await;
    world.say("m1", "wait", "c1", None).await;
    until_heard(&world, &["wait"]).await;
    world.say("m2", "and?", "c1", None).await;
    world.until_told("c1", "The agent is still busy with your last message").await;
    world.write("go", "");
    world.until_told("c1", "heard wait").await;
    world.say("m3", "now?", "c1", None).await;
    world.until_told("c1", "heard now?").await;
    assert_eq!(heard(&world), ["wait", "now?"]);
}

#[actix_web::test]
async fn a_steered_message_reaches_the_agent_that_converses_and_queues_behind_one_that_prints() {
    let mut world = World::prepare().await;
    world.write("agent.sh", AGENT);
    world.configure("sessions:\n  busy: steer\n");
    world.script("talker", TALKER, "  reply: jsonl\n");
    world.serve().await;
    world.say("t1", "wait", "c1", Some("talker")).await;
    world.until_told("c1", "begun").await;
    world.say("t2", "more", "c1", Some("talker")).await;
    wait_for("the event at the agent", SOON, || async { world.path("profiles/talker/steered").exists().then_some(()) })
        .await;
    world.write("profiles/talker/go", "");
    world.until_told("c1", "begun and steered").await;
    assert_eq!(world.agent_account(Some("talker")).len(), 1, "what was steered did not run by itself as well");

    world.say("p1", "wait", "c2", None).await;
    until_heard(&world, &["wait"]).await;
    world.say("p2", "more", "c2", None).await;
    world.until("one in the queue", |status| status["turns"]["queued"] == 1).await;
    world.write("go", "");
    world.until_told("c2", "heard more").await;
    assert_eq!(heard(&world), ["wait", "more"]);
}

#[actix_web::test]
async fn a_steered_message_outlives_the_turn_that_took_it_when_the_gateway_is_killed() {
    let mut world = World::prepare().await;
    world.configure("sessions:\n  busy: steer\n");
    world.script("talker", TALKER, "  reply: jsonl\n");
    world.serve().await;
    world.say("t1", "wait", "c1", Some("talker")).await;
    world.until_told("c1", "begun").await;
    world.say("t2", "more", "c1", Some("talker")).await;
    wait_for("the event at the agent", SOON, || async { world.path("profiles/talker/steered").exists().then_some(()) })
        .await;
    // Its state in the ledger follows the answer of the turn.
    world.until("nothing on its way", |status| status["ledger"]["inbound"]["received"] == 1).await;
    world.kill_gateway();
    world.serve().await;
    world.until_told("c1", "A restart cut off the work").await;
    world.until_told("c1", "heard more").await;
}

#[actix_web::test]
async fn turns_above_the_limit_wait_in_order_and_are_seen_waiting() {
    let world = world("turns:\n  max_concurrent: 1\n").await;
    world.say("m1", "wait", "c1", None).await;
    until_heard(&world, &["wait"]).await;
    for chat in ["c2", "c3", "c4"] {
        world.say(chat, &format!("of {chat}"), chat, None).await;
    }
    let waits = |status: &Value| status["active_agents"] == 1 && status["turns"]["queued"] == 3;
    world.until("three that wait", waits).await;
    world.write("go", "");
    world.until_told("c4", "heard of c4").await;
    assert_eq!(heard(&world), ["wait", "of c2", "of c3", "of c4"]);
}

#[actix_web::test]
async fn the_gateways_own_commands_reach_no_agent_and_all_others_do() {
    let world = world("").await;
    world.say("m1", "wait", "c1", None).await;
    until_heard(&world, &["wait"]).await;
    world.say("m2", "/status", "c1", None).await;
    world.until_told("c1", "The agent is at work here; 1 running in all.").await;
    world.say("m3", "/retry", "c2", None).await;
    world.until_told("c2", "There is nothing to run again here.").await;
    world.say("m4", "/help", "c2", None).await;
    world.until_told("c2", "heard /help").await;
    world.say("m5", "/stop", "c1", None).await;
    world.until_told("c1", "Stopped.").await;
    // What was stopped can be run again, once.
    world.until("the turn gone", |status| status["active_agents"] == 0).await;
    world.write("go", "");
    world.say("m6", "/retry", "c1", None).await;
    world.until_told("c1", "heard wait").await;
    world.say("m7", "/retry", "c1", None).await;
    world.until_told("c1", "There is nothing to run again here.").await;
    assert_eq!(heard(&world), ["wait", "/help", "wait"]);
}

/// How often the agent was given each text.
fn attempts(world: &World, text: &str) -> Vec<u32> {
    world.agent_account(None).into_iter().filter(|turn| turn.2 == text).map(|turn| turn.1).collect()
}

#[actix_web::test]
async fn turns_are_run_again_three_times_at_most_and_in_a_home_that_they_bring_down_no_more() {
    let mut world = World::prepare().await;
    world.write("agent.sh", AGENT);
    world.configure("turns:\n  interrupted: rerun\n");
    world.serve().await;
    for round in 1..=6 {
        let text = format!("wait {round}");
        world.say(&text, &text, &format!("c{round}"), None).await;
        wait_for("its turn", SOON, || async { (!attempts(&world, &text).is_empty()).then_some(()) }).await;
        if round > 1 {
            let before = format!("wait {}", round - 1);
            wait_for("the one before again", SOON, || async { (attempts(&world, &before) == [1, 2]).then_some(()) })
                .await;
        }
        world.kill_gateway();
        world.serve().await;
    }
    // The sixth start that found turns cut off.
    for (round, told) in [(5, "Send /retry"), (6, "Send /retry"), (1, "this message was not answered")] {
        world.until_told(&format!("c{round}"), told).await;
    }
    assert!(world.gateway().log().contains("over and over"), "an operator is not told");
    assert_eq!(attempts(&world, "wait 1"), [1, 2, 3]);
    assert_eq!((attempts(&world, "wait 5"), attempts(&world, "wait 6")), (vec![1, 2], vec![1]));
    world.write("go", "");
    world.say("again", "/retry", "c6", None).await;
    world.until_told("c6", "heard wait 6").await;
    assert_eq!(attempts(&world, "wait 6"), [1, 2]);
    let idle = |status: &Value| status["active_agents"] == 0 && status["ledger"]["inbound"]["running"] == json!(null);
    world.until("nothing left running", idle).await;
}
