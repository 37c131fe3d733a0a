//! Requests generated from `docs/openapi.json`, against the real binary: every answer is in the document.
//!
//! Each path × method × parameters × body × proof. Accepted requests change the gateway during the test, on purpose: in every
//! state the document must hold.

use std::collections::{BTreeMap, BTreeSet};

use caduceus_contract::wire::delivery::sign;
use serde_json::{Map, Value, json};

use crate::raw::{self, RawAnswer};
use crate::world::World;
use crate::{document, schema};

const TOKEN: &str = "q7Lw-Zr3t_YbN0aXcVkDmE5uHsJf2PgRi8To4WlQy6B";
const WRONG: &str = "q7Lw-Zr3t_YbN0aXcVkDmE5uHsJf2PgRi8To4WlQy6C";
const KEY: &str = "the delivery key of the world";
const RESTART: &str = "/api/gateway/restart";
const DRAIN: &str = "/api/gateway/drain";

/// A request to one documented operation.
struct Case {
    /// The path as in the document.
    path: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// The authentication of a request.
#[derive(Clone, Copy, PartialEq)]
enum Proof {
    None,
    Wrong,
    Right,
    Garbled,
    Twice,
}

const PROOFS: [Proof; 5] = [Proof::None, Proof::Wrong, Proof::Right, Proof::Garbled, Proof::Twice];

/// The document and the answers seen so far.
struct Judge {
    document: Value,
    seen: BTreeMap<(String, String), BTreeSet<u16>>,
    faults: Vec<String>,
    asked: usize,
}

#[actix_web::test]
async fn every_answer_to_a_generated_request_is_in_the_document() {
    let (world, turn) = world().await;
    let document = document();
    let mut judge = Judge { document: document.clone(), seen: BTreeMap::new(), faults: Vec::new(), asked: 0 };
    let authority = world.gateway().authority().to_owned();
    let mut last = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        // The drains of the last path have ended, or readiness would not return.
        let cancel = Case { headers: vec![bearer(TOKEN)], ..case(DRAIN, "post", DRAIN, b"{\"action\":\"cancel\"}") };
        judge.ask(&authority, &cancel);
        for (method, operation) in item.as_object().unwrap() {
            for case in cases(path, method, operation, &turn) {
                // Requests that restart the process come last.
                let accepted = path == RESTART && case.headers.contains(&bearer(TOKEN));
                if accepted && takes(&case.body) {
                    last.push(case);
                } else {
                    judge.ask(&authority, &case);
                }
            }
        }
        other_methods(&mut judge, &authority, path, item, &turn);
    }
    unknown_paths(&mut judge, &authority);
    slow_body(&mut judge, &authority);

    // The running turn keeps the process from ending at the first order.
    assert_eq!(world.status().await["active_agents"], 1);
    assert!(last.len() > 3, "{} orders to restart", last.len());
    // A forced restart ends it, so there is one of those, and it comes last.
    let is_forced = |case: &Case| String::from_utf8_lossy(&case.body).contains("\"force\":true");
    let (forced, patient): (Vec<Case>, Vec<Case>) = last.into_iter().partition(is_forced);
    for case in patient.iter().chain(forced.first()) {
        judge.ask(&authority, case);
    }
    let seen = &judge.seen[&(RESTART.to_owned(), "post".to_owned())];
    assert!(seen.contains(&202) && seen.contains(&409), "only the first restart is accepted: {seen:?}");
    assert_eq!(judge.faults, [""; 0], "answers that are not in the document");
    println!("{} requests, {} operations", judge.asked, judge.seen.len());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let seen = &judge.seen[&(path.clone(), method.clone())];
            let good = |status: &&String| status.starts_with('2');
            let promised: Vec<&String> = operation["responses"].as_object().unwrap().keys().filter(good).collect();
            let came = promised.iter().all(|status| seen.contains(&status.parse().unwrap()));
            assert!(came, "{method} {path} never succeeded: {seen:?}");
            println!("{method} {path}: {seen:?}");
        }
    }
    let mut gateway = { world }.gateway.take().unwrap();
    assert_eq!(gateway.ended().code(), Some(75));
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
    let turns = status["drain"]["turns"].as_array().unwrap();
    let turn = turns.iter().map(|turn| turn["turn_id"].as_str().unwrap()).find(|turn| *turn != other).unwrap();
    (world, turn.to_owned())
}

fn bearer(token: &str) -> (String, String) {
    ("authorization".to_owned(), format!("Bearer {token}"))
}

/// Whether a body is an order to restart: an object whose `force` is absent or a flag.
fn takes(body: &[u8]) -> bool {
    let empty = body.trim_ascii().is_empty();
    let force = serde_json::from_slice::<Map<String, Value>>(body).ok().map(|fields| fields.get("force").cloned());
    empty || force.is_some_and(|force| force.is_none_or(|force| force.is_boolean()))
}

/// All requests to one operation.
fn cases(path: &str, method: &str, operation: &Value, turn: &str) -> Vec<Case> {
    let bodies =
        operation["requestBody"].as_object().map(|body| bodies(&body["content"]["application/json"]["schema"]));
    let bodies = bodies.unwrap_or_else(|| vec![Vec::new(), b"{}".to_vec()]);
    let targets = targets(path, operation, turn);
    let mut cases = Vec::new();
    for (first, target) in targets.iter().enumerate().map(|(index, target)| (index == 0, target)) {
        // Each body with a good target, each target with a good body; every proof from loopback and from elsewhere.
        for (number, body) in bodies.iter().enumerate() {
            for proof in PROOFS {
                for stranger in [false, true] {
                    let main = matches!(proof, Proof::None | Proof::Wrong | Proof::Right) && !stranger;
                    let wanted = if first { main || number < 2 } else { number == 0 && main };
                    if !wanted {
                        continue;
                    }
                    let mut headers = proofs(operation, proof, body);
                    if stranger {
                        headers.push(("x-forwarded-for".to_owned(), "203.0.113.9".to_owned()));
                    }
                    headers.push(("content-type".to_owned(), "application/json".to_owned()));
                    cases.push(Case { headers, ..case(path, method, target, body) });
                }
            }
        }
    }
    let right = |body: &[u8]| proofs(operation, Proof::Right, body);
    for media in
        ["text/plain", "application/x-www-form-urlencoded", "application/vnd.x+json", "", "\"", "multipart/form-data"]
    {
        let media = ("content-type".to_owned(), media.to_owned());
        let headers = right(b"{\"surplus\":1}").into_iter().chain([media]).collect();
        cases.push(Case { headers, ..case(path, method, &targets[0], b"{\"surplus\":1}") });
    }
    for odd in [("origin", "http://evil.example"), ("origin", "null"), ("expect", "100-continue"), ("upgrade", "h2c")] {
        let headers = right(b"").into_iter().chain([(odd.0.to_owned(), odd.1.to_owned())]).collect();
        cases.push(Case { headers, ..case(path, method, &targets[0], b"") });
    }
    if method == "get" {
        let heads = targets.iter().map(|target| Case { headers: right(b""), ..case(path, "head", target, b"") });
        cases.extend(heads.collect::<Vec<_>>());
    }
    cases
}

fn case(path: &str, method: &str, target: &str, body: &[u8]) -> Case {
    Case {
        path: path.to_owned(),
        method: method.to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
        body: body.to_vec(),
    }
}

/// The headers that authenticate a request, by what the operation needs.
fn proofs(operation: &Value, proof: Proof, body: &[u8]) -> Vec<(String, String)> {
    let header = |name: &str, value: String| (name.to_owned(), value);
    if operation["security"] != json!([{"signature": []}]) {
        return match proof {
            Proof::None => vec![],
            Proof::Wrong => vec![bearer(WRONG)],
            Proof::Right => vec![bearer(TOKEN)],
            Proof::Garbled => vec![header("authorization", format!("Basic {TOKEN}"))],
            Proof::Twice => vec![bearer(TOKEN), bearer(TOKEN)],
        };
    }
    let now_s = jiff::Timestamp::now().as_second();
    let signed = |at_s: i64, key: &str| {
        let signature = sign(body, at_s, &key.into());
        vec![header("x-relay-timestamp", at_s.to_string()), header("x-relay-signature", signature)]
    };
    match proof {
        Proof::None => vec![],
        Proof::Wrong => signed(now_s, "another key"),
        Proof::Right => signed(now_s, KEY),
        Proof::Garbled => signed(now_s - 4_000, KEY),
        Proof::Twice => [signed(now_s, KEY), signed(now_s, KEY)].concat(),
    }
}

/// The targets of an operation, the first a good one.
fn targets(path: &str, operation: &Value, turn: &str) -> Vec<String> {
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let mut targets = vec![good_target(path, turn)];
    let huge = "x".repeat(8_000);
    for parameter in &parameters {
        let name = parameter["name"].as_str().unwrap();
        if parameter["in"] == "path" {
            let unknown =
                ["nobody", "profiles/nobody", "019ab000-0000-7000-8000-000000000000", "x", huge.as_str(), "%20"];
            let odd = ["%2e%2e", "..", "%00", "%ff", "a%2Fb", "%C3%BC", "%", "a;b", "*", "1%0d%0ax:y"];
            for value in unknown.iter().chain(&odd) {
                targets.push(path.replace(&format!("{{{name}}}"), value));
            }
            continue;
        }
        let good: &[&str] = match parameter["schema"]["enum"].as_array() {
            Some(words) => &words.iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>(),
            // No long wait: a turn runs.
            None => &["0", "0.1", "1e-9"],
        };
        let odd = ["soon", "", "-1", "NaN", "null", "%ff", "%", "[]", huge.as_str(), "0&link=0&wait=0"];
        let first = targets[0].clone();
        targets.extend(good.iter().chain(&odd).map(|value| format!("{first}?{name}={value}")));
    }
    targets.push(format!("{}?surplus=1&&=&%", targets[0]));
    targets
}

fn good_target(path: &str, turn: &str) -> String {
    path.replace("{path}", "config").replace("{id}", turn)
}

/// Bodies for a schema: valid ones, then each field wrong, missing, with an extra one; then bodies that are no JSON.
fn bodies(schema: &Value) -> Vec<Vec<u8>> {
    let empty = Map::new();
    let fields = schema["properties"].as_object().unwrap_or(&empty);
    let good: Vec<(&String, Value)> = fields.iter().map(|(name, kind)| (name, good(name, kind))).collect();
    let all: Map<String, Value> = good.iter().map(|(name, value)| ((*name).clone(), value.clone())).collect();
    let mut bodies = vec![json!({}), Value::Object(all.clone())];
    let with = |name: &str, value: Value| {
        let mut body = all.clone();
        body.insert(name.to_owned(), value);
        Value::Object(body)
    };
    for (name, value) in &good {
        bodies.push(json!({*name: value}));
        let mut without = all.clone();
        without.remove(*name);
        bodies.push(Value::Object(without));
        for word in fields[*name]["enum"].as_array().into_iter().flatten() {
            bodies.push(json!({*name: word}));
        }
        let kinds = [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(1.5),
            json!(1e300),
            json!(u64::MAX),
            json!(""),
            json!("x"),
            json!("\u{1b}[2J\u{0}"),
            json!("x".repeat(4_000)),
            json!([]),
            json!({}),
            json!(["drain"]),
        ];
        bodies.extend(kinds.into_iter().map(|wrong| with(name, wrong)));
    }
    bodies.push(with("surplus", json!({"deep": [1]})));
    bodies.push(json!({"surplus": "x".repeat(17_000)}));
    let mut bodies: Vec<Vec<u8>> = bodies.iter().map(|body| body.to_string().into_bytes()).collect();
    let deep = format!("{}{}", "{\"a\":".repeat(2_000), "}".repeat(2_000));
    for text in
        ["", " \n", "{", "[]", "null", "1", "\"x\"", "{\"a\":1,}", "{'a':1}", "{}{}", "NaN", "{\"a\":1,\"a\":2}", &deep]
    {
        bodies.push(text.as_bytes().to_vec());
    }
    bodies.push(b"\xff\xfe{}".to_vec());
    bodies.push(b"\xef\xbb\xbf{}".to_vec());
    bodies.push(vec![b' '; 17_000]);
    if fields.contains_key("event") {
        bodies.push(vec![b' '; 2 * 1024 * 1024 + 1]);
    }
    bodies
}

/// A valid value for a field.
fn good(name: &str, kind: &Value) -> Value {
    match (name, kind["type"].as_str()) {
        ("profile", _) => json!("work"),
        ("turn_id", _) => json!("019ab000-0000-7000-8000-000000000000"),
        ("event", _) => World::message("signed", "hello", "c9", None),
        ("session_key", _) => json!("agent:main:discord:channel:c9"),
        _ if kind["enum"].is_array() => kind["enum"][0].clone(),
        (_, Some("string")) => json!("a text"),
        (_, Some("boolean")) => json!(false),
        (_, Some("number" | "integer")) => json!(3_600),
        (_, Some("array")) => json!([]),
        _ => json!({}),
    }
}

fn other_methods(judge: &mut Judge, authority: &str, path: &str, item: &Value, turn: &str) {
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "GET", "HEAD"] {
        let documented = match method {
            "HEAD" => item.get("get").is_some(),
            other => item.get(other.to_lowercase()).is_some(),
        };
        if documented {
            continue;
        }
        for headers in [vec![], vec![bearer(TOKEN)]] {
            let proven = !headers.is_empty();
            let asked = Case { headers, ..case(path, method, &good_target(path, turn), b"") };
            let answer = judge.send(authority, &asked);
            let operation = item.as_object().unwrap().values().next().unwrap().clone();
            // A request without permission is refused before its content is checked.
            if proven && answer.status != 405 {
                judge.faults.push(format!("{method} {path}: {} and not 405", answer.status));
            }
            judge.judge(&operation, &asked, &answer);
        }
    }
}

fn unknown_paths(judge: &mut Judge, authority: &str) {
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
            let answer =
                judge.send(authority, &Case { headers: vec![bearer(TOKEN)], ..case(path, method, path, body) });
            let printed = answer.json().unwrap_or_default();
            if (answer.status, &printed["error"]) != (404, &json!("not_found")) || answer.media() != "application/json"
            {
                judge.faults.push(format!("{method} {path}: {} {printed}", answer.status));
            }
        }
    }
}

/// One request whose body is never sent: the answer to it is documented, too.
fn slow_body(judge: &mut Judge, authority: &str) {
    let path = DRAIN;
    let operation = judge.document["paths"][path]["post"].clone();
    let length = ("content-length".to_owned(), "10".to_owned());
    let asked = Case { headers: vec![bearer(TOKEN), length], ..case(path, "post", path, b"") };
    let answer = judge.send(authority, &asked);
    assert_eq!(answer.status, 408, "{answer:?}");
    judge.judge(&operation, &asked, &answer);
}

impl Judge {
    fn ask(&mut self, authority: &str, case: &Case) {
        let answer = self.send(authority, case);
        let method = if case.method == "head" { "get" } else { &case.method };
        self.seen.entry((case.path.clone(), method.to_owned())).or_default().insert(answer.status);
        let operation = self.document["paths"][&case.path][method].clone();
        self.judge(&operation, case, &answer);
    }

    fn send(&mut self, authority: &str, case: &Case) -> RawAnswer {
        self.asked += 1;
        raw::ask(authority, &case.method.to_uppercase(), &case.target, &case.headers, &case.body)
    }

    fn judge(&mut self, operation: &Value, case: &Case, answer: &RawAnswer) {
        let Case { method, target, headers, body, .. } = case;
        let short = |text: &str| text.chars().take(120).collect::<String>();
        let body = short(&String::from_utf8_lossy(body));
        let printed = String::from_utf8_lossy(&answer.body);
        let about = format!("{method} {} {headers:?} {body:?}: {} {}", short(target), answer.status, short(&printed));
        let described = &operation["responses"][answer.status.to_string()];
        let mut wrong = Vec::new();
        if described.is_null() {
            wrong.push("the document has no such status".to_owned());
        }
        if answer.headers.get("x-request-id").is_none_or(String::is_empty) {
            wrong.push("the answer has no name".to_owned());
        }
        match described["content"].as_object() {
            _ if method.eq_ignore_ascii_case("head") => {
                wrong.extend((!answer.body.is_empty()).then(|| "a body after HEAD".to_owned()));
            }
            None if !described.is_null() && !answer.body.is_empty() => {
                wrong.push("the document has no body here".to_owned());
            }
            None => {}
            // With its parameters as in the document.
            Some(content) => {
                match content.get(answer.media()).or_else(|| content.get(answer.headers.get("content-type")?)) {
                    None => wrong.push(format!("the media type is {:?}", answer.headers.get("content-type"))),
                    Some(described) if answer.media() == "application/json" => match answer.json() {
                        Some(value) => wrong.extend(schema::faults(&self.document, &described["schema"], &value)),
                        None => wrong.push("the body is not JSON".to_owned()),
                    },
                    Some(_) => {}
                }
            }
        }
        self.faults.extend(wrong.into_iter().map(|wrong| format!("{wrong}: {about}")));
    }
}

#[test]
fn an_answer_that_differs_from_the_document_is_found() {
    let judged = |change: fn(&mut Value), status: u16, body: &Value| {
        let mut document = document();
        change(&mut document);
        let mut judge = Judge { document, seen: BTreeMap::new(), faults: Vec::new(), asked: 0 };
        let headers = [("content-type", "application/json"), ("x-request-id", "1")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let answer = RawAnswer { status, headers, body: body.to_string().into_bytes() };
        let operation = judge.document["paths"]["/healthz"]["get"].clone();
        judge.judge(&operation, &case("/healthz", "get", "/healthz", b""), &answer);
        judge.faults
    };
    let nothing = |_: &mut Value| {};
    assert_eq!(judged(nothing, 200, &json!({"ok": true})), [""; 0]);
    assert_eq!(judged(nothing, 200, &json!({"ok": null})).len(), 1);
    assert_eq!(judged(nothing, 200, &json!({"ok": true, "more": 1})).len(), 1);
    assert_eq!(judged(nothing, 204, &json!({})).len(), 1);
    assert_eq!(judged(nothing, 503, &json!({"error": "boom", "detail": "x"})).len(), 1);
    let other = |document: &mut Value| {
        document["paths"]["/healthz"]["get"]["responses"]["200"]["content"] = json!({"text/plain": {}});
    };
    assert_eq!(judged(other, 200, &json!({"ok": true})).len(), 1);
}
