//! Requests generated from `docs/openapi.json`, against the real binary: every answer is in the document.
//!
//! Each path × method × parameters × body × proof. Accepted requests change the gateway during the test, on purpose: in every
//! state the document must hold.

mod checker; // Sends a request and checks its answer.
mod requests; // Generates the requests.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::checker::ApiChecker;
use self::requests::{ApiRequest, bearer, good_target, request, requests};
use crate::document;
use crate::raw::RawAnswer;
use crate::world::World;

const TOKEN: &str = "q7Lw-Zr3t_YbN0aXcVkDmE5uHsJf2PgRi8To4WlQy6B";
const KEY: &str = "the delivery key of the world";
/// The third message, which waits behind the first.
const ROW: &str = "in-3";
const RESTART: &str = "/api/gateway/restart";
const DRAIN: &str = "/api/gateway/drain";

#[actix_web::test]
async fn every_answer_to_a_generated_request_is_in_the_document() {
    let (world, turn) = world().await;
    let document = document();
    let mut checker = ApiChecker { document: document.clone(), seen: BTreeMap::new(), faults: Vec::new(), sent: 0 };
    let authority = world.gateway().authority().to_owned();
    let mut last = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        // The drains of the last path have ended, or readiness would not return.
        let cancel =
            ApiRequest { headers: vec![bearer(TOKEN)], ..request(DRAIN, "post", DRAIN, b"{\"action\":\"cancel\"}") };
        checker.ask(&authority, &cancel);
        for (method, operation) in item.as_object().unwrap() {
            for request in requests(path, method, operation, &turn) {
                // Requests that restart the process come last.
                let accepted = path == RESTART && request.headers.contains(&bearer(TOKEN));
                if accepted && is_restart_order(&request.body) {
                    last.push(request);
                } else {
                    checker.ask(&authority, &request);
                }
            }
        }
        other_methods(&mut checker, &authority, path, item, &turn);
    }
    unknown_paths(&mut checker, &authority);
    slow_body(&mut checker, &authority);

    // The running turn keeps the process from ending at the first order.
    assert_eq!(world.status().await["active_agents"], 1);
    assert!(last.len() > 3, "{} orders to restart", last.len());
    // A forced restart ends it, so there is one of those, and it comes last.
    let is_forced = |request: &ApiRequest| String::from_utf8_lossy(&request.body).contains("\"force\":true");
    let (forced, waiting): (Vec<ApiRequest>, Vec<ApiRequest>) = last.into_iter().partition(is_forced);
    for request in waiting.iter().chain(forced.first()) {
        checker.ask(&authority, request);
    }
    let seen = &checker.seen[&(RESTART.to_owned(), "post".to_owned())];
    assert!(seen.contains(&202) && seen.contains(&409), "only the first restart is accepted: {seen:?}");
    assert_eq!(checker.faults, [""; 0], "answers that are not in the document");
    println!("{} requests, {} operations", checker.sent, checker.seen.len());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let seen = &checker.seen[&(path.clone(), method.clone())];
            let good = |status: &&String| status.starts_with('2');
            let documented: Vec<&String> = operation["responses"].as_object().unwrap().keys().filter(good).collect();
            let received = documented.iter().all(|status| seen.contains(&status.parse().unwrap()));
            assert!(received, "{method} {path} never succeeded: {seen:?}");
            println!("{method} {path}: {seen:?}");
        }
    }
    let mut gateway = { world }.gateway.take().unwrap();
    assert_eq!(gateway.wait_for_exit().code(), Some(75));
}

/// A gateway with a token, a delivery key, two profiles and running turns; returns the id of one.
async fn world() -> (World, String) {
    let mut world = World::prepare().await;
    world.variable("HERMES_DASHBOARD_DRAIN_SECRET", TOKEN);
    let env = std::fs::read_to_string(world.path(".env")).unwrap();
    world.write(".env", &format!("{env}GATEWAY_RELAY_DELIVERY_KEY='{KEY}'\n"));
    world.profile("work", "");
    world.serve().await;
    world.push("stay", "sleep 600", "c1", None).await;
    let status = world.until("a turn", |status| status["active_agents"] == 1).await;
    let other = status["drain"]["turns"][0]["turn_id"].as_str().unwrap().to_owned();
    // One is stopped by a request, the other runs on.
    world.push("go", "sleep 600", "c2", None).await;
    let status = world.until("two turns", |status| status["active_agents"] == 2).await;
    // It can be given up, and then sent again: it waits until the end.
    world.push("waits", "waits", "c1", None).await;
    world.until("a message that waits", |status| status["turns"]["queued"] == 1).await;
    let turns = status["drain"]["turns"].as_array().unwrap();
    let turn = turns.iter().map(|turn| turn["turn_id"].as_str().unwrap()).find(|turn| *turn != other).unwrap();
    (world, turn.to_owned())
}

/// Whether a body is an order to restart: an object whose `force` is absent or a flag.
fn is_restart_order(body: &[u8]) -> bool {
    let empty = body.trim_ascii().is_empty();
    let force = serde_json::from_slice::<Map<String, Value>>(body).ok().map(|fields| fields.get("force").cloned());
    empty || force.is_some_and(|force| force.is_none_or(|force| force.is_boolean()))
}

fn other_methods(checker: &mut ApiChecker, authority: &str, path: &str, item: &Value, turn: &str) {
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "GET", "HEAD"] {
        let documented = match method {
            "HEAD" => item.get("get").is_some(),
            other => item.get(other.to_lowercase()).is_some(),
        };
        if documented {
            continue;
        }
        for headers in [vec![], vec![bearer(TOKEN)]] {
            let authenticated = !headers.is_empty();
            let sent = ApiRequest { headers, ..request(path, method, &good_target(path, turn), b"") };
            let answer = checker.send(authority, &sent);
            let operation = item.as_object().unwrap().values().next().unwrap().clone();
            // A request without permission is refused before its content is checked.
            if authenticated && answer.status != 405 {
                checker.faults.push(format!("{method} {path}: {} and not 405", answer.status));
            }
            checker.check(&operation, &sent, &answer);
        }
    }
}

fn unknown_paths(checker: &mut ApiChecker, authority: &str) {
    let paths = [
        "/none",
        "/api",
        "/api/",
        "/api/status/",
        "//",
        "/api/turns",
        "/api/turns//stop",
        "/api/actors//restart",
        "/api/actors/x/y/z",
        "/%",
        "/%ff",
        "/..",
        "/relay",
        "/openapi.json/",
        "/metrics/x",
        "/api/gateway/drain/",
    ];
    for path in paths {
        for (method, body) in [("GET", &b""[..]), ("POST", b"{}"), ("DELETE", b"")] {
            let answer = checker
                .send(authority, &ApiRequest { headers: vec![bearer(TOKEN)], ..request(path, method, path, body) });
            let printed = answer.json().unwrap_or_default();
            if (answer.status, &printed["error"]) != (404, &json!("not_found")) || answer.media() != "application/json"
            {
                checker.faults.push(format!("{method} {path}: {} {printed}", answer.status));
            }
        }
    }
}

/// One request whose body is never sent: the answer to it is documented, too.
fn slow_body(checker: &mut ApiChecker, authority: &str) {
    let path = DRAIN;
    let operation = checker.document["paths"][path]["post"].clone();
    let length = ("content-length".to_owned(), "10".to_owned());
    let slow = ApiRequest { headers: vec![bearer(TOKEN), length], ..request(path, "post", path, b"") };
    let answer = checker.send(authority, &slow);
    assert_eq!(answer.status, 408, "{answer:?}");
    checker.check(&operation, &slow, &answer);
}

#[test]
fn an_answer_that_differs_from_the_document_is_found() {
    let faults_of = |change: fn(&mut Value), status: u16, body: &Value| {
        let mut document = document();
        change(&mut document);
        let mut checker = ApiChecker { document, seen: BTreeMap::new(), faults: Vec::new(), sent: 0 };
        let headers = [("content-type", "application/json"), ("x-request-id", "1")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let answer = RawAnswer { status, headers, body: body.to_string().into_bytes() };
        let operation = checker.document["paths"]["/healthz"]["get"].clone();
        checker.check(&operation, &request("/healthz", "get", "/healthz", b""), &answer);
        checker.faults
    };
    let nothing = |_: &mut Value| {};
    assert_eq!(faults_of(nothing, 200, &json!({"ok": true})), [""; 0]);
    assert_eq!(faults_of(nothing, 200, &json!({"ok": null})).len(), 1);
    assert_eq!(faults_of(nothing, 200, &json!({"ok": true, "more": 1})).len(), 1);
    assert_eq!(faults_of(nothing, 204, &json!({})).len(), 1);
    assert_eq!(faults_of(nothing, 503, &json!({"error": "boom", "detail": "x"})).len(), 1);
    let other = |document: &mut Value| {
        document["paths"]["/healthz"]["get"]["responses"]["200"]["content"] = json!({"text/plain": {}});
    };
    assert_eq!(faults_of(other, 200, &json!({"ok": true})).len(), 1);
}
