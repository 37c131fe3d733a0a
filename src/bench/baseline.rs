//! What the parts cost without the gateway, in the same run: a bare handler, a bare WebSocket, grouped commits.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context as _;
use caduceus_contract::wire::frame::ToConnector;
use rusqlite::{Connection as Database, params};
use serde_json::{Value, json};

use super::lab::{Lab, first_line, program};
use super::load::LoadConnection;
use crate::http::server::WORKERS;
use crate::out;

/// Tables as lean as a ledger's can be: one row an event, found by its number.
const TABLES: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE event (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, text TEXT NOT NULL);
    CREATE TABLE mark (id INTEGER PRIMARY KEY, event INTEGER NOT NULL, state INTEGER NOT NULL);
";
/// A bare client or handler comes up within this time.
const START: Duration = Duration::from_secs(10);

/// A process of this program that serves as a baseline, killed when dropped.
pub(crate) struct Baseline {
    child: Child,
    pub(crate) process: u32,
}

impl Drop for Baseline {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts a bare actix-web handler, a process of its own, that answers every request with `body`.
pub(crate) fn start_handler(body: &[u8]) -> anyhow::Result<(Baseline, SocketAddr)> {
    let mut child = program()
        .args(["bench", "handler"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut input = child.stdin.take().context("the input is not a pipe")?;
    input.write_all(body)?;
    drop(input);
    let line = first_line(&mut child)?;
    let process = child.id();
    Ok((Baseline { child, process }, line.trim().parse()?))
}

/// Starts a bare client, a process of its own, that answers every event of the connector at `address`.
pub(crate) fn start_client(address: SocketAddr) -> anyhow::Result<Baseline> {
    let child = program().args(["bench", "client", &address.to_string()]).stdin(Stdio::null()).spawn()?;
    let process = child.id();
    Ok(Baseline { child, process })
}

/// Serves the bytes of standard input, until it is killed.
pub(crate) fn handler() -> anyhow::Result<()> {
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    let body = bytes::Bytes::from(body);
    actix_web::rt::System::new().block_on(async move {
        let app = move || {
            let body = body.clone();
            let answer = move || {
                let body = body.clone();
                async move { HttpResponse::Ok().content_type("application/json").body(body) }
            };
            App::new().default_service(web::to(answer))
        };
        let server = HttpServer::new(app).workers(WORKERS).bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = server.addrs().first().copied().context("no address")?;
        out::announce(address.to_string());
        Ok(server.run().await?)
    })
}

/// Answers every event of the connector at `address` as a gateway without a ledger would, until it is killed.
pub(crate) fn client(address: SocketAddr) -> anyhow::Result<()> {
    let mut connection = LoadConnection::dial(address, START)?;
    connection.queue(ToConnector::Hello { platform: "relay".to_owned(), bot_id: String::new() }.to_line())?;
    while connection.is_open() {
        connection.flush()?;
        connection.wait(START)?;
        let mut answers = Vec::new();
        connection.read(|line| answers.extend(answer(line)))?;
        for answer in answers.into_iter().flatten() {
            connection.queue(answer)?;
        }
    }
    Ok(())
}

/// The acknowledgement of an event and the reply to it, with the fields that a gateway writes.
fn answer(line: &[u8]) -> Option<[String; 2]> {
    let frame: Value = serde_json::from_slice(line).ok()?;
    let (event, buffer) = (frame.get("event")?, frame.get("bufferId")?);
    let chat = &event["source"]["chat_id"];
    let reply = json!({"type": "outbound", "requestId": buffer, "action":
        {"op": "send", "chat_id": chat, "content": event["text"], "reply_to": event["message_id"]}});
    let acknowledgement = json!({"type": "inbound_ack", "bufferId": buffer});
    Some([format!("{acknowledgement}\n"), format!("{reply}\n")])
}

/// Commits of `group` events with five operations each, for `time`.
pub(crate) struct Commits {
    pub(crate) events: u64,
    pub(crate) groups: u64,
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Duration,
}

/// Commits groups of events to a database on the disk of `lab`.
pub(crate) fn commits(lab: &Lab, group: u64, time: Duration) -> anyhow::Result<Commits> {
    let directory = tempfile::Builder::new().prefix("caduceus-bench-").tempdir_in(&lab.disk)?;
    let mut database = Database::open(directory.path().join("baseline.db"))?;
    database.execute_batch(TABLES)?;
    let text = "x".repeat(400);
    let (began, cpu) = (Instant::now(), super::process::own_thread_cpu());
    let (mut events, mut groups) = (0_u64, 0);
    while began.elapsed() < time {
        let transaction = database.transaction()?;
        {
            let mut event = transaction.prepare_cached("INSERT INTO event (state, text) VALUES (0, ?1)")?;
            let mut mark = transaction.prepare_cached("INSERT INTO mark (event, state) VALUES (?1, ?2)")?;
            for _ in 0..group {
                let id = event.insert(params![text])?;
                for state in 1..5 {
                    mark.execute(params![id, state])?;
                }
            }
        }
        transaction.commit()?;
        events += group;
        groups += 1;
    }
    let cpu = super::process::own_thread_cpu().saturating_sub(cpu);
    Ok(Commits { events, groups, elapsed: began.elapsed(), cpu })
}
