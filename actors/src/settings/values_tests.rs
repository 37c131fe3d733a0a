use serde_json::{Map, Value, json};

use super::super::key_table::KeyTable;
use super::*;

/// The values of a document, and its mistakes.
fn read(document: Value) -> (Values, Vec<String>) {
    let mut problems = Vec::new();
    let Value::Object(map) = document else { panic!("a mapping") };
    let mut root = Section::root(map, &mut problems);
    let values = Values::read(&mut root, &Values::default());
    root.finish();
    (values, problems)
}

/// A document in which nothing but `key` is set.
fn only(key: &str, value: Value) -> Value {
    key.rsplit('.').fold(value, |inner, part| Value::Object(Map::from_iter([(part.to_owned(), inner)])))
}

#[test]
fn every_key_is_read_at_the_path_that_is_declared() {
    for key in Values::default().rows().into_iter().flat_map(|row| row.keys) {
        let key = key.replace("KIND", "ledger");
        let (_, problems) = read(only(&key, json!([{}])));
        let named = problems.iter().any(|problem| problem.starts_with(&format!("{key}: expected ")));
        assert!(named, "{key}: {problems:?}");
    }
}

#[test]
fn an_empty_file_has_every_default() {
    assert_eq!(read(json!({})), (Values::default(), Vec::new()));
    assert_eq!(read(json!({"turns": null, "relay": {"inbound": {}}})), (Values::default(), Vec::new()));
}

#[test]
fn the_data_threads_are_as_set_or_half_of_the_cores_and_at_most_four() {
    let by_cores = ThreadValues::default();
    assert_eq!([1, 2, 3, 4, 6, 8, 128].map(|cores| by_cores.number(cores)), [1, 1, 1, 2, 3, 4, 4]);
    let (set, problems) = read(json!({"threads": {"data": 9}}));
    assert_eq!((set.threads.number(1), problems), (9, Vec::new()));
}

#[test]
fn bounds_and_relations_between_keys_are_checked() {
    for (document, mistake) in [
        (json!({"turns": {"max_concurrent": 0}}), "turns.max_concurrent: expected at least 1"),
        (json!({"threads": {"data": 0}}), "threads.data: expected a number from 1 to 64"),
        (json!({"threads": {"data": 65}}), "threads.data: expected a number from 1 to 64"),
        (json!({"relay": {"dial_s": 0}}), "relay.dial_s: expected more than 0"),
        (json!({"relay": {"ping_s": 45}}), "relay.silence_s: expected more than ping_s"),
        (
            json!({"relay": {"redial_floor_ms": 5, "redial_ceiling_ms": 4}}),
            "relay.redial_floor_ms: expected no more than redial_ceiling_ms",
        ),
        (
            json!({"supervision": {"policies": {"http": {"backoff_floor_ms": 5, "backoff_ceiling_ms": 4}}}}),
            "supervision.policies.http.backoff_floor_ms: expected no more than backoff_ceiling_ms",
        ),
        (
            json!({"supervision": {"policies": {"htp": {}}}}),
            "supervision.policies.htp: is not a known key; did you mean supervision.policies.http?",
        ),
    ] {
        assert_eq!(read(document).1, [mistake]);
    }
    let (values, problems) = read(json!({"relay": {"redial_floor_ms": 40_000}, "drain": {"timeout_s": 0}}));
    assert_eq!(
        (values.relay.redial, problems),
        (backoff(40_000, 40_000), Vec::new()),
        "the ceiling is never below the floor"
    );
}

#[test]
fn a_missing_policy_is_that_of_the_default_kind() {
    let policies = json!({"default": {"max_restarts": 9, "window_s": 1}, "relay": {"max_restarts": 2}});
    let (values, problems) = read(json!({"supervision": {"policies": policies}}));
    let policy = |kind: &str| values.supervision.policies[kind];
    assert_eq!((problems, policy("http"), policy("drain")), (Vec::new(), policy("default"), policy("default")));
    assert_eq!((policy("relay").max_restarts, policy("relay").window), (2, Duration::from_secs(1)));
}

#[test]
fn keys_that_apply_at_the_next_start_keep_their_values_until_then() {
    let first = Values::default();
    let (read, _) = read(json!({
        "http": {"names": ["a"]}, "turns": {"max_concurrent": 2}, "threads": {"data": 2}, "relay": {"inbound": {"path": "/in"}},
        "notices": {"home": {"platform": "discord", "chat_id": "1"}}, "supervision": {"wedge_after_ms": 9},
    }));
    let names: Vec<_> = first.changes(&read).into_iter().map(|(key, _)| key).collect();
    assert_eq!(names, ["http.names", "turns.max_concurrent", "threads.data", "relay", "notices.home", "supervision"]);
    let mut in_force = read.clone();
    in_force.keep(&first);
    let turns = TurnValues { max_concurrent: 2, ..TurnValues::default() };
    assert_eq!(in_force, Values { turns, ..first });
}
