//! Sends requests and checks each answer against the document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::requests::ApiRequest;
use crate::raw::{self, RawAnswer};
use crate::schema;

/// The document and the answers seen so far.
pub(super) struct ApiChecker {
    pub(super) document: Value,
    pub(super) seen: BTreeMap<(String, String), BTreeSet<u16>>,
    pub(super) faults: Vec<String>,
    pub(super) sent: usize,
}

impl ApiChecker {
    pub(super) fn ask(&mut self, authority: &str, request: &ApiRequest) {
        let answer = self.send(authority, request);
        let method = if request.method == "head" { "get" } else { &request.method };
        self.seen.entry((request.path.clone(), method.to_owned())).or_default().insert(answer.status);
        let operation = self.document["paths"][&request.path][method].clone();
        self.check(&operation, request, &answer);
    }

    pub(super) fn send(&mut self, authority: &str, request: &ApiRequest) -> RawAnswer {
        self.sent += 1;
        raw::ask(authority, &request.method.to_uppercase(), &request.target, &request.headers, &request.body)
    }

    pub(super) fn check(&mut self, operation: &Value, request: &ApiRequest, answer: &RawAnswer) {
        let ApiRequest { method, target, headers, body, .. } = request;
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
            wrong.push("the answer has no request id".to_owned());
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
