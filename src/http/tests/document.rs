//! The document of the API, against what is kept in `docs/`, and against every answer that any test of HTTP gets.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use actix_web::http::Method;
use serde_json::{Value, json};

use super::schema;
use super::support::{SECRET, TestAnswer, TestServer};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&kept()).unwrap());

fn kept() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    std::fs::read_to_string(path).unwrap_or_else(|_| "{}".to_owned())
}

/// Fails if the document does not have an answer like this one.
pub(super) fn allows(method: &str, path: &str, status: u16, body: &[u8]) {
    // The only route that is not for operators: it is there for trials alone.
    if path.ends_with("/fault") {
        return;
    }
    let seen = format!("{method} {path} {status} {}", String::from_utf8_lossy(body));
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let code = body.as_ref().and_then(|body| body["error"].as_str());
    let Some(item) = item(path) else {
        assert!(matches!(code, Some("not_found" | "forbidden_host" | "forbidden_origin")), "{seen}");
        return;
    };
    let method = if method == "HEAD" { "get".to_owned() } else { method.to_lowercase() };
    let Some(operation) = item.get(&method) else {
        // A client without access gets 401 or 403 before any other error.
        assert!(matches!(status, 405 | 401 | 403 | 429 | 503), "{seen}");
        return;
    };
    let described = operation["responses"].get(status.to_string());
    let described = described.unwrap_or_else(|| panic!("the document has no such answer: {seen}"));
    let schema = &described["content"]["application/json"]["schema"];
    if let Some(code) = code {
        let words = schema["properties"]["error"]["enum"].as_array().unwrap();
        assert!(words.iter().any(|word| word == code), "the document has no such code: {seen}");
    } else if let (Some(body), true) = (&body, schema.is_object()) {
        let faults = schema::faults(&DOCUMENT, schema, body);
        assert!(faults.is_empty(), "the document is not what is answered: {faults:#?}\n{seen}");
    }
}

/// The path of the document that leads to `path`.
fn item(path: &str) -> Option<&'static Value> {
    let fits = |pattern: &str| match pattern.split_once('{') {
        None => pattern == path,
        Some((before, rest)) => {
            let after = rest.split_once('}').unwrap().1;
            path.len() > before.len() + after.len() && path.starts_with(before) && path.ends_with(after)
        }
    };
    // Of `/rows/{id}` and `/rows/{id}/text` the longer one leads to more.
    let fitting = DOCUMENT["paths"].as_object()?.iter().filter(|(pattern, _)| fits(pattern));
    fitting.max_by_key(|(pattern, _)| pattern.len()).map(|(_, item)| item)
}

#[actix_web::test]
async fn the_document_in_docs_is_the_one_that_is_served() {
    let server = TestServer::start().await;
    let served = server.request(Method::GET, "/openapi.json").send().await.unwrap().body().await.unwrap();
    let served = String::from_utf8(served.to_vec()).unwrap();
    if served != kept() {
        let fresh = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/openapi.json");
        std::fs::write(&fresh, served).unwrap();
        panic!("the routes have changed: check {} and copy it to docs/openapi.json", fresh.display());
    }
    server.stop().await;
}

#[actix_web::test]
async fn every_documented_operation_exists_and_no_other_method() {
    let server = TestServer::start().await;
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        let place = path.replace("{path}", "drain").replace("{id}", "019ab000-0000-7000-8000-000000000000");
        let mut expected: BTreeSet<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
            let answer = TestAnswer::of(server.request(method.clone(), &place).bearer_auth(SECRET), "").await;
            let documented = item.get(method.as_str().to_lowercase()).is_some();
            assert_eq!(answer.status == 405, !documented, "{method} {path}: {answer:?}");
            if !documented {
                assert_eq!(answer.error().1, "method_not_allowed");
                if expected.contains("get") {
                    expected.insert("head");
                }
                let allowed = answer.header("allow").unwrap().to_lowercase();
                assert_eq!(allowed.split(", ").collect::<BTreeSet<_>>(), expected, "{path}");
            }
        }
    }
    server.stop().await;
}

#[test]
fn routes_are_registered_only_through_the_registry() {
    let http = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let mut registers = Vec::new();
    let mut folders = vec![http.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                if ["web::resource", "web::scope", "Resource::new", ".service(", ".route("]
                    .iter()
                    .any(|way| text.contains(way))
                {
                    registers.push(path.strip_prefix(&http).unwrap().display().to_string());
                }
            }
        }
    }
    assert_eq!(registers, ["registry.rs"]);
}

#[actix_web::test]
async fn every_post_requires_a_token_or_a_signature_in_the_document() {
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let protected = ["token", "signature"].iter().any(|proof| operation["security"] == json!([{*proof: []}]));
            assert!(method != "post" || protected, "{method} {path} is open to every client");
            let status = if protected { 401 } else { 200 };
            let gate_is_closed = operation["responses"].get("401").is_some();
            assert!(status == 200 || gate_is_closed, "{method} {path}");
        }
    }
    let server = TestServer::start().await;
    let plain = TestAnswer::of(server.request(Method::POST, "/api/gateway/restart"), "").await;
    assert_eq!(plain.status, 401);
    assert_eq!(server.request(Method::GET, "/openapi.json").bearer_auth(SECRET).send().await.unwrap().status(), 200);
    server.stop().await;
}
