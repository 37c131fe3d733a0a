//! The result that an agent gets for an action whose connection broke: never "not sent" for one that arrived, never "sent" for one that did
//! not, and `ambiguous` if neither can be established.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use futures_util::future::join;
use serde_json::Value;

use crate::proxy::{ConnectionFault, FaultProxy, ProxyRecord};
use crate::support::{SOON, pace, wait_for};
use crate::world::{World, ended_lines};

/// Actions of the one turn.
const ACTIONS: usize = 1_000;
/// Pause around a cut, so that a whole batch of actions is dropped, and some actions of each connection arrive.
const CUT_PAUSE: Duration = Duration::from_millis(25);

/// Sends its actions ten at a time and records the result of each; it pauses so that the cuts fall on many batches. They are queries, because a message is
/// an outbound message of the ledger, which is sent again automatically.
const AGENT: &str = r#"
import json, os, sys, time
document = json.loads(sys.stdin.readline())
account = open(os.path.join(os.environ["HERMES_HOME"], "results"), "a")
for batch in range(0, ACTIONS, 10):
    for number in range(batch, batch + 10):
        action = {"op": "get_chat_info", "chat_id": str(number)}
        print(json.dumps({"type": "action", "id": str(number), "action": action}), flush=True)
    answers = [json.loads(sys.stdin.readline()) for _ in range(10)]
    for answer in answers:
        account.write(json.dumps([answer["id"], answer["result"]]) + "\n")
    account.flush()
    time.sleep(0.01 if answers[-1]["result"]["success"] else 0.04)
print(json.dumps({"type": "final", "text": "done"}), flush=True)
"#;

/// Where the wire is cut: before an action is sent, in the middle of one, after it was sent with its answer lost.
const CUTS: [ConnectionFault; 6] = [
    ConnectionFault::Reset,
    ConnectionFault::DropOutbound,
    ConnectionFault::CutOutbound(400),
    ConnectionFault::DropInbound,
    ConnectionFault::CutInbound(100),
    ConnectionFault::End,
];

#[actix_web::test]
async fn exactly_the_actions_that_may_have_arrived_are_ambiguous() {
    let mut world = World::prepare().await;
    let proxy = FaultProxy::start(world.connector.authority().parse().unwrap());
    let env = fs::read_to_string(world.path(".env")).unwrap();
    world.write(".env", &env.replace(world.connector.authority(), &proxy.address.to_string()));
    world.write("agent.py", &AGENT.replace("ACTIONS", &ACTIONS.to_string()));
    world.write(
        "caduceus.yaml",
        &format!(
            "agent: {{backend: exec, reply: jsonl, command: [python3, {:?}]}}\n\
             relay: {{ping_s: 5, silence_s: 10, redial_floor_ms: 20, redial_ceiling_ms: 20}}\n",
            world.path("agent.py")
        ),
    );
    world.serve().await;
    world.push("go", "go", "chat", None).await;
    let results = world.path("results");
    let results_written = || ended_lines(&results).len();
    wait_for("the first results", SOON, || async { (results_written() > 0).then_some(()) }).await;

    let done = Cell::new(false);
    let cutting = async {
        for cut in CUTS.into_iter().cycle() {
            if done.get() {
                return;
            }
            let ProxyRecord { dials, dropped, .. } = proxy.record();
            proxy.inject(cut);
            // The other faults end the connection by themselves.
            if matches!(cut, ConnectionFault::DropInbound | ConnectionFault::DropOutbound) {
                let drops = || async { (done.get() || proxy.record().dropped > dropped).then_some(()) };
                wait_for("a dropped byte", SOON, drops).await;
                pace(CUT_PAUSE).await;
                proxy.inject(ConnectionFault::Reset);
            }
            let redials = || async { (done.get() || proxy.record().dials.len() > dials.len()).then_some(()) };
            wait_for("the next dial", SOON, redials).await;
            pace(CUT_PAUSE).await;
        }
    };
    let finishing = async {
        wait_for("a result for every action", 3 * SOON, || async { (results_written() == ACTIONS).then_some(()) })
            .await;
        done.set(true);
    };
    join(cutting, finishing).await;
    world.answer("go").await;

    // By the connector's account: how often it has carried out each action.
    let mut arrived = BTreeMap::<String, usize>::new();
    for frame in world.outbound().await {
        let action = &frame["frame"]["action"];
        if action["op"] == "get_chat_info" {
            *arrived.entry(action["chat_id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let (mut sent, mut unsent, mut unknown_arrived, mut unknown_lost) = (0, 0, 0, 0);
    for line in ended_lines(&results) {
        let (number, result): (String, Value) = serde_json::from_str(&line).unwrap();
        let times = arrived.get(&number).copied().unwrap_or_default();
        assert!(times <= 1, "action {number} arrived {times} times; an agent's own action is not repeated");
        match (result["success"] == true, result["ambiguous"] == true) {
            (true, ambiguous) => {
                assert_eq!((times, ambiguous), (1, false), "{number}: {result}");
                sent += 1;
            }
            (false, false) => {
                assert_eq!(times, 0, "{number} arrived, and its result is `not sent`: {result}");
                unsent += 1;
            }
            (false, true) if times == 1 => unknown_arrived += 1,
            (false, true) => unknown_lost += 1,
        }
    }
    println!(
        "{sent} sent, {unsent} not sent, ambiguous: {unknown_arrived} arrived, {unknown_lost} lost; {} dials",
        proxy.record().dials.len()
    );
    assert_eq!(sent + unsent + unknown_arrived + unknown_lost, ACTIONS);
    for (count, what) in [(sent, "sent"), (unsent, "not sent"), (unknown_arrived, "arrived"), (unknown_lost, "lost")] {
        assert!(count >= 10, "every case occurred: {count} {what}");
    }
}
