//! No token of a grant is in a log, an answer, a metric, an argument list or on the screen. Each scan finds a planted token.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::grants::{SharedGrant, empty_home, is_new, until_grant};
use crate::login::{RunningLogin, honcho, run};
use crate::support::{SOON, client, wait_for};
use crate::world::World;

/// The prefixes of all tokens in these tests: access, refresh, code.
const MARKS: [&str; 3] = ["hch-at-", "hch-rt-", "code+of/"];
/// Writes its token to forbidden places, with a harmless word, and runs on for a moment.
const AGENT: &str = r#"#!/bin/sh
read -r document
echo "planted-in-the-log $HONCHO_API_KEY" >&2
echo "planted-in-the-reply"
sleep 600
"#;

/// The prefixes that occur in `text`.
fn found(text: &str) -> Vec<&'static str> {
    MARKS.into_iter().filter(|mark| text.contains(mark)).collect()
}

/// The argument lists of all processes.
fn arguments() -> String {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let line = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
    processes.filter_map(line).map(|line| String::from_utf8_lossy(&line).replace('\0', " ") + "\n").collect()
}

async fn page(url: &str) -> String {
    let mut answer = client().get(url).timeout(SOON).send().await.expect("the gateway answers");
    String::from_utf8_lossy(&answer.body().limit(1 << 24).await.unwrap()).into_owned()
}

#[actix_web::test]
async fn no_token_is_shown_anywhere_while_a_gateway_refreshes_and_runs_agents() {
    let shared = SharedGrant::expiring_in(60);
    let mut world = World::prepare().await;
    world.write("agent.sh", AGENT);
    world.variable("HOME", &shared.user.path().display().to_string());
    world.variable("RUST_LOG", "trace");
    world.serve().await;
    let url = world.gateway().url.clone();
    until_grant(&url, "new", SOON, is_new).await;
    world.push("m1", "hello", "chat", None).await;
    let log = wait_for("the agent's line in the log", SOON, || async {
        Some(world.gateway().log()).filter(|log| log.contains("planted-in-the-log"))
    })
    .await;
    let planted = log.lines().find(|line| line.contains("planted-in-the-log")).unwrap();
    assert!(planted.contains("[redacted:HONCHO_API_KEY]"), "the agent had the token, and it was redacted: {planted}");
    assert_eq!(found(&log), Vec::<&str>::new(), "the log at level TRACE");
    for path in ["/api/status", "/api/actors", "/metrics", "/healthz", "/readyz", "/"] {
        let text = page(&format!("{url}{path}")).await;
        assert_eq!(found(&text), Vec::<&str>::new(), "{path}");
        assert!(!text.is_empty() || path == "/healthz", "{path} is empty");
    }
    let mut planted = Command::new("sleep").arg0("hch-at-planted").arg("600").stdin(Stdio::null()).spawn().unwrap();
    let seen = || async { Some(arguments()).filter(|all| all.contains("hch-at-planted")) };
    let lines = wait_for("the planted argument", SOON, seen).await;
    planted.kill().unwrap();
    planted.wait().unwrap();
    assert!(lines.contains("agent.sh"), "the scan includes the agent's process");
    let others: Vec<&str> = lines.lines().filter(|line| !found(line).is_empty() && !line.contains("planted")).collect();
    assert_eq!(others, Vec::<&str>::new());
    // The scan finds the tokens in the file.
    assert_eq!(found(&fs::read_to_string(shared.path()).unwrap()), ["hch-at-", "hch-rt-"]);
}

#[actix_web::test]
async fn no_token_is_shown_by_a_command() {
    let shared = SharedGrant::empty();
    let login = RunningLogin::begin(&shared, &[]);
    let line = fs::read(format!("/proc/{}/cmdline", login.id())).unwrap();
    assert!(String::from_utf8_lossy(&line).contains("login"));
    assert_eq!(found(&String::from_utf8_lossy(&line)), Vec::<&str>::new());
    let shown = login.press("agree").await;
    assert!(shown.contains("Logged in"), "{shown}");
    let (code, printed) = login.ended();
    assert_eq!(code, Some(0), "{printed}");
    let home = empty_home();
    let mut all = shown + &printed;
    for arguments in [vec!["status"], vec!["status", "--json"], vec!["refresh", "--force"], vec!["refresh"]] {
        all.push_str(&run(honcho(&shared, &home, &arguments).env("RUST_LOG", "trace")).1);
    }
    assert!(all.contains("OAuth grant") && all.contains("Refreshed"), "{all}");
    assert_eq!(found(&all), Vec::<&str>::new(), "{all}");
}
