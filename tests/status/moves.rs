//! Every field of the status and every metric is changed by some event, in one gateway from its start to its end.
//!
//! A row lists what an action changes. The test fails if the action does not change it, if no row lists a field or metric that exists, and
//! if a row lists one that does not exist.

mod rows; // What each action moves.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use awc::ws::Frame;
use futures_util::StreamExt as _;
use futures_util::future::select;
use serde_json::{Value, json};

use self::rows::{ELSEWHERE, FIXED, ROWS};
use crate::document;
use crate::oauth_server::OauthServer;
use crate::support::{SOON, client, post, within};
use crate::truth::{inject, node};
use crate::world::World;

/// Places for status pages that have not shown a token.
const STRANGERS: usize = 64;

/// Every value by its name in the rows; a name may have several values.
type Reading = BTreeMap<String, Vec<Value>>;

struct StatusRecord {
    document: Value,
    world: World,
    /// All names seen so far.
    seen: BTreeSet<String>,
    done: BTreeSet<&'static str>,
}

impl StatusRecord {
    async fn read(&mut self) -> Reading {
        let mut reading = Reading::new();
        let schema =
            &self.document["paths"]["/api/status"]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        gather(&self.document, schema, &self.world.status().await, "", &mut reading);
        let mut answer = client().get(self.world.url("/metrics")).send().await.unwrap();
        let text = answer.body().limit(1 << 24).await.unwrap();
        let text = std::str::from_utf8(&text).unwrap();
        for line in text.lines() {
            if let Some((name, _)) = line.strip_prefix("# TYPE caduceus_").and_then(|line| line.split_once(' ')) {
                let samples = text.lines().filter(|line| {
                    let rest = line.strip_prefix("caduceus_").and_then(|line| line.strip_prefix(name));
                    let rest = rest.map(|rest| rest.strip_prefix("_total").unwrap_or(rest));
                    rest.is_some_and(|rest| rest.starts_with([' ', '{']))
                });
                reading.insert(name.to_owned(), samples.map(Value::from).collect());
            }
        }
        self.seen.extend(reading.keys().cloned());
        reading
    }

    /// Waits until everything that the action of this name changes differs from `before`.
    async fn until_changed(&mut self, action: &'static str, before: Reading) {
        let row = ROWS.iter().find(|(name, _)| *name == action).unwrap_or_else(|| panic!("{action}: no such row"));
        let mut left: BTreeSet<&str> = row.1.split_whitespace().collect();
        let begun = Instant::now();
        loop {
            let now = self.read().await;
            // Null or a missing field does not count as a changed value.
            let values = |reading: &Reading, name: &str| -> Vec<Value> {
                reading.get(name).into_iter().flatten().filter(|value| !value.is_null()).cloned().collect()
            };
            left.retain(|name| values(&now, name) == values(&before, name));
            if left.is_empty() {
                break;
            }
            assert!(
                begun.elapsed() < SOON,
                "{action}: it does not change {left:?}; they are {:?}",
                left.iter().map(|name| now.get(*name)).collect::<Vec<_>>()
            );
            actix_web::rt::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        self.done.insert(action);
    }

    async fn fault(&self, faults: Value) {
        let (code, answer) = post(&format!("{}/dev/faults", self.world.connector.url), &faults).await;
        assert!(code < 300, "{answer}");
    }

    async fn order(&self, path: &str, body: Value) {
        let (code, answer) = post(&self.world.url(path), &body).await;
        assert!(code < 300, "{path}: {answer}");
    }
}

/// Collects every value in `value`, named by its place in the schema.
fn gather(document: &Value, schema: &Value, value: &Value, at: &str, into: &mut Reading) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        // All nodes of the tree have the same names.
        return gather(document, schema, value, "actors", into);
    }
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match schema["properties"].get(name) {
                    Some(schema) => gather(document, schema, value, &below(name), into),
                    None => gather(document, &schema["additionalProperties"], value, &below("*"), into),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                gather(document, &schema["items"], item, &format!("{at}[]"), into);
            }
        }
        // A missing object counts by its fields.
        Value::Null if schema["properties"].is_object() => {}
        value => into.entry(at.to_owned()).or_default().push(value.clone()),
    }
}

/// The names in the schema, with or without a value.
fn names(document: &Value, schema: &Value, at: &str, into: &mut BTreeSet<String>) {
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    if let Some(reference) = schema["$ref"].as_str() {
        if !into.contains("actors.id") {
            names(document, document.pointer(reference.strip_prefix('#').unwrap()).unwrap(), "actors", into);
        }
    } else if let Some(properties) = schema["properties"].as_object() {
        properties.iter().for_each(|(name, schema)| names(document, schema, &below(name), into));
    } else if schema["additionalProperties"].is_object() {
        names(document, &schema["additionalProperties"], &below("*"), into);
    } else if schema["items"].is_object() {
        names(document, &schema["items"], &format!("{at}[]"), into);
    } else {
        into.insert(at.to_owned());
    }
}

#[actix_web::test]
async fn every_field_of_the_status_and_every_metric_is_changed_by_an_event() {
    let mut record = start().await;
    links(&mut record).await;
    turns(&mut record).await;
    drains(&mut record).await;
    profiles(&mut record).await;
    grants(&mut record).await;
    breakage(&mut record).await;
    end(&mut record).await;

    let actions: BTreeSet<&str> = ROWS.iter().map(|(action, _)| *action).collect();
    assert_eq!(record.done, actions, "every action was carried out");
    let mut moved: BTreeSet<String> =
        ROWS.iter().flat_map(|(_, names)| names.split_whitespace()).map(str::to_owned).collect();
    moved.extend(FIXED.iter().chain(ELSEWHERE.iter().map(|(name, ..)| name)).map(|name| (*name).to_owned()));
    let mut there = record.seen;
    let schema =
        &record.document["paths"]["/api/status"]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    names(&record.document, schema, "", &mut there);
    let unchanged: Vec<_> = there.difference(&moved).collect();
    assert!(unchanged.is_empty(), "no row changes {unchanged:?}");
    let unknown: Vec<_> = moved.difference(&there).collect();
    assert!(unknown.is_empty(), "rows name what does not exist: {unknown:?}");
}

#[test]
fn the_tests_that_move_the_rest_are_there() {
    for (name, file, test) in ELSEWHERE {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(text.contains(&format!("async fn {test}(")), "{name}: there is no {test} in {file}");
        let word = name.rsplit('.').next().unwrap();
        assert!(text.contains(word), "{file} does not look at {word}");
    }
}

async fn start() -> StatusRecord {
    let mut world = World::prepare().await;
    world.configure("drain:\n  refused: hold\nsupervision:\n  wedge_after_ms: 3000\n");
    world.profile("work", "");
    world.write("profiles/work/caduceus.yaml", "agent:\n  backend: exec\n  command: [/nowhere/at/all]\n");
    // So that a grant of the user who runs the test has no effect.
    let home = world.home().to_str().unwrap().to_owned();
    world.variable("HOME", &home);
    world.serve().await;
    world
        .until("full readiness", |status| {
            status["readiness"] == "ready" && status["secrets"].as_array().unwrap().len() == 2
        })
        .await;
    StatusRecord { document: document(), world, seen: BTreeSet::new(), done: BTreeSet::new() }
}

async fn links(record: &mut StatusRecord) {
    let before = record.read().await;
    record.fault(json!({"refuse": {"status": 503}, "drop": true})).await;
    record.until_changed("a link is refused", before).await;

    let before = record.read().await;
    let env = std::fs::read_to_string(record.world.path(".env")).unwrap();
    record.world.write(".env", &env.replace("discord,telegram", "discord"));
    record.fault(json!({})).await;
    record.until_changed("the link reconnects with one platform less", before).await;
    record.world.until("a connected link", |status| status["relay"][0]["state"] == "connected").await;

    let before = record.read().await;
    record.fault(json!({"refuse": {"code": 4401, "reason": "no"}, "drop": true})).await;
    record.until_changed("its credentials are revoked", before).await;
    record.fault(json!({})).await;
    record.order("/api/actors/relays/relay/restart", json!({})).await;
    record.world.until("a connected link", |status| status["relay"][0]["state"] == "connected").await;
}

async fn turns(record: &mut StatusRecord) {
    let before = record.read().await;
    record.world.push("m1", "sleep 600", "c1", None).await;
    record.until_changed("a message arrives", before).await;

    let before = record.read().await;
    record.world.push("m2", "pid", "c1", None).await;
    record.until_changed("a second message arrives", before).await;

    let before = record.read().await;
    let turn = record.world.status().await["drain"]["turns"][0]["turn_id"].as_str().unwrap().to_owned();
    record.order(&format!("/api/turns/{turn}/stop"), json!({})).await;
    record.until_changed("the turn is stopped", before).await;
    let status = record
        .world
        .until("the next turn", |status| status["drain"]["turns"][0]["turn_id"].as_str().is_some_and(|id| id != turn))
        .await;
    let next = status["drain"]["turns"][0]["turn_id"].as_str().unwrap().to_owned();
    record.order(&format!("/api/turns/{next}/stop"), json!({})).await;
    record.world.until("no turn", |status| status["active_agents"] == 0).await;

    let before = record.read().await;
    record.world.push("m3", "hello", "c2", None).await;
    record.until_changed("a turn is answered", before).await;

    let before = record.read().await;
    record.world.push("m4", "hello", "c3", Some("work")).await;
    record.until_changed("an agent is missing", before).await;

    let before = record.read().await;
    record.fault(json!({"duplicate": true})).await;
    record.world.push("m5", "hello", "c4", None).await;
    record.until_changed("a message comes twice", before).await;
    record.fault(json!({})).await;

    let before = record.read().await;
    record.world.push("m6", "hello", "c5", Some("nobody")).await;
    record.until_changed("a profile is not served", before).await;

    let before = record.read().await;
    let (code, answer) =
        post(&format!("{}/dev/inbound", record.world.connector.url), &json!({"raw": "no frame\n"})).await;
    assert_eq!(code, 202, "{answer}");
    record.until_changed("a line is not a frame", before).await;

    let before = record.read().await;
    let unusable = json!({"type": "inbound", "bufferId": "b1", "event": {"text": 5}}).to_string();
    post(&format!("{}/dev/inbound", record.world.connector.url), &json!({"raw": unusable + "\n"})).await;
    record.until_changed("a frame is unusable", before).await;

    record.world.until("no turn", |status| status["active_agents"] == 0).await;
    let before = record.read().await;
    record.fault(json!({"answerNever": true})).await;
    record.world.push("m7", "hello", "c6", None).await;
    record.until_changed("a result is missing", before).await;
    record.fault(json!({})).await;
    record.order("/api/actors/relays/relay/restart", json!({})).await;
    record
        .world
        .until("a connected link", |status| status["relay"][0]["state"] == "connected" && status["active_agents"] == 0)
        .await;
}

async fn drains(record: &mut StatusRecord) {
    let before = record.read().await;
    record.order("/api/gateway/drain", json!({"suppress_notification": true})).await;
    record.until_changed("the gateway is drained", before).await;

    let before = record.read().await;
    record.world.push("m8", "held back", "c7", None).await;
    record.until_changed("a message is held", before).await;

    let before = record.read().await;
    let path = record.world.status().await["ledger"]["path"].as_str().unwrap().to_owned();
    let ledger = rusqlite::Connection::open(path).unwrap();
    ledger.busy_timeout(SOON).unwrap();
    let changed = ledger.execute("UPDATE inbound SET event = event || ' ' WHERE message_id = 'm8'", ()).unwrap();
    assert_eq!(changed, 1);
    drop(ledger);
    inject(&record.world, "dispatch", json!({"fault": "panic_in_timer"})).await;
    record.until_changed("a held message is corrupt", before).await;
    record.order("/api/gateway/drain", json!({"action": "cancel"})).await;
    record.world.until("no drain", |status| status["gateway_state"] == "running").await;

    record.order("/api/gateway/drain", json!({})).await;
    record.world.push("m8b", "held, too", "c7b", None).await;
    record.world.until("a held event", |status| status["turns"]["held"].as_u64() > Some(0)).await;
    record.fault(json!({"refuse": {"status": 503}, "drop": true})).await;
    record.world.until("the link down", |status| status["relay"][0]["state"] == "waiting").await;
    let before = record.read().await;
    record.order("/api/gateway/drain", json!({"action": "cancel"})).await;
    record.until_changed("a held message has no link", before).await;
    record.fault(json!({})).await;
    record.world.answer("m8b").await;

    let before = record.read().await;
    record.order("/api/gateway/drain", json!({"profile": "work"})).await;
    record.until_changed("a profile is drained", before).await;
    record.order("/api/gateway/drain", json!({"action": "cancel", "profile": "work"})).await;
    record.world.until("no drain", |status| status["drain"]["profiles"] == json!([])).await;
}

async fn profiles(record: &mut StatusRecord) {
    let before = record.read().await;
    record.world.profile("play", "");
    record.until_changed("a profile is added", before).await;

    let before = record.read().await;
    let agent = "agent:\n  backend: openai\n  base_url: http://127.0.0.1:1\n  model: m\n  api_key_env: PLAY_KEY\n";
    record.world.write("profiles/play/caduceus.yaml", agent);
    record.until_changed("a profile lacks a secret", before).await;

    let before = record.read().await;
    record.world.write("profiles/play/.env", "PLAY_KEY=q7Lw-Zr3t_YbN0aX\n");
    record.until_changed("a profile gets another secret", before).await;

    record.world.script("leaver", "#!/bin/sh\nread -r line\nsleep 600\n", "");
    record
        .world
        .until("the profile that is being removed", |status| status["profiles"].as_array().unwrap().len() == 4)
        .await;
    record.world.push("m9", "hello", "c8", Some("leaver")).await;
    record.world.until("a running turn", |status| status["active_agents"] == 1).await;
    let before = record.read().await;
    std::fs::rename(record.world.path("profiles/leaver"), record.world.path("gone")).unwrap();
    record.until_changed("a profile is removed during a turn", before).await;
    // The turn may have ended meanwhile.
    if let Some(turn) = record.world.status().await["drain"]["turns"][0]["turn_id"].as_str() {
        post(&record.world.url(&format!("/api/turns/{turn}/stop")), &json!({})).await;
    }

    let good = std::fs::read_to_string(record.world.path("caduceus.yaml")).unwrap();
    let before = record.read().await;
    record.world.write("caduceus.yaml", "agent: [\n");
    record.until_changed("a file is broken", before).await;
    let before = record.read().await;
    record
        .world
        .write("caduceus.yaml", &good.replace("drain:\n", "http:\n  bind: 127.0.0.1:1\ndrain:\n  timeout_s: 77\n"));
    record.until_changed("keys are changed", before).await;
}

async fn grants(record: &mut StatusRecord) {
    let server = OauthServer::start("hch-rt-0");
    let log_in = |record: &StatusRecord, life_s: i64| {
        let now_s = jiff::Timestamp::now().as_second();
        let oauth = json!({"refreshToken": "hch-rt-0", "expiresAt": now_s + life_s, "clientId": "hermes-agent",
            "tokenEndpoint": server.token_endpoint(), "scope": "write", "tokenType": "Bearer"});
        let hosts = json!({"hosts": {"hermes": {"apiKey": "hch-at-0", "oauth": oauth}}});
        record.world.write("honcho.json", &hosts.to_string());
    };
    let before = record.read().await;
    log_in(record, 3_600);
    record.until_changed("a user logs in", before).await;

    let before = record.read().await;
    log_in(record, -10);
    record.world.push("m10", "hello", "c9", None).await;
    record.until_changed("a token is refreshed", before).await;

    let before = record.read().await;
    server.revoke();
    let text = std::fs::read_to_string(record.world.path("honcho.json")).unwrap();
    let mut kept: Value = serde_json::from_str(&text).unwrap();
    kept["hosts"]["hermes"]["oauth"]["expiresAt"] = json!(1);
    record.world.write("honcho.json", &kept.to_string());
    record.world.push("m11", "hello", "c10", None).await;
    record.until_changed("a grant is revoked", before).await;
}

async fn breakage(record: &mut StatusRecord) {
    let before = record.read().await;
    let struck = ["relays/relay", "profiles/work"];
    let urls = struck.map(|path| record.world.url(&format!("/api/actors/{path}/fault")));
    // Until they have failed: a single restart may be too short to observe.
    let faults = async {
        loop {
            for url in &urls {
                // The actor may be down at the moment.
                post(url, &json!({"fault": "panic_in_timer"})).await;
            }
            actix_web::rt::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    select(Box::pin(record.until_changed("actors fail", before)), Box::pin(faults)).await;
    for path in struck {
        record.order(&format!("/api/actors/{path}/reset"), json!({})).await;
        let up = |status: &Value| node(status, path).is_some_and(|node| node["state"] == "running");
        record.world.until(&format!("{path} up"), up).await;
    }
    record.world.until("a connected link", |status| status["relay"][0]["state"] == "connected").await;

    let before = record.read().await;
    let (code, answer) = record.world.fault("honcho", json!({"fault": "hang_actor"})).await;
    assert_eq!(code, 200, "{answer}");
    record.until_changed("an actor hangs", before).await;
    record.world.until("the next incarnation", |status| status["stale"]["honcho"].is_null()).await;

    let before = record.read().await;
    let path = record.world.status().await["ledger"]["path"].as_str().unwrap().to_owned();
    let ledger = rusqlite::Connection::open(path).unwrap();
    ledger.busy_timeout(SOON).unwrap();
    ledger.execute_batch("BEGIN IMMEDIATE").unwrap();
    record.world.push("m12", "hello", "c11", None).await;
    record.until_changed("the disk accepts no writes", before).await;
    ledger.execute_batch("ROLLBACK").unwrap();
    record.world.until("a writable ledger", |status| status["ledger"]["trouble"].is_null()).await;

    let before = record.read().await;
    let url = record.world.url("/api/status/ws").replace("http://", "ws://");
    let (_, mut socket) = client().ws(url).connect().await.unwrap();
    while !matches!(within(SOON, "a status", socket.next()).await, Some(Ok(Frame::Text(_)))) {}
    record.until_changed("a client watches", before).await;
    drop(socket);

    let before = record.read().await;
    let target = record.world.gateway().authority().to_owned();
    let upgrade = format!(
        "GET /api/status/ws HTTP/1.1\r\nHost: {target}\r\nX-Forwarded-For: 9.9.9.9\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let stranger = || {
        let mut stream = TcpStream::connect(&target).unwrap();
        stream.write_all(upgrade.as_bytes()).unwrap();
        stream
    };
    let strangers: Vec<_> = std::iter::repeat_with(stranger).take(2 * STRANGERS).collect();
    record.until_changed("more strangers watch than the limit allows", before).await;
    drop(strangers);

    let before = record.read().await;
    record.until_changed("time passes", before).await;
}

async fn end(record: &mut StatusRecord) {
    record.world.push("last", "sleep 600", "c12", None).await;
    let runs = |status: &Value| status["drain"]["turns"].to_string().contains(":c12");
    record.world.until("a running turn", runs).await;
    let before = record.read().await;
    for (name, value) in [("version", json!(env!("CARGO_PKG_VERSION"))), ("gateway_running", json!(true))] {
        assert_eq!(before[name], [value], "{name}");
    }
    assert_eq!(before["relay[].link"], [json!("relay")]);
    assert!(before["ledger.path"][0].as_str().unwrap().starts_with(record.world.home().to_str().unwrap()));
    assert_eq!(before["build_info"].len(), 1);
    record.world.gateway().signal("TERM");
    record.until_changed("the gateway shuts down", before.clone()).await;
    record.world.gateway().signal("TERM");
    record.world.gateway.take().unwrap().ended();
    record.world.serve().await;
    record.until_changed("another gateway starts", before).await;
}
