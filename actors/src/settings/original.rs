//! The original's `config.yaml`, parsed as the original parses it: most of its keys are not used here, and mistakes in those are no
//! reason to refuse the file.
//!
//! Of equal keys the last one applies, `.inf` is a number, keys may be numbers. Nesting and aliases are bounded so that no file hangs or
//! crashes the gateway. Values deeper than any key that is read are left out.

use std::fmt;
use std::thread;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::{DuplicateKeyPolicy, Error, NonFiniteFloatPolicy};

/// Deepest nesting; the original's reader fails at its language's recursion limit, some hundreds.
const MAX_DEPTH: usize = 1_000;
/// Deepest value that is kept; the deepest key that is read is at depth 5.
const KEPT_DEPTH: usize = 32;
/// Most values, with aliases expanded: the original needs 30 s for this many.
const MAX_VALUES: usize = 500_000;
/// Stack for the deepest nesting, in bytes. The system allocates only the part that is used.
const STACK_BYTES: usize = 128 * 1024 * 1024;

/// Reads the text of a `config.yaml`; an empty one is an empty mapping.
///
/// # Errors
/// One sentence without a subject, and the line where there is one; never the content.
pub(super) fn parse(text: &str) -> Result<Map<String, Value>, String> {
    // Reading recurses, and the file decides the depth.
    let reading = thread::scope(|scope| {
        let reader = thread::Builder::new().name("config.yaml".into()).stack_size(STACK_BYTES);
        let reader =
            reader.spawn_scoped(scope, || read(text)).map_err(|error| format!("cannot be read now: {error}"))?;
        reader.join().unwrap_or_else(|_| Err("cannot be read".to_owned()))
    });
    match reading? {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err("is not a mapping of keys to values".to_owned()),
    }
}

fn read(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let options = serde_saphyr::options! {
        // Snippets print the offending lines, which may hold a secret.
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        legacy_octal_numbers: true,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 2 * MAX_VALUES,
            max_replay_stack_depth: MAX_DEPTH,
            max_alias_expansions_per_anchor: usize::MAX,
        },
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_events: 4 * MAX_VALUES,
            max_nodes: MAX_VALUES,
            max_aliases: MAX_VALUES,
            max_anchors: MAX_VALUES,
            max_recorded_anchor_events: 2 * MAX_VALUES,
            max_merge_keys: MAX_VALUES,
            enforce_alias_anchor_ratio: false,
        },
    };
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        LenientYaml { depth: 0 }.deserialize(deserializer)
    })
    .map_err(|error| problem(&error))
}

fn problem(error: &Error) -> String {
    let mut innermost = error;
    while let Error::AliasError { error, .. } | Error::WithSnippet { error, .. } = innermost {
        innermost = error;
    }
    let too_much = match innermost {
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } | Error::AliasReplayStackDepthExceeded { .. } => {
            true
        }
        // The scanner reports its own limit as a text.
        other => other.to_string().contains("limit"),
    };
    let what = if too_much { "holds more values, aliases or nesting than is read" } else { "is not valid YAML" };
    error
        .location()
        .map_or_else(|| what.to_owned(), |place| format!("line {}, column {}: {what}", place.line(), place.column()))
}

/// Any value, as JSON.
#[derive(Clone, Copy)]
struct LenientYaml {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for LenientYaml {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.depth < KEPT_DEPTH {
            deserializer.deserialize_any(self)
        } else {
            deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Value::Null)
        }
    }
}

impl<'de> Visitor<'de> for LenientYaml {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    // Numbers are unbounded in the original; as a text the value is unchanged.
    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(number.to_string().into())
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(number.to_string().into())
    }

    // Infinity and NaN are not used here.
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Self { depth: self.depth + 1 })? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        // Every key is read as a text: no key used here is a number or a flag. The original refuses lists as keys too.
        while let Some(key) = entries.next_key::<Option<String>>()? {
            map.insert(
                key.unwrap_or_else(|| "null".to_owned()),
                entries.next_value_seed(Self { depth: self.depth + 1 })?,
            );
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(text: &str) -> Value {
        Value::Object(parse(text).unwrap_or_else(|error| panic!("{error}: {}", &text[..text.len().min(60)])))
    }

    /// `depth` keys, each nested in the one before.
    fn nested(depth: usize) -> String {
        let lines: Vec<String> = (0..depth).map(|at| format!("{}k:\n", " ".repeat(at))).collect();
        lines.concat()
    }

    #[test]
    fn values_are_parsed_as_the_original_parses_them() {
        for (text, expected) in [
            ("a: 1\nb: 2\na: 3\n", json!({"a": 3, "b": 2})),
            ("x:\n  k: 1\n  k: {l: 1, l: 2}\n", json!({"x": {"k": {"l": 2}}})),
            ("x: .inf\ny: -.INF\nz: .nan\na: 1\n", json!({"x": null, "y": null, "z": null, "a": 1})),
            ("1: x\ntrue: v\nnull: z\n1.5: w\ny: 1\n", json!({"1": "x", "true": "v", "null": "z", "1.5": "w", "y": 1})),
            ("d: &d {a: 1, b: 2}\nx:\n  <<: *d\n  a: 3\n", json!({"d": {"a": 1, "b": 2}, "x": {"a": 3, "b": 2}})),
            ("x: 010\ny: 0x1F\nw: 1_000\n", json!({"x": 8, "y": 31, "w": 1000})),
            ("x: 2020-01-01\nz: !!str 1\n", json!({"x": "2020-01-01", "z": "1"})),
            ("\u{feff}a: 1\r\nb: 2\r\n", json!({"a": 1, "b": 2})),
            ("%YAML 1.1\n---\na: 1\n...\n", json!({"a": 1})),
            ("a: &x [1]\nb: *x\n", json!({"a": [1], "b": [1]})),
            ("", json!({})),
            ("---\n...\n", json!({})),
            ("# nothing\n", json!({})),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn deep_nesting_and_many_aliases_under_unused_keys_are_accepted() {
        let flow = |depth: usize| format!("x: {}{}\na: 1\n", "[".repeat(depth), "]".repeat(depth));
        let block = |depth: usize| format!("{}a: 1\n", nested(depth));
        let aliases = format!("x: &x [1]\ny: [{}]\na: 1\n", vec!["*x"; 100_000].join(","));
        let values = format!("x: [{}]\na: 1\n", vec!["1"; 200_000].join(","));
        for text in [flow(60), flow(300), flow(900), block(100), block(400), block(900), aliases, values] {
            assert_eq!(parsed(&text)["a"], 1, "{}", &text[..60]);
        }
    }

    #[test]
    fn a_file_that_would_crash_or_hang_the_gateway_is_refused_with_a_reason() {
        let next = |(at, before): (char, char)| format!("{at}: &{at} [*{before}, *{before}, *{before}, *{before}]\n");
        let steps: Vec<String> = ('b'..='z').zip('a'..='y').map(next).collect();
        let expanding = format!("a: &a [x, x, x, x]\n{}", steps.concat());
        let flow = format!("x: {}", "[".repeat(200_000));
        let block = nested(1_500);
        for text in [expanding, flow, block] {
            let begun = std::time::Instant::now();
            let error = parse(&text).unwrap_err();
            println!("{} bytes refused after {:?}: {error}", text.len(), begun.elapsed());
            assert!(error.contains("holds more values, aliases or nesting than is read"), "{error}");
            assert!(begun.elapsed().as_secs() < 20, "it took {:?}", begun.elapsed());
        }
    }

    #[test]
    fn a_file_that_the_original_cannot_read_is_refused_with_the_line_and_without_the_content() {
        for text in ["a: 1\nb: [hunter2\nc: }\n", "a: *hunter2\n", "? [hunter2]\n: b\n", "a: 1\n---\nhunter2: 2\n"] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains("is not valid YAML"), "{error}");
        }
        assert_eq!(parse("- a\n").unwrap_err(), "is not a mapping of keys to values");
    }
}
