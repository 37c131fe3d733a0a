//! One turn at a time in a session, and the handling of messages that arrive meanwhile.

use serde_json::{Value, json};

use crate::support::{SOON, post, wait_for};
use crate::world::World;

/// Writes its account; on `wait…` it answers once there is a file `go`.
const AGENT: &str = r#"#!/bin/sh
read -r document
text=${document#*\"event\":}
text=${text#*\"text\":\"}
text=${text%%\"*}
printf '%s %s %s\n' "$CADUCEUS_TURN_ID" "$CADUCEUS_ATTEMPT" "$text" >> "$HERMES_HOME/account"
case $text in wait*) while ! [ -e "$HERMES_HOME/go" ]; do sleep 0.05; done ;; esac
echo "received $text"
"#;

/// A jsonl agent: on `wait…` it writes `begun`, reads the next event and ends once there is a file `go`; otherwise it answers at once.
const JSONL_AGENT: &str = r#"#!/bin/sh
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
*) echo "{\"type\":\"final\",\"text\":\"received $text\"}" ;;
esac
"#;

async fn world(settings: &str) -> World {
    let mut world = World::prepare().await;
    world.write("agent.sh", AGENT);
    world.configure(settings);
    world.serve().await;
    world
}

/// The texts that the agent received, in order.
fn received(world: &World) -> Vec<String> {
    world.agent_account(None).into_iter().map(|(_, _, text)| text).collect()
}

async fn until_received(world: &World, texts: &[&str]) {
    wait_for(&format!("the agent to receive {texts:?}"), SOON, || async { (received(world) == texts).then_some(()) })
        .await;
}

#[actix_web::test]
async fn a_busy_session_queues_32_in_order_and_refuses_the_next_one_while_others_are_served() {
    let world = world("").await;
    world.push("first", "wait", "c1", None).await;
    until_received(&world, &["wait"]).await;
    let texts: Vec<String> = (1..=32).map(|number| format!("number {number}")).collect();
    for text in &texts {
        world.push(text, text, "c1", None).await;
    }
    world.until("32 in the queue", |status| status["turns"]["queued"] == 32).await;
    world.push("too-much", "one too many", "c1", None).await;
    world.until_text("c1", "Too many messages are waiting here").await;
    world.push("other", "hello", "c2", None).await;
    world.until_text("c2", "received hello").await;
    world.write("go", "");
    world.until_text("c1", "received number 32").await;
    let mut expected = vec!["wait".to_owned(), "hello".to_owned()];
    expected.extend(texts);
    assert_eq!(received(&world), expected);
}

#[actix_web::test]
async fn a_message_that_interrupts_stops_the_turn_and_runs() {
    let world = world("sessions:\n  busy: interrupt\n").await;
    world.push("m1", "wait", "c1", None).await;
    world.push("n1", "wait beside", "c2", None).await;
    wait_for("both turns", SOON, || async { (received(&world).len() == 2).then_some(()) }).await;
    world.push("m2", "never mind", "c1", None).await;
    world.until_text("c1", "received never mind").await;
    assert_eq!(world.texts("c1").await, ["received never mind"]);
    world.write("go", "");
    world.until_text("c2", "received wait beside").await;
}

#[actix_web::test]
async fn a_session_that_rejects_answers_that_it_is_busy_and_runs_nothing() {
    let world = world("sessions:\n  busy: reject\n").await;
    world.push("m1", "wait", "c1", None).await;
    until_received(&world, &["wait"]).await;
    world.push("m2", "and?", "c1", None).await;
    world.until_text("c1", "The agent is still busy with your last message").await;
    world.write("go", "");
    world.until_text("c1", "received wait").await;
    world.push("m3", "now?", "c1", None).await;
    world.until_text("c1", "received now?").await;
    assert_eq!(received(&world), ["wait", "now?"]);
}

#[actix_web::test]
async fn a_steered_message_reaches_a_jsonl_agent_and_queues_behind_a_text_agent() {
    let mut world = World::prepare().await;
    world.write("agent.sh", AGENT);
    world.configure("sessions:\n  busy: steer\n");
    world.script("talker", JSONL_AGENT, "  reply: jsonl\n");
    world.serve().await;
    world.push("t1", "wait", "c1", Some("talker")).await;
    world.until_text("c1", "begun").await;
    world.push("t2", "more", "c1", Some("talker")).await;
    wait_for("the event at the agent", SOON, || async { world.path("profiles/talker/steered").exists().then_some(()) })
        .await;
    world.write("profiles/talker/go", "");
    world.until_text("c1", "begun and steered").await;
    assert_eq!(world.agent_account(Some("talker")).len(), 1, "the steered message started no turn of its own");

    world.push("p1", "wait", "c2", None).await;
    until_received(&world, &["wait"]).await;
    world.push("p2", "more", "c2", None).await;
    world.until("one in the queue", |status| status["turns"]["queued"] == 1).await;
    world.write("go", "");
    world.until_text("c2", "received more").await;
    assert_eq!(received(&world), ["wait", "more"]);
}

#[actix_web::test]
async fn a_steered_message_is_not_lost_when_the_gateway_is_killed_during_the_turn() {
    let mut world = World::prepare().await;
    world.configure("sessions:\n  busy: steer\n");
    world.script("talker", JSONL_AGENT, "  reply: jsonl\n");
    world.serve().await;
    world.push("t1", "wait", "c1", Some("talker")).await;
    world.until_text("c1", "begun").await;
    world.push("t2", "more", "c1", Some("talker")).await;
    wait_for("the event at the agent", SOON, || async { world.path("profiles/talker/steered").exists().then_some(()) })
        .await;
    // Its state in the ledger is written after the answer of the turn.
    world.until("one received event", |status| status["ledger"]["inbound"]["received"] == 1).await;
    world.kill_gateway();
    world.serve().await;
    world.until_text("c1", "A restart interrupted the work").await;
    world.until_text("c1", "received more").await;
}

#[actix_web::test]
async fn turns_above_the_limit_are_shown_as_waiting_and_run_in_order() {
    let world = world("threads: {data: 1}\nturns:\n  max_concurrent: 1\n").await;
    world.push("m1", "wait", "c1", None).await;
    until_received(&world, &["wait"]).await;
    for chat in ["c2", "c3", "c4"] {
        world.push(chat, &format!("of {chat}"), chat, None).await;
    }
    let waits = |status: &Value| status["active_agents"] == 1 && status["turns"]["queued"] == 3;
    world.until("three waiting turns", waits).await;
    world.write("go", "");
    world.until_text("c4", "received of c4").await;
    assert_eq!(received(&world), ["wait", "of c2", "of c3", "of c4"]);
}

#[actix_web::test]
async fn only_commands_that_are_not_the_gateways_own_reach_the_agent() {
    let world = world("").await;
    world.push("m1", "wait", "c1", None).await;
    until_received(&world, &["wait"]).await;
    world.push("m2", "/status", "c1", None).await;
    world.until_text("c1", "The agent is working here; 1 running in total.").await;
    world.push("m3", "/retry", "c2", None).await;
    world.until_text("c2", "There is nothing to run again here.").await;
    world.push("m4", "/help", "c2", None).await;
    world.until_text("c2", "received /help").await;
    world.push("m5", "/stop", "c1", None).await;
    world.until_text("c1", "Stopped.").await;
    // A stopped turn can be run again, once.
    world.until("the end of the turn", |status| status["active_agents"] == 0).await;
    world.write("go", "");
    world.push("m6", "/retry", "c1", None).await;
    world.until_text("c1", "received wait").await;
    world.push("m7", "/retry", "c1", None).await;
    world.until_text("c1", "There is nothing to run again here.").await;
    assert_eq!(received(&world), ["wait", "/help", "wait"]);
}

/// The attempts with which the agent received a text.
fn attempts(world: &World, text: &str) -> Vec<u32> {
    world.agent_account(None).into_iter().filter(|turn| turn.2 == text).map(|turn| turn.1).collect()
}

#[actix_web::test]
async fn an_interrupted_turn_runs_at_most_three_times_and_not_again_after_repeated_crashes() {
    let mut world = World::prepare().await;
    world.write("agent.sh", AGENT);
    world.configure("turns:\n  interrupted: rerun\n");
    world.serve().await;
    for round in 1..=6 {
        let text = format!("wait {round}");
        world.push(&text, &text, &format!("c{round}"), None).await;
        wait_for("the turn", SOON, || async { (!attempts(&world, &text).is_empty()).then_some(()) }).await;
        if round > 1 {
            let before = format!("wait {}", round - 1);
            wait_for("the second attempt of the turn before", SOON, || async {
                (attempts(&world, &before) == [1, 2]).then_some(())
            })
            .await;
        }
        world.kill_gateway();
        world.serve().await;
    }
    // The sixth start that found interrupted turns.
    for (round, notice) in [(5, "Send /retry"), (6, "Send /retry"), (1, "this message was not answered")] {
        world.until_text(&format!("c{round}"), notice).await;
    }
    assert!(
        world.gateway().log().contains("too many starts with interrupted turns"),
        "the log has no warning for the operator"
    );
    assert_eq!(attempts(&world, "wait 1"), [1, 2, 3]);
    assert_eq!((attempts(&world, "wait 5"), attempts(&world, "wait 6")), (vec![1, 2], vec![1]));
    world.write("go", "");
    world.push("again", "/retry", "c6", None).await;
    world.until_text("c6", "received wait 6").await;
    assert_eq!(attempts(&world, "wait 6"), [1, 2]);
    let idle = |status: &Value| status["active_agents"] == 0 && status["ledger"]["inbound"]["running"] == json!(null);
    world.until("nothing left running", idle).await;
}

/// As [`World::push`], to one chat by one of its users, who each have a session.
async fn push_by(world: &World, user: &str, text: &str) {
    let mut event = World::message(&format!("{user}: {text}"), text, "c1", None);
    event["source"]["user_id"] = json!(user);
    let (status, pushed) = post(&format!("{}/dev/inbound", world.connector.url), &json!({"event": event})).await;
    assert_eq!(status, 202, "{pushed}");
}

#[actix_web::test]
async fn a_retry_runs_the_newest_interrupted_turn_of_the_chat_and_shows_the_others() {
    let mut world = world("").await;
    // Two agents of different sessions that begin together write in either order.
    push_by(&world, "ann", "wait 1").await;
    until_received(&world, &["wait 1"]).await;
    push_by(&world, "bob", "wait 2").await;
    push_by(&world, "ann", "wait 3").await;
    until_received(&world, &["wait 1", "wait 2"]).await;
    world.kill_gateway();
    world.serve().await;
    world.until_text("c1", "Send /retry").await;
    // It was not running yet, so it runs by itself.
    wait_for("the message that waited", SOON, || async { (attempts(&world, "wait 3") == [1]).then_some(()) }).await;
    world.write("go", "");
    world.until_text("c1", "received wait 3").await;

    push_by(&world, "carl", "/retry").await;
    world.until_text("c1", "received wait 2").await;
    world.until_text("c1", "the newest runs first:\n- wait 1").await;
    assert_eq!((attempts(&world, "wait 1"), attempts(&world, "wait 2")), (vec![1], vec![1, 2]));
    push_by(&world, "bob", "/retry").await;
    world.until_text("c1", "received wait 1").await;
    push_by(&world, "ann", "/retry").await;
    world.until_text("c1", "There is nothing to run again here.").await;
}
