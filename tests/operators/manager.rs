//! The messages to the service manager, received on a socket of the test.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::support::SOON;
use crate::world::World;

/// Writes its own environment and that of its guard to a file.
const AGENT: &str = r#"#!/bin/sh
tr '\0' '\n' < "/proc/$PPID/environ" > "$HERMES_HOME/environment"
env >> "$HERMES_HOME/environment"
read -r document
case $document in *long*) sleep 600 ;; esac
echo done
"#;

/// The socket of a service manager.
pub(crate) struct Manager {
    socket: UnixDatagram,
    received: Vec<String>,
}

impl Manager {
    pub(crate) fn of(world: &mut World) -> Self {
        let path = world.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        world.variable("NOTIFY_SOCKET", path.to_str().unwrap());
        Self { socket, received: Vec::new() }
    }

    /// Receives until a line begins with `words`; the lines up to then stay in `received`.
    pub(crate) fn receives(&mut self, words: &str) {
        let deadline = Instant::now() + SOON;
        let mut buffer = [0; 4096];
        while !self.received.iter().any(|line| line.starts_with(words)) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{words:?} was not received, but {:?}", self.received);
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
            if let Ok(length) = self.socket.recv(&mut buffer) {
                self.received.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.received.clear();
    }
}

#[actix_web::test]
async fn the_service_manager_is_notified_of_start_heartbeats_and_end() {
    let mut world = World::prepare().await;
    let mut manager = Manager::of(&mut world);
    // A heartbeat every half second.
    world.variable("WATCHDOG_USEC", "1000000");
    world.write("agent.sh", AGENT);
    world.configure("drain:\n  timeout_s: 1\n");
    world.serve_unlinked();
    manager.receives("READY=1");
    manager.receives("STATUS=running, no turn");
    for _ in 0..2 {
        manager.clear();
        manager.receives("WATCHDOG=1");
    }
    world.push("long", "long", "c1", None).await;
    manager.receives("STATUS=running, 1 turn");
    manager.clear();
    world.gateway().signal("TERM");
    manager.receives("STOPPING=1");
    manager.receives("EXTEND_TIMEOUT_USEC=");
    manager.receives("STATUS=stopping");
    assert!(world.gateway.take().unwrap().wait_for_exit().success());
    assert!(!manager.received.iter().any(|line| line == "READY=1"), "{:?}", manager.received);
}

#[actix_web::test]
async fn no_agent_and_no_guard_can_reach_the_service_manager() {
    let mut world = World::prepare().await;
    let mut manager = Manager::of(&mut world);
    world.variable("WATCHDOG_USEC", "1000000");
    world.write("agent.sh", AGENT);
    // A profile cannot set the variable either.
    let relay = std::fs::read_to_string(world.path(".env")).unwrap();
    world.write(".env", &format!("{relay}WATCHDOG_PID=1\nNOTIFY_SOCKET=/elsewhere\nOPENLY=1\n"));
    world.serve().await;
    manager.receives("READY=1");
    world.push("m1", "hello", "c1", None).await;
    world.answer("m1").await;
    let environment = std::fs::read_to_string(world.path("environment")).unwrap();
    let named = |name: &str| environment.lines().filter(|line| line.starts_with(&format!("{name}="))).count();
    assert_eq!(named("OPENLY"), 2, "both environments were read: {environment}");
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        assert_eq!(named(name), 0, "{name} in {environment}");
    }
}

#[actix_web::test]
async fn a_service_manager_that_does_not_read_delays_nothing() {
    let mut world = World::prepare().await;
    let manager = Manager::of(&mut world);
    world.variable("WATCHDOG_USEC", "100000");
    // Its queue is full before the gateway sends its first message.
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"X=1", world.path("notify")).is_ok() {}
    world.serve().await;
    world.push("m1", "hello", "c1", None).await;
    world.answer("m1").await;
    assert!(world.stop_gateway().success());
    drop(manager);
}
