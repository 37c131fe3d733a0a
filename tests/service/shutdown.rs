//! The shutdown from SIGTERM to exit, observed by the service manager, the connector, the agent and the chats.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Process, SOON, get, wait_for};
use crate::world::World;

/// `drain.timeout_s` of the tests that wait until it has passed.
const DRAIN_S: u64 = 5;
/// How long the link waits for the acknowledgement of `going_idle`.
const IDLE_ACK: Duration = Duration::from_secs(10);
/// Ceiling for what takes longer than a timeout of the gateway.
const LATER: Duration = Duration::from_mins(1);

#[actix_web::test]
async fn three_turns_finish_and_an_endless_one_is_interrupted_with_a_notice_after_the_restart() {
    let mut world = World::prepare().await;
    world.configure(&format!("drain:\n  timeout_s: {DRAIN_S}\n"));
    world.serve().await;
    for turn in ["m1", "m2", "m3"] {
        world.push(turn, "sleep 3", &format!("chat-{turn}"), None).await;
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
    assert!(took >= Duration::from_secs(DRAIN_S), "the endless turn had its whole time: {took:?}");
    for turn in ["m1", "m2", "m3"] {
        assert_eq!(world.account().await["events"][turn]["answered"], 1, "{turn} was answered before the end");
    }
    assert!(!endless.exists(), "the agent has ended");

    world.serve().await;
    let notice = world.until_frame("A restart interrupted").await;
    assert!(notice.contains("chat-endless"), "{notice}");
    assert_eq!(world.agent_account(None).len(), 4, "the turn does not run again automatically");
}

#[actix_web::test]
async fn a_second_signal_of_either_kind_ends_the_gateway_at_once() {
    for (first, second) in [("TERM", "INT"), ("INT", "TERM")] {
        // Without it the shutdown would wait for the turns for three minutes.
        let mut world = World::start().await;
        let endless = endless_turn(&world, "endless").await;
        world.gateway().signal(first);
        not_ready(&world).await;
        world.gateway().signal(second);
        assert_eq!(ended(&mut world).await, Some(0), "{first}, then {second}");
        assert!(!endless.exists(), "the agent has ended");

        world.serve().await;
        world.until_frame("A restart interrupted").await;
    }
}

#[actix_web::test]
async fn removing_the_marker_during_a_shutdown_does_not_restore_service() {
    let mut world = World::start().await;
    world.push("long", "sleep 4", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    let marker = world.path(".drain_request.json");
    fs::write(&marker, r#"{"principal":"test"}"#).unwrap();
    world.until("a drain", |status| status["drain"]["principal"] == "test").await;

    world.gateway().signal("TERM");
    while !not_ready(&world).await.contains("stopping") {}
    let (code, answer) = world.drain(json!({"action": "cancel"})).await;
    assert_eq!((code, &answer["error"]), (409, &json!("stopping")), "{answer}");
    fs::remove_file(&marker).unwrap();
    let status =
        world.until("the end of the drain by the marker", |status| status["drain"]["principal"] == Value::Null).await;
    assert_eq!(
        (&status["gateway_state"], &status["drain"]["draining"]),
        (&json!("stopping"), &json!(true)),
        "{status}"
    );
    assert_eq!(world.ready().await, 503);
    world.push("late", "too late?", "c2", None).await;

    assert_eq!(ended(&mut world).await, Some(0));
    assert_eq!(world.account().await["events"]["long"]["answered"], 1);
    assert_eq!(world.agent_account(None).len(), 1, "no turn started during the shutdown");
    world.serve().await;
    world.answer("late").await;
}

#[actix_web::test]
async fn the_connector_gets_going_idle_at_a_shutdown_and_keeps_later_events() {
    let mut world = World::start().await;
    world.push("long", "sleep 3", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    world.gateway().signal("TERM");
    until_going_idle(&world).await;
    world.push("kept", "for later", "c2", None).await;
    world.answer("long").await;
    assert_eq!(ended(&mut world).await, Some(0));
    assert_eq!(world.account().await["events"]["kept"]["acked"], 0, "the event stays at the connector");
    world.serve().await;
    world.answer("kept").await;
}

#[actix_web::test]
async fn an_unacknowledged_going_idle_delays_the_shutdown_by_ten_seconds() {
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
async fn a_gate_that_panics_during_a_shutdown_neither_reopens_nor_cuts_a_turn_short() {
    let mut world = World::start().await;
    world.push("long", "sleep 4", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    world.gateway().signal("TERM");
    until_going_idle(&world).await;
    // The gate loses its waiting requests: the shutdown waits there for the end of the turn by now.
    assert_eq!(world.fault("drain", json!({"fault": "panic_in_handler"})).await.0, 200);
    world.until("the restarted gate", |status| generation(status, "drain") > Some(1)).await;
    assert_eq!(world.ready().await, 503);
    assert_eq!(ended(&mut world).await, Some(0));
    assert_eq!(world.account().await["events"]["long"]["answered"], 1, "the turn had its time");
}

#[actix_web::test]
async fn a_thread_that_hangs_does_not_block_the_shutdown() {
    for actor in ["drain", "dispatch"] {
        let mut world = World::start().await;
        let hang = json!({"fault": "hang_thread", "seconds": 600});
        assert_eq!(world.fault(actor, hang).await.0, 200);
        world.gateway().signal("TERM");
        assert_eq!(ended(&mut world).await, Some(0), "{actor}");
    }
}

#[actix_web::test]
async fn a_root_that_hangs_is_ended_by_the_watchdog_with_a_report_of_every_actor() {
    let mut world = World::start().await;
    // Supervisors run on the root's thread, which also receives the signals.
    let hang = json!({"fault": "hang_in_timer", "seconds": 600});
    assert_eq!(world.fault("relays", hang).await.0, 200);
    world.gateway().signal("TERM");
    let mut gateway = world.gateway.take().unwrap();
    assert_eq!(ended_of(&mut gateway).await, Some(75), "a temporary failure");
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

/// Starts an endless turn; returns the directory of its agent under `/proc`.
async fn endless_turn(world: &World, id: &str) -> PathBuf {
    world.push(id, "pid", &format!("chat-{id}"), None).await;
    let pid = wait_for("the agent's process id", SOON, || async {
        fs::read_to_string(world.path("pid")).ok().filter(|pid| pid.ends_with('\n'))
    })
    .await;
    let place = Path::new("/proc").join(pid.trim());
    assert!(place.exists(), "the agent runs");
    place
}

/// Waits until the connector has acknowledged `going_idle`; after that the shutdown waits for the turns.
async fn until_going_idle(world: &World) {
    wait_for("the acknowledged `going_idle`", SOON, || async {
        world.gateway().log().contains("answer=Ok(Acknowledged)").then_some(())
    })
    .await;
}

/// Waits until no turn would be admitted; returns the answer.
async fn not_ready(world: &World) -> String {
    wait_for("readiness 503", SOON, || async {
        let (code, answer) = get(&world.url("/readyz")).await;
        (code == 503).then(|| answer.to_string())
    })
    .await
}

/// Waits until the gateway has ended by itself, which may take a while; returns its exit code.
async fn ended(world: &mut World) -> Option<i32> {
    ended_of(&mut world.gateway.take().unwrap()).await
}

/// Without blocking the thread, because connections to the connector end meanwhile.
async fn ended_of(gateway: &mut Process) -> Option<i32> {
    wait_for("the end of the gateway", LATER, || {
        let status = gateway.try_exit();
        async move { status }
    })
    .await
    .code()
}

fn generation(status: &Value, actor: &str) -> Option<u64> {
    let children = status["actors"]["children"].as_array()?;
    children.iter().find(|child| child["path"] == actor)?["generation"].as_u64()
}
