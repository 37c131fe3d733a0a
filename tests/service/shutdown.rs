//! From SIGTERM to exit, as the service manager, the connector, the agent and the people in the chats see it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Process, SOON, get, wait_for};
use crate::world::World;

/// How long the turns may take in the tests that wait for the end of that time.
const DRAIN_S: u64 = 5;
/// The link awaits the acknowledgement of its farewell for so long.
const IDLE_ACK: Duration = Duration::from_secs(10);
/// Ceiling for what takes the length of a silence and then some.
const LATER: Duration = Duration::from_mins(1);

#[actix_web::test]
async fn three_turns_finish_and_the_one_that_never_ends_is_interrupted_and_told_of_after_the_restart() {
    let mut world = World::prepare().await;
    world.configure(&format!("drain:\n  timeout_s: {DRAIN_S}\n"));
    world.serve().await;
    for turn in ["m1", "m2", "m3"] {
        world.say(turn, "sleep 3", &format!("chat-{turn}"), None).await;
    }
    let endless = endless_turn(&world, "endless").await;
    world.until("four turns", |status| status["active_agents"] == 4).await;

    let signalled = Instant::now();
    world.gateway().signal("TERM");
    let reason = not_ready(&world).await;
    let noticed = signalled.elapsed();
    assert!(reason.contains("stopping"), "{reason}");
    let status = world.status().await;
    println!("not ready {noticed:?} after the signal");
    assert_eq!(
        (&status["gateway_state"], &status["active_agents"]),
        (&json!("stopping"), &json!(4)),
        "no turn was cut"
    );

    assert_eq!(ended(&mut world).await, Some(0));
    let took = signalled.elapsed();
    println!("ended {took:?} after the signal");
    assert!(took >= Duration::from_secs(DRAIN_S), "the endless one had its time: {took:?}");
    for turn in ["m1", "m2", "m3"] {
        assert_eq!(world.account().await["events"][turn]["answered"], 1, "{turn} was answered before the end");
    }
    assert!(!endless.exists(), "its agent is gone with it");

    world.serve().await;
    let told = world.until_said("A restart cut off").await;
    assert!(told.contains("chat-endless"), "{told}");
    assert_eq!(world.agent_account(None).len(), 4, "it does not run again by itself");
}

#[actix_web::test]
async fn a_second_signal_of_either_kind_ends_it_now() {
    for (first, second) in [("TERM", "INT"), ("INT", "TERM")] {
        // The turns would be waited for three minutes.
        let mut world = World::start().await;
        let endless = endless_turn(&world, "endless").await;
        world.gateway().signal(first);
        not_ready(&world).await;
        world.gateway().signal(second);
        assert_eq!(ended(&mut world).await, Some(0), "{first}, then {second}");
        assert!(!endless.exists(), "its agent is gone with it");

        world.serve().await;
        world.until_said("A restart cut off").await;
    }
}

#[actix_web::test]
async fn removing_the_marker_during_a_shutdown_revives_nothing() {
    let mut world = World::start().await;
    world.say("long", "sleep 4", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    let marker = world.path(".drain_request.json");
    fs::write(&marker, r#"{"principal":"test"}"#).unwrap();
    world.until("a drain", |status| status["drain"]["principal"] == "test").await;

    world.gateway().signal("TERM");
    while !not_ready(&world).await.contains("stopping") {}
    let (code, answer) = world.drain(json!({"action": "cancel"})).await;
    assert_eq!((code, &answer["error"]), (409, &json!("stopping")), "{answer}");
    fs::remove_file(&marker).unwrap();
    let status = world.until("the marker's end noticed", |status| status["drain"]["principal"] == Value::Null).await;
    assert_eq!(
        (&status["gateway_state"], &status["drain"]["draining"]),
        (&json!("stopping"), &json!(true)),
        "{status}"
    );
    assert_eq!(world.ready().await, 503);
    world.say("late", "too late?", "c2", None).await;

    assert_eq!(ended(&mut world).await, Some(0));
    assert_eq!(world.account().await["events"]["long"]["answered"], 1);
    assert_eq!(world.agent_account(None).len(), 1, "nothing started once it was stopping");
    world.serve().await;
    world.answer("late").await;
}

#[actix_web::test]
async fn the_connector_is_told_that_the_gateway_goes_and_keeps_what_comes() {
    let mut world = World::start().await;
    world.say("long", "sleep 3", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    world.gateway().signal("TERM");
    said_farewell(&world).await;
    world.say("kept", "for later", "c2", None).await;
    world.answer("long").await;
    assert_eq!(ended(&mut world).await, Some(0));
    assert_eq!(world.account().await["events"]["kept"]["acked"], 0, "it stays with the connector");
    world.serve().await;
    world.answer("kept").await;
}

#[actix_web::test]
async fn a_farewell_that_is_never_acknowledged_holds_up_the_end_for_ten_seconds() {
    let mut world = World::start().await;
    let mute = json!({"halfOpen": true});
    let (code, answer) = crate::support::post(&format!("{}/dev/faults", world.connector.url), &mute).await;
    assert!(code < 300, "{answer}");
    let signalled = Instant::now();
    world.gateway().signal("TERM");
    let ended = ended(&mut world).await;
    let took = signalled.elapsed();
    println!("ended after {took:?}");
    assert_eq!(ended, Some(0));
    assert!(took >= IDLE_ACK, "{took:?}");
}

#[actix_web::test]
async fn a_gate_that_falls_during_a_shutdown_neither_opens_again_nor_cuts_a_turn_short() {
    let mut world = World::start().await;
    world.say("long", "sleep 4", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    world.gateway().signal("TERM");
    said_farewell(&world).await;
    // Whoever waits at the gate for the end of the turn, as the shutdown does by now, is forgotten.
    assert_eq!(world.fault("drain", json!({"fault": "panic_in_handler"})).await.0, 200);
    world.until("another gate", |status| generation(status, "drain") > Some(1)).await;
    assert_eq!(world.ready().await, 503);
    assert_eq!(ended(&mut world).await, Some(0));
    assert_eq!(world.account().await["events"]["long"]["answered"], 1, "it had its time");
}

#[actix_web::test]
async fn a_thread_that_hangs_keeps_nobody_from_the_end() {
    for actor in ["drain", "dispatch"] {
        let mut world = World::start().await;
        let hang = json!({"fault": "hang_thread", "seconds": 600});
        assert_eq!(world.fault(actor, hang).await.0, 200);
        world.gateway().signal("TERM");
        assert_eq!(ended(&mut world).await, Some(0), "{actor}");
    }
}

#[actix_web::test]
async fn a_root_that_hangs_is_ended_by_the_watchdog_which_says_where_everyone_was() {
    let mut world = World::start().await;
    // A supervisor lives on the root's own thread, which also hears the signals.
    let hang = json!({"fault": "hang_in_timer", "seconds": 600});
    assert_eq!(world.fault("relays", hang).await.0, 200);
    world.gateway().signal("TERM");
    let mut gateway = world.gateway.take().unwrap();
    assert_eq!(ended_of(&mut gateway).await, Some(75), "worth another try");
    let log = wait_for("its report", SOON, || async {
        let log = gateway.log();
        log.contains("relays/relay:").then_some(log)
    })
    .await;
    assert!(log.contains("watchdog: RootUnresponsive, exit 75"), "{log}");
    for actor in ["root", "ledger", "status", "profiles/default", "drain", "honcho", "dispatch", "relays/relay", "http"]
    {
        let line = log.lines().find(|line| line.starts_with(&format!("{actor}: ")));
        assert!(line.is_some_and(|line| line.contains("heartbeat")), "{actor}: {line:?}");
    }
}

/// Starts a turn that goes on for ever; the directory of its agent under `/proc`.
async fn endless_turn(world: &World, id: &str) -> PathBuf {
    world.say(id, "pid", &format!("chat-{id}"), None).await;
    let pid = wait_for("the agent's process id", SOON, || async {
        fs::read_to_string(world.path("pid")).ok().filter(|pid| pid.ends_with('\n'))
    })
    .await;
    let place = Path::new("/proc").join(pid.trim());
    assert!(place.exists(), "its agent runs");
    place
}

/// Waits until the connector has acknowledged that the gateway goes, after which the turns are waited for.
async fn said_farewell(world: &World) {
    wait_for("the farewell", SOON, || async {
        world.gateway().log().contains("answer=Ok(Acknowledged)").then_some(())
    })
    .await;
}

/// Waits until no turn would be admitted; the answer.
async fn not_ready(world: &World) -> String {
    wait_for("readiness 503", SOON, || async {
        let (code, answer) = get(&world.url("/readyz")).await;
        (code == 503).then(|| answer.to_string())
    })
    .await
}

/// Waits for the gateway to end by itself, which may take a while; its exit code.
async fn ended(world: &mut World) -> Option<i32> {
    ended_of(&mut world.gateway.take().unwrap()).await
}

/// Not asleep, for connections to the connector end meanwhile.
async fn ended_of(gateway: &mut Process) -> Option<i32> {
    wait_for("the end of the gateway", LATER, || {
        let status = gateway.try_ended();
        async move { status }
    })
    .await
    .code()
}

fn generation(status: &Value, actor: &str) -> Option<u64> {
    let children = status["actors"]["children"].as_array()?;
    children.iter().find(|child| child["path"] == actor)?["generation"].as_u64()
}
