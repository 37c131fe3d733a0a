//! Reads every field of the status and every metric, and waits for the changes that a row lists.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::rows::ROWS;
use crate::support::{QueryLimit, SOON, client, post};
use crate::world::World;

/// Every value by its name in the rows; a name may have several values.
pub(super) type StatusValues = BTreeMap<String, Vec<Value>>;

pub(super) struct StatusRecord {
    pub(super) document: Value,
    pub(super) world: World,
    /// All names seen so far.
    pub(super) seen: BTreeSet<String>,
    pub(super) done: BTreeSet<&'static str>,
}

impl StatusRecord {
    pub(super) async fn read(&mut self) -> StatusValues {
        let mut reading = StatusValues::new();
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
    pub(super) async fn until_changed(&mut self, action: &'static str, before: StatusValues) {
        let row = ROWS.iter().find(|(name, _)| *name == action).unwrap_or_else(|| panic!("{action}: no such row"));
        let mut left: BTreeSet<&str> = row.1.split_whitespace().collect();
        let limit = QueryLimit::new(format!("a change by {action}"), SOON);
        loop {
            let now = self.read().await;
            // Null or a missing field does not count as a changed value.
            let values = |reading: &StatusValues, name: &str| -> Vec<Value> {
                reading.get(name).into_iter().flatten().filter(|value| !value.is_null()).cloned().collect()
            };
            left.retain(|name| values(&now, name) == values(&before, name));
            if left.is_empty() {
                break;
            }
            let unchanged = || {
                let values = left.iter().map(|name| now.get(*name)).collect::<Vec<_>>();
                format!(": {left:?} are still {values:?}")
            };
            limit.pause(Duration::from_millis(5), unchanged).await;
        }
        self.done.insert(action);
    }

    pub(super) async fn fault(&self, faults: Value) {
        let (code, answer) = post(&format!("{}/dev/faults", self.world.connector.url), &faults).await;
        assert!(code < 300, "{answer}");
    }

    pub(super) async fn order(&self, path: &str, body: Value) {
        let (code, answer) = post(&self.world.url(path), &body).await;
        assert!(code < 300, "{path}: {answer}");
    }
}

/// Collects every value in `value`, named by its place in the schema.
fn gather(document: &Value, schema: &Value, value: &Value, at: &str, into: &mut StatusValues) {
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
pub(super) fn names(document: &Value, schema: &Value, at: &str, into: &mut BTreeSet<String>) {
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
