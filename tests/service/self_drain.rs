//! A turn that requests the drain under which it runs.

use std::fs;

use serde_json::{Value, json};

use crate::support::{SOON, wait_for};
use crate::world::World;

/// On request it drains the gateway as its own turn, waits for the end of all other turns, writes the answers to a file, and runs on.
const AGENT: &str = r#"
import json, os, sys, time, urllib.request

home, turn = os.environ["HERMES_HOME"], os.environ["CADUCEUS_TURN_ID"]
text = json.loads(sys.stdin.readline())["event"]["text"]
with open(f"{home}/account", "a") as account:
    account.write(f"{turn} {os.environ['CADUCEUS_ATTEMPT']} {text}\n")
if text == "drain":
    with open(f"{home}/url") as url:
        drain = url.read() + "/api/gateway/drain"
    order = json.dumps({"action": "drain", "turn_id": turn}).encode()
    with urllib.request.urlopen(urllib.request.Request(drain, order, {"content-type": "application/json"})) as answer:
        begun = json.load(answer)
    with urllib.request.urlopen(drain + "?wait=20") as answer:
        waited = json.load(answer)
    with open(f"{home}/answers.new", "w") as answers:
        json.dump({"begun": begun, "waited": waited, "pid": os.getpid()}, answers)
    os.rename(f"{home}/answers.new", f"{home}/answers")
    time.sleep(600)
time.sleep(float(text))
print("slept")
"#;

#[actix_web::test]
async fn neither_its_own_wait_nor_the_shutdown_waits_for_the_turn_that_began_the_drain() {
    let mut world = World::prepare().await;
    world.write("agent.py", AGENT);
    let agent = world.path("agent.py");
    world.write("caduceus.yaml", &format!("agent:\n  backend: exec\n  command: [python3, {agent:?}]\n"));
    world.serve().await;
    world.write("url", &world.gateway().url);
    world.push("other", "3", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    world.push("drainer", "drain", "c2", None).await;

    let answers: Value = wait_for("the answers to the agent", SOON, || async {
        fs::read(world.path("answers")).ok().map(|text| serde_json::from_slice(&text).unwrap())
    })
    .await;
    assert_eq!(answers["begun"]["active_agents"], 2, "{answers}");
    let waited = &answers["waited"];
    assert_eq!((&waited["drained"], &waited["active_agents"]), (&json!(true), &json!(1)), "{answers}");
    assert_eq!(world.account().await["events"]["other"]["answered"], 1, "the wait covered the other turn");
    let alone = |status: &Value| status["active_agents"] == 1 && status["drain"]["waited_for"] == 0;
    world.until("only the turn that began the drain", alone).await;

    // Other turns would get three minutes.
    assert_eq!(world.stop_gateway().code(), Some(0));
    let agent = format!("/proc/{}", answers["pid"]);
    assert!(!fs::exists(&agent).unwrap(), "the agent has ended with the gateway");
}
