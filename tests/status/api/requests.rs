//! The requests to a documented operation: each body, each parameter, each proof of identity, right and wrong.

use caduceus_contract::wire::delivery::sign;
use serde_json::{Map, Value, json};

use super::{KEY, ROW, TOKEN};
use crate::world::World;

const WRONG: &str = "q7Lw-Zr3t_YbN0aXcVkDmE5uHsJf2PgRi8To4WlQy6C";

/// A request to one documented operation.
pub(super) struct ApiRequest {
    /// The path as in the document.
    pub(super) path: String,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
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

pub(super) fn bearer(token: &str) -> (String, String) {
    ("authorization".to_owned(), format!("Bearer {token}"))
}

/// All requests to one operation.
pub(super) fn requests(path: &str, method: &str, operation: &Value, turn: &str) -> Vec<ApiRequest> {
    let bodies =
        operation["requestBody"].as_object().map(|body| bodies(&body["content"]["application/json"]["schema"]));
    let bodies = bodies.unwrap_or_else(|| vec![Vec::new(), b"{}".to_vec()]);
    let targets = targets(path, operation, turn);
    let mut requests = Vec::new();
    for (first, target) in targets.iter().enumerate().map(|(index, target)| (index == 0, target)) {
        // Each body with a good target, each target with a good body; every proof from loopback and from elsewhere.
        for (number, body) in bodies.iter().enumerate() {
            for proof in PROOFS {
                for remote in [false, true] {
                    let main = matches!(proof, Proof::None | Proof::Wrong | Proof::Right) && !remote;
                    let wanted = if first { main || number < 2 } else { number == 0 && main };
                    if !wanted {
                        continue;
                    }
                    let mut headers = proofs(operation, proof, body);
                    if remote {
                        headers.push(("x-forwarded-for".to_owned(), "203.0.113.9".to_owned()));
                    }
                    headers.push(("content-type".to_owned(), "application/json".to_owned()));
                    requests.push(ApiRequest { headers, ..request(path, method, target, body) });
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
        requests.push(ApiRequest { headers, ..request(path, method, &targets[0], b"{\"surplus\":1}") });
    }
    for odd in [("origin", "http://evil.example"), ("origin", "null"), ("expect", "100-continue"), ("upgrade", "h2c")] {
        let headers = right(b"").into_iter().chain([(odd.0.to_owned(), odd.1.to_owned())]).collect();
        requests.push(ApiRequest { headers, ..request(path, method, &targets[0], b"") });
    }
    if method == "get" {
        let heads =
            targets.iter().map(|target| ApiRequest { headers: right(b""), ..request(path, "head", target, b"") });
        requests.extend(heads.collect::<Vec<_>>());
    }
    requests
}

pub(super) fn request(path: &str, method: &str, target: &str, body: &[u8]) -> ApiRequest {
    ApiRequest {
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
                ["unknown", "profiles/unknown", "019ab000-0000-7000-8000-000000000000", "x", huge.as_str(), "%20"];
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

pub(super) fn good_target(path: &str, turn: &str) -> String {
    let id = if path.starts_with("/api/ledger/") { ROW } else { turn };
    path.replace("{path}", "config").replace("{id}", id)
}

/// Bodies for a schema: valid ones, then each field wrong, missing, with an extra one; then bodies that are not JSON.
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
