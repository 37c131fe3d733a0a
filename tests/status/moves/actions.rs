//! The actions of the rows, in the order from the start of a gateway to its end.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use awc::ws::Frame;
use futures_util::StreamExt as _;
use futures_util::future::select;
use serde_json::{Value, json};

use super::record::StatusRecord;
use crate::oauth_server::OauthServer;
use crate::support::{SOON, client, pace, post, within};
use crate::truth::{inject, node};

/// Places for status pages that have not shown a token.
const UNAUTHENTICATED_PLACES: usize = 64;

pub(super) async fn links(record: &mut StatusRecord) {
    let before = record.read().await;
    record.fault(json!({"refuse": {"status": 503}, "drop": true})).await;
    record.until_changed("a link is refused", before).await;

    let before = record.read().await;
    let env = std::fs::read_to_string(record.world.path(".env")).unwrap();
    let names = |status: &Value| status["secrets"][0]["secrets"].as_u64().unwrap();
    let held = names(&record.world.status().await);
    // One more name shows when the file has been read: the next dial must find the platforms changed.
    record.world.write(".env", &format!("{}\nONE_MORE=name\n", env.replace("discord,telegram", "discord")));
    record.world.until("the file read again", |status| names(status) == held + 1).await;
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

pub(super) async fn turns(record: &mut StatusRecord) {
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
    record.until_changed("a message arrives twice", before).await;
    record.fault(json!({})).await;

    let before = record.read().await;
    record.world.push("m6", "hello", "c5", Some("unknown")).await;
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

pub(super) async fn drains(record: &mut StatusRecord) {
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

pub(super) async fn profiles(record: &mut StatusRecord) {
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

    record.world.script("removed", "#!/bin/sh\nread -r line\nsleep 600\n", "");
    record
        .world
        .until("the profile that is being removed", |status| status["profiles"].as_array().unwrap().len() == 4)
        .await;
    record.world.push("m9", "hello", "c8", Some("removed")).await;
    record.world.until("a running turn", |status| status["active_agents"] == 1).await;
    let before = record.read().await;
    std::fs::rename(record.world.path("profiles/removed"), record.world.path("gone")).unwrap();
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

pub(super) async fn grants(record: &mut StatusRecord) {
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
    let mut grant: Value = serde_json::from_str(&text).unwrap();
    grant["hosts"]["hermes"]["oauth"]["expiresAt"] = json!(1);
    record.world.write("honcho.json", &grant.to_string());
    record.world.push("m11", "hello", "c10", None).await;
    record.until_changed("a grant is revoked", before).await;
}

pub(super) async fn breakage(record: &mut StatusRecord) {
    let before = record.read().await;
    let failing = ["relays/relay", "profiles/work"];
    let urls = failing.map(|path| record.world.url(&format!("/api/actors/{path}/fault")));
    // Until they have failed: a single restart may be too short to observe.
    let faults = async {
        loop {
            for url in &urls {
                // The actor may be down at the moment.
                post(url, &json!({"fault": "panic_in_timer"})).await;
            }
            // Between two orders the actors have time to restart.
            pace(Duration::from_millis(100)).await;
        }
    };
    select(Box::pin(record.until_changed("actors fail", before)), Box::pin(faults)).await;
    for path in failing {
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
    let unauthenticated = || {
        let mut stream = TcpStream::connect(&target).unwrap();
        stream.write_all(upgrade.as_bytes()).unwrap();
        stream
    };
    let clients: Vec<_> = std::iter::repeat_with(unauthenticated).take(2 * UNAUTHENTICATED_PLACES).collect();
    record.until_changed("more unauthenticated clients watch than the limit allows", before).await;
    drop(clients);

    let before = record.read().await;
    record.until_changed("time passes", before).await;
}

pub(super) async fn end(record: &mut StatusRecord) {
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
    record.world.gateway.take().unwrap().wait_for_exit();
    record.world.serve().await;
    record.until_changed("another gateway starts", before).await;
}
