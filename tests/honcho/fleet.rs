//! Many processes, one grant: gateways with homes of their own and one shared file, alone and beside the original.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use caduceus_actors::honcho::lock::ConfigLock;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::grants::{SharedGrant, grant_of, is_new, until_grant};
use crate::support::original::original_python;
use crate::support::{Process, binary, get, post, wait_for};
use crate::world::World;

/// Writes the token it was given to a file that the test reads.
const AGENT: &str = r#"#!/bin/sh
read -r document
printf %s "$HONCHO_API_KEY" > "$HERMES_HOME/token.new"
mv "$HERMES_HOME/token.new" "$HERMES_HOME/token"
echo done
"#;
/// Processes that share the grant.
const PROCESSES: usize = 16;
/// Expiries between two checks of the tokens of all agents.
const TOKEN_CHECK_INTERVAL: usize = 10;
/// Sixteen processes on two shared cores.
const CEILING: Duration = Duration::from_mins(2);

/// A gateway with a link and an agent.
struct Member {
    gateway: Process,
    home: TempDir,
    id: String,
}

struct Fleet {
    shared: SharedGrant,
    connector: Process,
    members: Vec<Member>,
    turns: usize,
}

impl Fleet {
    async fn start(size: usize) -> Self {
        let shared = SharedGrant::expiring_in(3600);
        let connector = Process::start(&["connector", "--bind", "127.0.0.1:0"]);
        let mut members = Vec::new();
        for number in 0..size {
            members.push(Member::start(&shared, &connector, number).await);
        }
        for member in &members {
            let url = format!("{}/api/status", member.gateway.url);
            wait_for("the link to be up", CEILING, || async {
                (get(&url).await.1["relay"][0]["state"] == "connected").then_some(())
            })
            .await;
        }
        Self { shared, connector, members, turns: 0 }
    }

    /// Waits for the exchange after this many expiries, and until every gateway has a new token. Their status alone may still be that
    /// from before the expiry.
    async fn settle(&self, expiries: usize) {
        let exchanged = || async { (self.shared.server.exchanges() >= expiries).then_some(()) };
        wait_for("the exchange after an expiry", CEILING, exchanged).await;
        for member in &self.members {
            until_grant(&member.gateway.url, "new", CEILING, is_new).await;
        }
    }

    /// Sends every gateway a message, without waiting.
    async fn push_turns(&mut self) {
        self.turns += 1;
        for member in &self.members {
            let _ = fs::remove_file(member.home.path().join("token"));
            let event = World::message(&format!("{}-{}", member.id, self.turns), "hello", "c1", None);
            let body = json!({"gatewayId": member.id, "event": event});
            let (status, pushed) = post(&format!("{}/dev/inbound", self.connector.url), &body).await;
            assert_eq!(status, 202, "{pushed}");
        }
    }

    /// Waits until every agent has run; returns the tokens they were given.
    async fn tokens_of_turns(&self) -> Vec<String> {
        let mut tokens = Vec::new();
        for member in &self.members {
            let path = member.home.path().join("token");
            let read = || async { fs::read_to_string(&path).ok() };
            tokens.push(wait_for("a token at an agent", CEILING, read).await);
        }
        tokens
    }

    /// Asserts that every agent is given the token of the file.
    async fn all_have_the_same_token(&mut self) {
        self.push_turns().await;
        let token = self.shared.token();
        let tokens = self.tokens_of_turns().await;
        assert!(tokens.iter().all(|other| *other == token), "{tokens:?} and not {token}");
    }

    fn exchanged_once(&self, expiries: usize) {
        let server = &self.shared.server;
        let counts = (server.exchanges(), server.presented().len(), server.replays());
        assert_eq!(
            counts,
            (expiries, expiries, 0),
            "exchanges, tokens presented and replays after {expiries} expiries"
        );
        assert_eq!(server.odd_requests(), Vec::<String>::new());
    }

    /// Exchanges that each gateway counted.
    async fn exchanges(&self) -> Vec<u64> {
        let mut counts = Vec::new();
        for member in &self.members {
            counts.push(grant_of(&member.gateway.url).await["exchanges"].as_u64().unwrap());
        }
        counts
    }
}

impl Member {
    async fn start(shared: &SharedGrant, connector: &Process, number: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let id = format!("gw-{number}");
        let url = format!("{}/dev/gateways", connector.url);
        let (status, credentials) = post(&url, &json!({"gatewayId": id})).await;
        assert_eq!(status, 200, "{credentials}");
        let secret = credentials["secret"].as_str().unwrap();
        let put = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
        let env = format!(
            "GATEWAY_RELAY_URL={}/relay\nGATEWAY_RELAY_ID={id}\nGATEWAY_RELAY_SECRET={secret}\n",
            connector.url
        );
        put(".env", &format!("{env}GATEWAY_RELAY_PLATFORMS=discord\n"));
        put("agent.sh", AGENT);
        let agent = home.path().join("agent.sh").display().to_string();
        put("caduceus.yaml", &format!("agent:\n  backend: exec\n  command: [sh, {agent:?}]\n"));
        let mut command = binary();
        command.args(["serve", "--bind", "127.0.0.1:0", "--home"]).arg(home.path());
        // A log line for each of 3,200 turns is of no use here.
        let gateway = Process::spawn(command.env("HOME", shared.user.path()).env("RUST_LOG", "warn"));
        Self { gateway, home, id }
    }
}

/// A new process of the original that requests the token once.
struct OriginalTokenRequest {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl OriginalTokenRequest {
    fn start(python: &Path, path: &Path, home: &Path) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/original/fresh_token.py");
        let child = Command::new(python)
            .arg(script)
            .arg(path)
            .env("HOME", home)
            .env("HERMES_HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("the original starts");
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Waits until it is about to request the token.
    fn wait_for_request(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "requesting\n");
    }

    /// The token it was given, and whether that is marked as new.
    fn answer(mut self) -> (String, bool) {
        let mut printed = String::new();
        self.output.read_to_string(&mut printed).unwrap();
        assert!(self.child.wait().unwrap().success(), "the original failed");
        let printed: Value = serde_json::from_str(&printed).expect("the original prints JSON");
        (printed["token"].as_str().expect("a token").to_owned(), printed["refreshed"] == true)
    }
}

#[actix_web::test]
async fn sixteen_gateways_exchange_each_expiry_once_and_end_with_the_same_token() {
    let expiries = crate::count(5, 200);
    let mut fleet = Fleet::start(PROCESSES).await;
    let begun = Instant::now();
    let rest = fleet.shared.without_grant();
    for expiry in 1..=expiries {
        fleet.shared.expire();
        // Half of the expiries are found by a turn, half by a gateway's own timer.
        let by_turns = expiry % 2 == 0;
        if by_turns {
            fleet.push_turns().await;
        }
        fleet.settle(expiry).await;
        if by_turns {
            fleet.tokens_of_turns().await;
        }
        fleet.exchanged_once(expiry);
        if expiry % TOKEN_CHECK_INTERVAL == 0 || expiry == expiries {
            fleet.all_have_the_same_token().await;
        }
    }
    assert_eq!(
        (fleet.shared.without_grant(), fleet.shared.leftover_files()),
        (rest, Vec::new()),
        "nothing but the grant changed"
    );
    let exchanges = fleet.exchanges().await;
    println!("{expiries} expiries in {:?}; exchanges by gateway: {exchanges:?}", begun.elapsed());
    assert_eq!(exchanges.iter().sum::<u64>(), expiries as u64);
}

#[actix_web::test]
async fn eight_gateways_and_eight_of_the_original_exchange_each_expiry_once_and_end_with_the_same_token() {
    let expiries = crate::count(4, 200);
    let python = original_python();
    let mut fleet = Fleet::start(PROCESSES / 2).await;
    let begun = Instant::now();
    let rest = fleet.shared.without_grant();
    let homes: Vec<TempDir> = (0..PROCESSES / 2).map(|_| tempfile::tempdir().unwrap()).collect();
    for expiry in 1..=expiries {
        let path = fleet.shared.path();
        // A gateway without a wait comes first. In every second round all have to wait for the lock.
        let held = (expiry % 2 == 0).then(|| ConfigLock::take(&path, CEILING).unwrap());
        fleet.shared.expire_now(held.as_ref());
        let mut requests: Vec<OriginalTokenRequest> =
            homes.iter().map(|home| OriginalTokenRequest::start(&python, &path, home.path())).collect();
        requests.iter_mut().for_each(OriginalTokenRequest::wait_for_request);
        drop(held);
        let answers: Vec<_> = requests.into_iter().map(OriginalTokenRequest::answer).collect();
        fleet.settle(expiry).await;
        fleet.exchanged_once(expiry);
        let token = fleet.shared.token();
        assert!(answers.iter().all(|(answer, _)| *answer == token), "{answers:?} and not {token}");
        if expiry % TOKEN_CHECK_INTERVAL == 0 || expiry == expiries {
            fleet.all_have_the_same_token().await;
        }
    }
    assert_eq!(
        (fleet.shared.without_grant(), fleet.shared.leftover_files()),
        (rest, Vec::new()),
        "nothing but the grant changed"
    );
    let ours: u64 = fleet.exchanges().await.iter().sum();
    println!("{expiries} expiries in {:?}; {ours} exchanged by gateways, the rest by the original", begun.elapsed());
    assert!((1..expiries as u64).contains(&ours), "both kinds have exchanged: {ours} of {expiries} by Caduceus");
}
