//! Profiles and configuration that change while the gateway runs: in every test one process serves from start to
//! end.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use crate::processes;
use crate::support::{SOON, get, wait_for};
use crate::world::World;

/// Writes the value that it was started with to a file; if there is a file `wait`, once more when there is a file `go`.
const ROTATED: &str = r#"#!/bin/sh
read -r document
echo "began $VALUE" >> "$HERMES_HOME/values"
if [ -e "$HERMES_HOME/wait" ]; then
    while [ ! -e "$HERMES_HOME/go" ]; do sleep 0.05; done
    echo "ended $VALUE" >> "$HERMES_HOME/values"
fi
echo done
"#;

const UNSERVED: &str = "does not serve the profile";

fn serves(status: &Value, profile: &str) -> bool {
    status["profiles"].as_array().is_some_and(|served| served.contains(&json!(profile)))
}

fn secrets<'a>(status: &'a Value, profile: &str) -> &'a Value {
    let all = status["secrets"].as_array().expect("a list of profiles");
    all.iter().find(|view| view["name"] == profile).unwrap_or(&Value::Null)
}

/// The children of `profiles` in the tree.
async fn actors(world: &World) -> BTreeSet<String> {
    let (code, tree) = get(&world.url("/api/actors")).await;
    assert_eq!(code, 200, "{tree}");
    let profiles = tree["children"].as_array().unwrap().iter().find(|node| node["id"] == "profiles").unwrap();
    profiles["children"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the tree has these profiles and no others.
async fn until_actors(world: &World, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
    wait_for(&format!("the actors {expected:?}"), SOON, || async { (actors(world).await == expected).then_some(()) })
        .await;
}

/// Waits until a chat has the notice that its profile is not served.
async fn until_refused(world: &World, chat: &str) {
    wait_for(&format!("a refusal in {chat}"), SOON, || async {
        let frames = world.outbound().await;
        frames.iter().map(Value::to_string).find(|frame| frame.contains(UNSERVED) && frame.contains(chat))
    })
    .await;
}

/// Waits until the agent of a profile has begun this many turns: a turn may count before its agent runs.
async fn until_begun(world: &World, profile: Option<&str>, turns: usize) {
    let begun = || async { (world.agent_account(profile).len() == turns).then_some(()) };
    wait_for("an agent at work", SOON, begun).await;
}

async fn until_values(world: &World, profile: &str, expected: &[&str]) {
    let file = world.path("profiles").join(profile).join("values");
    wait_for(&format!("{expected:?} written by {profile}"), SOON, || async {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let lines: BTreeSet<_> = text.lines().collect();
        (lines == expected.iter().copied().collect()).then_some(())
    })
    .await;
}

#[actix_web::test]
async fn a_profile_directory_that_appears_is_served_without_a_restart() {
    let world = World::start().await;
    world.push("early", "hello", "c-early", Some("late")).await;
    until_refused(&world, "c-early").await;
    let begun = Instant::now();
    world.profile("late", "A=1\n");
    world.until("the new profile", |status| serves(status, "late")).await;
    println!("a new directory is served after {:?}", begun.elapsed());
    world.push("now", "hello", "c1", Some("late")).await;
    world.answer("now").await;
    world.until_frame("late: hello").await;
    assert_eq!(world.agent_account(Some("late")).len(), 1);
    assert_eq!(world.agent_account(None), [], "nothing ran under the default profile");
    until_actors(&world, &["default", "late"]).await;
}

#[actix_web::test]
async fn a_removed_profile_finishes_its_turn_refuses_queued_events_and_is_removed() {
    let mut world = World::prepare().await;
    world.profile("work", "SECRET_OF_WORK=canary-of-work-0123456789\n");
    world.serve().await;
    world.push("long", "sleep 4", "c1", Some("work")).await;
    until_begun(&world, Some("work"), 1).await;
    world.push("queued", "behind it", "c1", Some("work")).await;
    world.until("an event queued", |status| status["turns"]["queued"] == 1).await;

    fs::remove_dir_all(world.path("profiles/work")).unwrap();
    let status = world.until("no such profile", |status| !serves(status, "work")).await;
    assert_eq!(status["active_agents"], 1, "the turn runs on: {status}");
    assert!(actors(&world).await.contains("work"), "the actor runs on");
    world.push("new", "hello", "c2", Some("work")).await;
    until_refused(&world, "c2").await;

    world.until_frame("slept 4").await;
    until_refused(&world, "c1").await;
    until_actors(&world, &["default"]).await;
    let status = world.until("no profile leaving", |status| status["configuration"]["leaving"] == json!([])).await;
    assert_eq!(secrets(&status, "work"), &Value::Null, "the status does not show the profile any more");
    assert_eq!(world.agent_account(None), [], "nothing ran under the default profile");

    world.profile("work", "");
    world.until("the profile back", |status| serves(status, "work")).await;
    world.push("again", "hello", "c2", Some("work")).await;
    world.until_frame("work: hello").await;
}

#[actix_web::test]
async fn a_rotated_secret_applies_to_the_next_turn_and_a_running_child_keeps_the_old_one() {
    let mut world = World::prepare().await;
    world.write("agent.sh", ROTATED);
    world.profile("work", "VALUE=old\n");
    let home = world.path("profiles/work");
    fs::write(home.join("wait"), "").unwrap();
    world.serve().await;
    world.push("one", "hello", "c1", Some("work")).await;
    until_values(&world, "work", &["began old"]).await;

    world.write("profiles/work/.env", "VALUE=new\n");
    let rotated = Instant::now();
    world.push("two", "hello", "c2", Some("work")).await;
    until_values(&world, "work", &["began old", "began new"]).await;
    println!("the next turn has the new value after {:?}", rotated.elapsed());
    let values: BTreeSet<_> =
        processes::of_home(&home).into_iter().filter_map(|found| found.environment.get("VALUE").cloned()).collect();
    assert_eq!(values, ["old", "new"].map(str::to_owned).into(), "as seen from outside");

    fs::write(home.join("go"), "").unwrap();
    until_values(&world, "work", &["began old", "began new", "ended old", "ended new"]).await;
    world.answer("one").await;
    world.answer("two").await;
}

#[actix_web::test]
async fn an_unreadable_env_file_degrades_only_its_profile_until_it_is_repaired() {
    let mut world = World::prepare().await;
    world.profile("bad", "A=1\n");
    world.profile("good", "B=1\n");
    world.serve().await;
    let file = world.path("profiles/bad/.env");
    let is_bad = |reason: &'static str| {
        move |status: &Value| {
            let view = secrets(status, "bad");
            view["state"] == "degraded" && view["troubles"].to_string().contains(reason)
        }
    };
    fs::write(&file, b"A=\xff\xfe").unwrap();
    let status = world.until("a problem with UTF-8", is_bad("UTF-8")).await;
    assert_eq!(secrets(&status, "good")["state"], "ready", "{status}");
    world.push("fine", "hello", "c1", Some("good")).await;
    world.answer("fine").await;

    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    world.until("a problem with the file type", is_bad("not a file")).await;
    fs::remove_dir(&file).unwrap();
    fs::write(&file, "A=1\nB=2\n").unwrap();
    world
        .until("a profile that is ready again", |status| {
            let view = secrets(status, "bad");
            view["state"] == "ready" && view["secrets"] == 2
        })
        .await;
}

#[actix_web::test]
async fn a_changed_agent_applies_to_the_next_turn_and_a_broken_file_changes_nothing() {
    let world = World::start().await;
    world.push("long", "sleep 3", "c1", None).await;
    until_begun(&world, None, 1).await;
    let agent = "agent:\n  backend: exec\n  command: [sh, -c, 'read -r document; echo another agent']\n";
    world.write("caduceus.yaml", agent);
    world.until("a change", |status| status["configuration"]["changed_at"].is_string()).await;
    world.push("next", "hello", "c2", None).await;
    world.until_frame("another agent").await;
    world.until_frame("slept 3").await;

    world.write("caduceus.yaml", "agent: [hunter2-secret\n");
    let status = world.until("a problem", |status| status["configuration"]["troubles"] != json!([])).await;
    let troubles = status["configuration"]["troubles"].to_string();
    assert!(troubles.contains("caduceus.yaml") && !troubles.contains("hunter2"), "{troubles}");
    assert_eq!(world.ready().await, 200, "it serves as before");
    world.push("still", "hello", "c3", None).await;
    wait_for("an answer in c3", SOON, || async {
        let frames = world.outbound().await;
        frames.iter().map(Value::to_string).find(|frame| frame.contains("another agent") && frame.contains("c3"))
    })
    .await;
    let log = world.gateway().log();
    assert_eq!(log.matches("configuration invalid").count(), 1, "logged once for each change: {log}");

    world.write("caduceus.yaml", &format!("{agent}http:\n  bind: 127.0.0.1:1\n"));
    world
        .until("no problem, and a key that waits for a restart", |status| {
            let view = &status["configuration"];
            view["troubles"] == json!([]) && view["needs_restart"] == json!(["http.bind"])
        })
        .await;
}

#[actix_web::test]
async fn a_broken_file_of_a_profile_degrades_only_that_profile_until_it_is_repaired() {
    let mut world = World::prepare().await;
    world.profile("work", "");
    world.serve().await;
    let state = |state: &'static str| move |status: &Value| secrets(status, "work")["state"] == state;
    world.write("profiles/work/caduceus.yaml", "agent: {backend: exec, comand: [x]}\n");
    let status = world.until("a degraded profile", state("degraded")).await;
    let troubles = secrets(&status, "work")["troubles"].to_string();
    assert!(troubles.contains("did you mean agent.command"), "{troubles}");
    assert_eq!(status["configuration"]["troubles"], json!([]), "the files of the home are valid");
    world.write("profiles/work/caduceus.yaml", "agent: {backend: echo}\n");
    world.until("a ready profile", state("ready")).await;
    world.push("echoed", "the same text", "c1", Some("work")).await;
    world.until_frame("the same text").await;
    assert_eq!(world.agent_account(Some("work")), [], "the home's agent is not run any more");
}

#[actix_web::test]
async fn routes_and_the_limit_of_turns_change_while_a_turn_runs() {
    let mut world = World::prepare().await;
    world.profile("work", "");
    world.configure("turns:\n  max_concurrent: 1\n");
    world.serve().await;
    world.push("long", "sleep 600", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    world.push("waits", "hello", "c2", None).await;
    world.until("a queued event", |status| status["turns"]["queued"] == 1).await;
    world.configure("turns:\n  max_concurrent: 2\n");
    world.until_frame("default: hello").await;
    let routes = "profile_routes:\n  - {name: r, platform: discord, chat_id: c3, profile: work}\n";
    world.write("config.yaml", &format!("gateway:\n  multiplex_profiles: true\n{routes}"));
    let changed = world.status().await["configuration"]["changed_at"].clone();
    world.until("a change", |status| status["configuration"]["changed_at"] != changed).await;
    world.push("routed", "over here", "c3", None).await;
    world.until_frame("work: over here").await;
    assert_eq!(world.status().await["active_agents"], 1, "the long turn still runs");
}

#[actix_web::test]
async fn a_hundred_profiles_added_at_once_do_not_affect_a_running_turn() {
    let world = World::start().await;
    world.push("long", "sleep 2", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    let (begun, names) = (Instant::now(), (0..100).map(|n| format!("p{n:03}")).collect::<Vec<_>>());
    for name in &names {
        world.profile(name, "A=1\n");
    }
    world.push("meanwhile", "hello", "c2", None).await;
    world.answer("meanwhile").await;
    world
        .until("all profiles ready", |status| names.iter().all(|name| secrets(status, name)["state"] == "ready"))
        .await;
    println!("100 new profiles are up after {:?}", begun.elapsed());
    world.push("last", "hello", "c3", Some("p099")).await;
    world.until_frame("p099: hello").await;
    world.until_frame("slept 2").await;
    for name in &names {
        fs::remove_dir_all(world.path("profiles").join(name)).unwrap();
    }
    until_actors(&world, &["default"]).await;
    assert_eq!(world.ready().await, 200);
}

#[actix_web::test]
async fn a_profile_added_with_a_marker_is_drained_from_its_start() {
    let mut world = World::prepare().await;
    world.configure("drain:\n  refused: notice\n");
    world.serve().await;
    // No profile's name begins with a dot.
    world.profile(".coming", "");
    world.write("profiles/.coming/.drain_request.json", "");
    let work = world.path("profiles/work");
    fs::rename(world.path("profiles/.coming"), &work).unwrap();
    world.until("the new profile", |status| serves(status, "work")).await;
    world.push("refused", "hello", "c1", Some("work")).await;
    world.until_frame("send your message again").await;
    assert_eq!(world.status().await["drain"]["profiles"], json!(["work"]));
    fs::remove_file(work.join(".drain_request.json")).unwrap();
    world.until("no drain", |status| status["drain"]["profiles"] == json!([])).await;
    world.push("taken", "hello again", "c1", Some("work")).await;
    world.until_frame("work: hello again").await;
    assert_eq!(world.agent_account(Some("work")).len(), 1, "the first message never reached the agent");

    fs::write(work.join(".drain_request.json"), "").unwrap();
    world.until("a drain", |status| status["drain"]["profiles"] == json!(["work"])).await;
    // The marker and the directory stay.
    world.write("config.yaml", "gateway:\n  multiplex_profiles: false\n");
    let gone = |status: &Value| status["drain"]["profiles"] == json!([]) && !serves(status, "work");
    world.until("no drain of a profile that is not served", gone).await;
    world.push("alone", "hello", "c2", None).await;
    world.until_frame("default: hello").await;
}

#[actix_web::test]
async fn added_and_removed_profiles_survive_the_restart_of_any_actor() {
    let mut world = World::prepare().await;
    world.profile("gone", "");
    world.serve().await;
    world.profile("come", "");
    fs::remove_dir_all(world.path("profiles/gone")).unwrap();
    until_actors(&world, &["come", "default"]).await;
    for actor in ["config", "profiles", "drain", "honcho", "status", "dispatch"] {
        let (code, answer) = world.fault(actor, json!({"fault": "panic_in_timer"})).await;
        assert_eq!(code, 200, "{actor}: {answer}");
    }
    world
        .until("all actors running", |status| {
            let children = status["actors"]["children"].as_array().expect("a tree");
            let restarted = |node: &&Value| node["restarts_total"].as_u64() > Some(0) && node["state"] == "running";
            children.iter().filter(restarted).count() == 6 && status["not_ready"].is_null()
        })
        .await;
    world.push("to-come", "hello", "c1", Some("come")).await;
    world.until_frame("come: hello").await;
    world.push("to-gone", "hello", "c2", Some("gone")).await;
    until_refused(&world, "c2").await;
    until_actors(&world, &["come", "default"]).await;
    let status = world.status().await;
    assert!(serves(&status, "come") && !serves(&status, "gone"), "{status}");
}

#[actix_web::test]
async fn a_held_event_of_a_profile_that_is_removed_before_the_next_start_is_refused() {
    let mut world = World::prepare().await;
    world.profile("work", "");
    world.configure("drain:\n  refused: hold\n");
    world.serve().await;
    world.drain(json!({"action": "drain"})).await;
    world.push("held", "hello", "c1", Some("work")).await;
    world.until("an event held", |status| status["turns"]["held"] == 1).await;
    world.kill_gateway();
    fs::remove_dir_all(world.path("profiles/work")).unwrap();
    fs::remove_file(world.path(".drain_request.json")).unwrap();
    world.serve().await;
    until_refused(&world, "c1").await;
    world.push("next", "hello", "c2", None).await;
    world.until_frame("default: hello").await;
    let status = world.status().await;
    let dispatch = status["actors"]["children"].as_array().unwrap().iter().find(|node| node["id"] == "dispatch");
    assert_eq!(dispatch.unwrap()["restarts_total"], 0, "{status}");
}

#[actix_web::test]
async fn a_long_queue_of_a_removed_profile_is_refused_without_a_restart() {
    let mut world = World::prepare().await;
    world.profile("work", "");
    world.configure("turns:\n  max_concurrent: 1\n");
    world.serve().await;
    world.push("long", "sleep 600", "c-long", None).await;
    until_begun(&world, None, 1).await;
    let line = 1_500;
    for number in 0..line {
        world.push(&format!("m{number}"), "hello", &format!("c-{number}"), Some("work")).await;
    }
    world.until("all events queued", |status| status["turns"]["queued"] == line).await;
    fs::remove_dir_all(world.path("profiles/work")).unwrap();
    world.until("no such profile", |status| !serves(status, "work")).await;
    world.push("stop", "/stop", "c-long", None).await;
    world.until("an empty queue", |status| status["turns"]["queued"] == 0).await;
    until_refused(&world, &format!("c-{}", line - 1)).await;
    world.push("next", "hello", "c-next", None).await;
    world.until_frame("default: hello").await;
}
