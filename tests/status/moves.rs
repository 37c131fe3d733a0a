//! Every field of the status and every metric is moved by something that happens, in one gateway from its start to its end.
//!
//! A row says what moves it. The test fails when a row's action does not, when a field or metric is there that no row moves, and
//! when a row names one that is not there.

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
use crate::truth::{node, strike};
use crate::world::World;

/// Places for status pages that have not shown a token.
const STRANGERS: usize = 64;

/// Every value by what it is named in the rows; a name may have several.
type Reading = BTreeMap<String, Vec<Value>>;

struct Film {
    document: Value,
    world: World,
    /// All names that were ever there.
    seen: BTreeSet<String>,
    done: BTreeSet<&'static str>,
}

impl Film {
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

    /// Waits until all that the action of this name moves is another than `before`.
    async fn moves(&mut self, action: &'static str, before: Reading) {
        let row = ROWS.iter().find(|(name, _)| *name == action).unwrap_or_else(|| panic!("{action}: no such row"));
        let mut left: BTreeSet<&str> = row.1.split_whitespace().collect();
        let begun = Instant::now();
        loop {
            let now = self.read().await;
            // What is null, or not there, is no value that something could be moved to.
            let values = |reading: &Reading, name: &str| -> Vec<Value> {
                reading.get(name).into_iter().flatten().filter(|value| !value.is_null()).cloned().collect()
            };
            left.retain(|name| values(&now, name) == values(&before, name));
            if left.is_empty() {
                break;
            }
            assert!(
                begun.elapsed() < SOON,
                "{action}: it does not move {left:?}; they are {:?}",
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

/// Writes down every value of `value`, named by its place in the schema.
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
        // An object that is not there: its fields are what counts.
        Value::Null if schema["properties"].is_object() => {}
        value => into.entry(at.to_owned()).or_default().push(value.clone()),
    }
}

/// The names that the schema has, whether or not there is a value.
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
async fn every_field_of_the_status_and_every_metric_is_moved_by_something_that_happens() {
    let mut film = start().await;
    links(&mut film).await;
    turns(&mut film).await;
    drains(&mut film).await;
    profiles(&mut film).await;
    grants(&mut film).await;
    breakage(&mut film).await;
    end(&mut film).await;

    let actions: BTreeSet<&str> = ROWS.iter().map(|(action, _)| *action).collect();
    assert_eq!(film.done, actions, "every action was carried out");
    let mut moved: BTreeSet<String> =
        ROWS.iter().flat_map(|(_, names)| names.split_whitespace()).map(str::to_owned).collect();
    moved.extend(FIXED.iter().chain(ELSEWHERE.iter().map(|(name, ..)| name)).map(|name| (*name).to_owned()));
    let mut there = film.seen;
    let schema =
        &film.document["paths"]["/api/status"]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    names(&film.document, schema, "", &mut there);
    let unmoved: Vec<_> = there.difference(&moved).collect();
    assert!(unmoved.is_empty(), "no row moves {unmoved:?}");
    let unknown: Vec<_> = moved.difference(&there).collect();
    assert!(unknown.is_empty(), "rows name what is not there: {unknown:?}");
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

async fn start() -> Film {
    let mut world = World::prepare().await;
    world.configure("drain:\n  refused: hold\nsupervision:\n  wedge_after_ms: 3000\n");
    world.profile("work", "");
    world.write("profiles/work/caduceus.yaml", "agent:\n  backend: exec\n  command: [/nowhere/at/all]\n");
    // So that no grant of the person who runs the test is seen.
    let home = world.home().to_str().unwrap().to_owned();
    world.variable("HOME", &home);
    world.serve().await;
    world
        .until("nothing wrong", |status| {
            status["readiness"] == "ready" && status["secrets"].as_array().unwrap().len() == 2
        })
        .await;
    Film { document: document(), world, seen: BTreeSet::new(), done: BTreeSet::new() }
}

async fn links(film: &mut Film) {
    let before = film.read().await;
    film.fault(json!({"refuse": {"status": 503}, "drop": true})).await;
    film.moves("a link is refused", before).await;

    let before = film.read().await;
    let env = std::fs::read_to_string(film.world.path(".env")).unwrap();
    film.world.write(".env", &env.replace("discord,telegram", "discord"));
    film.fault(json!({})).await;
    film.moves("it is let in again, for one platform less", before).await;
    film.world.until("the link up", |status| status["relay"][0]["state"] == "connected").await;

    let before = film.read().await;
    film.fault(json!({"refuse": {"code": 4401, "reason": "no"}, "drop": true})).await;
    film.moves("its credentials are revoked", before).await;
    film.fault(json!({})).await;
    film.order("/api/actors/relays/relay/restart", json!({})).await;
    film.world.until("the link up", |status| status["relay"][0]["state"] == "connected").await;
}

async fn turns(film: &mut Film) {
    let before = film.read().await;
    film.world.say("m1", "sleep 600", "c1", None).await;
    film.moves("a person writes", before).await;

    let before = film.read().await;
    film.world.say("m2", "pid", "c1", None).await;
    film.moves("and once more", before).await;

    let before = film.read().await;
    let turn = film.world.status().await["drain"]["turns"][0]["turn_id"].as_str().unwrap().to_owned();
    film.order(&format!("/api/turns/{turn}/stop"), json!({})).await;
    film.moves("the turn is stopped", before).await;
    let status = film
        .world
        .until("the next", |status| status["drain"]["turns"][0]["turn_id"].as_str().is_some_and(|id| id != turn))
        .await;
    let next = status["drain"]["turns"][0]["turn_id"].as_str().unwrap().to_owned();
    film.order(&format!("/api/turns/{next}/stop"), json!({})).await;
    film.world.until("no turn", |status| status["active_agents"] == 0).await;

    let before = film.read().await;
    film.world.say("m3", "hello", "c2", None).await;
    film.moves("a turn is answered", before).await;

    let before = film.read().await;
    film.world.say("m4", "hello", "c3", Some("work")).await;
    film.moves("an agent is not there", before).await;

    let before = film.read().await;
    film.fault(json!({"duplicate": true})).await;
    film.world.say("m5", "hello", "c4", None).await;
    film.moves("a message comes twice", before).await;
    film.fault(json!({})).await;

    let before = film.read().await;
    film.world.say("m6", "hello", "c5", Some("nobody")).await;
    film.moves("a profile is not served", before).await;

    let before = film.read().await;
    let (code, answer) =
        post(&format!("{}/dev/inbound", film.world.connector.url), &json!({"raw": "no frame\n"})).await;
    assert_eq!(code, 202, "{answer}");
    film.moves("a line is no frame", before).await;

    let before = film.read().await;
    let unusable = json!({"type": "inbound", "bufferId": "b1", "event": {"text": 5}}).to_string();
    post(&format!("{}/dev/inbound", film.world.connector.url), &json!({"raw": unusable + "\n"})).await;
    film.moves("a frame cannot be used", before).await;

    film.world.until("no turn", |status| status["active_agents"] == 0).await;
    let before = film.read().await;
    film.fault(json!({"answerNever": true})).await;
    film.world.say("m7", "hello", "c6", None).await;
    film.moves("a result does not come", before).await;
    film.fault(json!({})).await;
    film.order("/api/actors/relays/relay/restart", json!({})).await;
    film.world
        .until("the link up", |status| status["relay"][0]["state"] == "connected" && status["active_agents"] == 0)
        .await;
}

async fn drains(film: &mut Film) {
    let before = film.read().await;
    film.order("/api/gateway/drain", json!({"suppress_notification": true})).await;
    film.moves("the gateway is drained", before).await;

    let before = film.read().await;
    film.world.say("m8", "held back", "c7", None).await;
    film.moves("a message is held", before).await;

    let before = film.read().await;
    let path = film.world.status().await["ledger"]["path"].as_str().unwrap().to_owned();
    let ledger = rusqlite::Connection::open(path).unwrap();
    ledger.busy_timeout(SOON).unwrap();
    let changed = ledger.execute("UPDATE inbound SET event = event || ' ' WHERE message_id = 'm8'", ()).unwrap();
    assert_eq!(changed, 1);
    drop(ledger);
    strike(&film.world, "dispatch", json!({"fault": "panic_in_timer"})).await;
    film.moves("a held message is damaged", before).await;
    film.order("/api/gateway/drain", json!({"action": "cancel"})).await;
    film.world.until("no drain", |status| status["gateway_state"] == "running").await;

    film.order("/api/gateway/drain", json!({})).await;
    film.world.say("m8b", "held, too", "c7b", None).await;
    film.world.until("it held", |status| status["turns"]["held"].as_u64() > Some(0)).await;
    film.fault(json!({"refuse": {"status": 503}, "drop": true})).await;
    film.world.until("the link down", |status| status["relay"][0]["state"] == "waiting").await;
    let before = film.read().await;
    film.order("/api/gateway/drain", json!({"action": "cancel"})).await;
    film.moves("what was held has no link", before).await;
    film.fault(json!({})).await;
    film.world.answer("m8b").await;

    let before = film.read().await;
    film.order("/api/gateway/drain", json!({"profile": "work"})).await;
    film.moves("a profile is drained", before).await;
    film.order("/api/gateway/drain", json!({"action": "cancel", "profile": "work"})).await;
    film.world.until("no drain", |status| status["drain"]["profiles"] == json!([])).await;
}

async fn profiles(film: &mut Film) {
    let before = film.read().await;
    film.world.profile("play", "");
    film.moves("a profile comes", before).await;

    let before = film.read().await;
    let agent = "agent:\n  backend: openai\n  base_url: http://127.0.0.1:1\n  model: m\n  api_key_env: PLAY_KEY\n";
    film.world.write("profiles/play/caduceus.yaml", agent);
    film.moves("a profile lacks a secret", before).await;

    let before = film.read().await;
    film.world.write("profiles/play/.env", "PLAY_KEY=q7Lw-Zr3t_YbN0aX\n");
    film.moves("a profile has one more", before).await;

    film.world.script("leaver", "#!/bin/sh\nread -r line\nsleep 600\n", "");
    film.world.until("the leaver", |status| status["profiles"].as_array().unwrap().len() == 4).await;
    film.world.say("m9", "hello", "c8", Some("leaver")).await;
    film.world.until("its turn", |status| status["active_agents"] == 1).await;
    let before = film.read().await;
    std::fs::rename(film.world.path("profiles/leaver"), film.world.path("gone")).unwrap();
    film.moves("a profile goes while it works", before).await;
    // It may have ended meanwhile.
    if let Some(turn) = film.world.status().await["drain"]["turns"][0]["turn_id"].as_str() {
        post(&film.world.url(&format!("/api/turns/{turn}/stop")), &json!({})).await;
    }

    let good = std::fs::read_to_string(film.world.path("caduceus.yaml")).unwrap();
    let before = film.read().await;
    film.world.write("caduceus.yaml", "agent: [\n");
    film.moves("a file is broken", before).await;
    let before = film.read().await;
    film.world
        .write("caduceus.yaml", &good.replace("drain:\n", "http:\n  bind: 127.0.0.1:1\ndrain:\n  timeout_s: 77\n"));
    film.moves("keys are changed", before).await;
}

async fn grants(film: &mut Film) {
    let server = OauthServer::start("hch-rt-0");
    let log_in = |film: &Film, life_s: i64| {
        let now_s = jiff::Timestamp::now().as_second();
        let oauth = json!({"refreshToken": "hch-rt-0", "expiresAt": now_s + life_s, "clientId": "hermes-agent",
            "tokenEndpoint": server.token_endpoint(), "scope": "write", "tokenType": "Bearer"});
        let hosts = json!({"hosts": {"hermes": {"apiKey": "hch-at-0", "oauth": oauth}}});
        film.world.write("honcho.json", &hosts.to_string());
    };
    let before = film.read().await;
    log_in(film, 3_600);
    film.moves("a person logs in", before).await;

    let before = film.read().await;
    log_in(film, -10);
    film.world.say("m10", "hello", "c9", None).await;
    film.moves("a token is refreshed", before).await;

    let before = film.read().await;
    server.revoke();
    let text = std::fs::read_to_string(film.world.path("honcho.json")).unwrap();
    let mut kept: Value = serde_json::from_str(&text).unwrap();
    kept["hosts"]["hermes"]["oauth"]["expiresAt"] = json!(1);
    film.world.write("honcho.json", &kept.to_string());
    film.world.say("m11", "hello", "c10", None).await;
    film.moves("a grant is revoked", before).await;
}

async fn breakage(film: &mut Film) {
    let before = film.read().await;
    let struck = ["relays/relay", "profiles/work"];
    let urls = struck.map(|path| film.world.url(&format!("/api/actors/{path}/fault")));
    // Until they are parked: what is seen of a restart alone is a matter of luck.
    let strikes = async {
        loop {
            for url in &urls {
                // It may be down at the moment.
                post(url, &json!({"fault": "panic_in_timer"})).await;
            }
            actix_web::rt::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    select(Box::pin(film.moves("actors fall", before)), Box::pin(strikes)).await;
    for path in struck {
        film.order(&format!("/api/actors/{path}/reset"), json!({})).await;
        let up = |status: &Value| node(status, path).is_some_and(|node| node["state"] == "running");
        film.world.until(&format!("{path} up"), up).await;
    }
    film.world.until("the link up", |status| status["relay"][0]["state"] == "connected").await;

    let before = film.read().await;
    let (code, answer) = film.world.fault("honcho", json!({"fault": "hang_actor"})).await;
    assert_eq!(code, 200, "{answer}");
    film.moves("an actor hangs", before).await;
    film.world.until("its successor", |status| status["stale"]["honcho"].is_null()).await;

    let before = film.read().await;
    let path = film.world.status().await["ledger"]["path"].as_str().unwrap().to_owned();
    let ledger = rusqlite::Connection::open(path).unwrap();
    ledger.busy_timeout(SOON).unwrap();
    ledger.execute_batch("BEGIN IMMEDIATE").unwrap();
    film.world.say("m12", "hello", "c11", None).await;
    film.moves("the disk takes nothing", before).await;
    ledger.execute_batch("ROLLBACK").unwrap();
    film.world.until("a ledger that writes", |status| status["ledger"]["trouble"].is_null()).await;

    let before = film.read().await;
    let url = film.world.url("/api/status/ws").replace("http://", "ws://");
    let (_, mut socket) = client().ws(url).connect().await.unwrap();
    while !matches!(within(SOON, "a status", socket.next()).await, Some(Ok(Frame::Text(_)))) {}
    film.moves("somebody watches", before).await;
    drop(socket);

    let before = film.read().await;
    let target = film.world.gateway().authority().to_owned();
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
    film.moves("more strangers watch than there are places", before).await;
    drop(strangers);

    let before = film.read().await;
    film.moves("time passes", before).await;
}

async fn end(film: &mut Film) {
    film.world.say("last", "sleep 600", "c12", None).await;
    let runs = |status: &Value| status["drain"]["turns"].to_string().contains(":c12");
    film.world.until("its turn", runs).await;
    let before = film.read().await;
    for (name, value) in [("version", json!(env!("CARGO_PKG_VERSION"))), ("gateway_running", json!(true))] {
        assert_eq!(before[name], [value], "{name}");
    }
    assert_eq!(before["relay[].link"], [json!("relay")]);
    assert!(before["ledger.path"][0].as_str().unwrap().starts_with(film.world.home().to_str().unwrap()));
    assert_eq!(before["build_info"].len(), 1);
    film.world.gateway().signal("TERM");
    film.moves("the gateway goes down", before.clone()).await;
    film.world.gateway().signal("TERM");
    film.world.gateway.take().unwrap().ended();
    film.world.serve().await;
    film.moves("another gateway starts", before).await;
}
