//! What the service manager hears: on a socket of our own, as systemd's.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::support::SOON;
use crate::world::World;

/// Writes down the environment of itself and of its guard.
const AGENT: &str = r#"#!/bin/sh
tr '\0' '\n' < "/proc/$PPID/environ" > "$HERMES_HOME/environment"
env >> "$HERMES_HOME/environment"
read -r document
case $document in *stay*) sleep 600 ;; esac
echo done
"#;

/// The ear of a service manager.
pub(crate) struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    pub(crate) fn of(world: &mut World) -> Self {
        let path = world.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        world.variable("NOTIFY_SOCKET", path.to_str().unwrap());
        Self { socket, heard: Vec::new() }
    }

    /// Listens until `words` are said; what was said up to then stays in `heard`.
    pub(crate) fn hears(&mut self, words: &str) {
        let deadline = Instant::now() + SOON;
        let mut buffer = [0; 4096];
        while !self.heard.iter().any(|line| line.starts_with(words)) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{words:?} was never said, but {:?}", self.heard);
            self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
            if let Ok(length) = self.socket.recv(&mut buffer) {
                self.heard.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
            }
        }
    }

    pub(crate) fn forget(&mut self) {
        self.heard.clear();
    }
}

#[actix_web::test]
async fn the_service_manager_hears_of_start_life_and_end() {
    let mut world = World::prepare().await;
    let mut manager = Manager::of(&mut world);
    // Half a second for each sign of life.
    world.variable("WATCHDOG_USEC", "1000000");
    world.write("agent.sh", AGENT);
    world.configure("drain:\n  timeout_s: 1\n");
    world.serve_alone();
    manager.hears("READY=1");
    manager.hears("STATUS=running, no turn");
    for _ in 0..2 {
        manager.forget();
        manager.hears("WATCHDOG=1");
    }
    world.say("stay", "stay", "c1", None).await;
    manager.hears("STATUS=running, 1 turn");
    manager.forget();
    world.gateway().signal("TERM");
    manager.hears("STOPPING=1");
    manager.hears("EXTEND_TIMEOUT_USEC=");
    manager.hears("STATUS=stopping");
    assert!(world.gateway.take().unwrap().ended().success());
    assert!(!manager.heard.iter().any(|line| line == "READY=1"), "{:?}", manager.heard);
}

#[actix_web::test]
async fn no_agent_and_no_guard_can_speak_to_the_service_manager() {
    let mut world = World::prepare().await;
    let mut manager = Manager::of(&mut world);
    world.variable("WATCHDOG_USEC", "1000000");
    world.write("agent.sh", AGENT);
    // Neither may a profile smuggle the name in.
    let relay = std::fs::read_to_string(world.path(".env")).unwrap();
    world.write(".env", &format!("{relay}WATCHDOG_PID=1\nNOTIFY_SOCKET=/elsewhere\nOPENLY=1\n"));
    world.serve().await;
    manager.hears("READY=1");
    world.say("m1", "hello", "c1", None).await;
    world.answer("m1").await;
    let environment = std::fs::read_to_string(world.path("environment")).unwrap();
    let named = |name: &str| environment.lines().filter(|line| line.starts_with(&format!("{name}="))).count();
    assert_eq!(named("OPENLY"), 2, "agent and guard were looked at: {environment}");
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        assert_eq!(named(name), 0, "{name} in {environment}");
    }
}

#[actix_web::test]
async fn a_service_manager_that_does_not_listen_holds_nobody_up() {
    let mut world = World::prepare().await;
    let manager = Manager::of(&mut world);
    world.variable("WATCHDOG_USEC", "100000");
    // Its queue is full before the gateway says its first word.
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"X=1", world.path("notify")).is_ok() {}
    world.serve().await;
    world.say("m1", "hello", "c1", None).await;
    world.answer("m1").await;
    assert!(world.stop_gateway().success());
    drop(manager);
}
