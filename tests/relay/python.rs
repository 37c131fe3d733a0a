//! The gateway with a connector on another WebSocket library: Python's `websockets`.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::Value;

use crate::support::json_lines;
use crate::support::original::original_python;
use crate::world::World;

const CEILING: Duration = Duration::from_mins(1);
const SECRET: &str = "a-secret-of-the-relay-shared-by-both-ends-0123";

/// Killed when dropped.
struct PythonConnector {
    child: Child,
    printed: Receiver<Value>,
}

impl PythonConnector {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/original/connector.py");
        let mut child = Command::new(original_python())
            .args([script, "gw-python"])
            .env("RELAY_TEST_SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the connector starts");
        let printed = json_lines(&mut child);
        Self { child, printed }
    }

    /// The output of a step.
    fn step(&self, name: &str) -> Value {
        loop {
            let printed =
                self.printed.recv_timeout(CEILING).unwrap_or_else(|_| panic!("the connector did not report {name:?}"));
            println!("connector: {printed}");
            if printed["step"] == name {
                return printed;
            }
        }
    }
}

impl Drop for PythonConnector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[actix_web::test]
async fn a_connector_on_another_websocket_library_is_served() {
    let connector = PythonConnector::start();
    let port = &connector.step("listening")["port"];
    let mut world = World::prepare().await;
    world.write(
        ".env",
        &format!(
            "GATEWAY_RELAY_URL=http://127.0.0.1:{port}/relay\nGATEWAY_RELAY_ID=gw-python\n\
             GATEWAY_RELAY_SECRET={SECRET}\nGATEWAY_RELAY_PLATFORM=discord\nGATEWAY_RELAY_BOT_ID=b7\n"
        ),
    );
    world.write("caduceus.yaml", "agent: {backend: echo}\nrelay: {redial_floor_ms: 50, redial_ceiling_ms: 50}\n");
    world.serve_unlinked();

    assert_eq!(connector.step("dialled")["authorised"], true);
    let hello = connector.step("hello");
    assert_eq!((&hello["platform"], &hello["bot"]), (&Value::from("discord"), &Value::from("b7")));
    assert_eq!(connector.step("acknowledged")["buffer"], "b1");
    let answered = connector.step("answered");
    assert!(answered["parts"].as_u64() > Some(1), "{answered}");
    assert!(answered["longest"].as_u64() <= Some(60), "within its descriptor's limit: {answered}");

    // Closed with 4401 `expired`, the gateway redials with a fresh token.
    let again = connector.step("dialled");
    assert_eq!((&again["dial"], &again["authorised"]), (&Value::from(2), &Value::from(true)), "{again}");
    assert_eq!(connector.step("acknowledged again")["buffer"], "b1");
    // The repeated message ran once.
    world.until("one turn done", |status| status["turns"]["done"] == 1 && status["drain"]["active_agents"] == 0).await;
    world.gateway().signal("TERM");
    connector.step("idle");
    connector.step("closed");
    assert!(world.gateway.take().unwrap().wait_for_exit().success());
}
