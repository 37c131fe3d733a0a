//! Checks a JSON value against a schema of `docs/openapi.json`: supports only the keywords that this document uses.
//!
//! Stricter than the standard in one point: a field that the schema does not name is a fault, because clients cannot rely on
//! an undocumented field.

#![allow(dead_code, reason = "each test binary uses its own part")]

use serde_json::Value;

/// The supported keywords. A schema with another one would be checked only in part, so it is refused.
const KNOWN: [&str; 9] =
    ["type", "description", "enum", "properties", "required", "items", "additionalProperties", "minimum", "$ref"];

/// The faults of `value`, each with its path. `document` resolves the references of the schema.
pub(crate) fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(document, schema, value, "$", &mut found);
    found
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(words) = schema.as_object() else { return found.push(format!("{at}: the schema is no object: {schema}")) };
    if let Some(unknown) = words.keys().find(|word| !KNOWN.contains(&word.as_str())) {
        return found.push(format!("{at}: the checker does not support {unknown:?}"));
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let place = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        return match place {
            Some(schema) => check(document, schema, value, at, found),
            None => found.push(format!("{at}: {reference} does not resolve")),
        };
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is(kind, value)) {
        return found.push(format!("{at}: {value} is not {kinds:?}"));
    }
    if value.is_null() {
        return;
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        found.push(format!("{at}: {value} is none of {}", schema["enum"]));
    }
    if schema["minimum"].as_f64().zip(value.as_f64()).is_some_and(|(least, value)| value < least) {
        found.push(format!("{at}: {value} is below {}", schema["minimum"]));
    }
    match value {
        Value::Object(fields) => object(document, schema, fields, at, found),
        Value::Array(items) if !schema["items"].is_null() => {
            for (index, item) in items.iter().enumerate() {
                check(document, &schema["items"], item, &format!("{at}[{index}]"), found);
            }
        }
        _ => {}
    }
}

fn object(
    document: &Value,
    schema: &Value,
    fields: &serde_json::Map<String, Value>,
    at: &str,
    found: &mut Vec<String>,
) {
    let properties = schema["properties"].as_object();
    let others = &schema["additionalProperties"];
    for (name, value) in fields {
        let at = format!("{at}.{name}");
        match properties.and_then(|properties| properties.get(name)) {
            Some(schema) => check(document, schema, value, &at, found),
            None if others.is_object() => check(document, others, value, &at, found),
            // An object of any shape.
            None if properties.is_none() && others.is_null() => {}
            None => found.push(format!("{at}: the document does not have this field")),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            found.push(format!("{at}: {name} is missing"));
        }
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_checker_finds_each_kind_of_fault() {
        let document = json!({"components": {"schemas": {"Node": {"type": "object", "required": ["children"], "properties": {
            "children": {"type": "array", "items": {"$ref": "#/components/schemas/Node"}},
            "exit": {"type": ["object", "null"], "required": ["word"], "properties": {"word": {"type": "string", "enum": ["panic"]}}},
            "counts": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
        }}}}});
        let schema = json!({"$ref": "#/components/schemas/Node"});
        let of = |value: Value| faults(&document, &schema, &value);
        let good = [
            json!({"children": [], "exit": null, "counts": {"a": 1}}),
            json!({"children": [{"children": []}], "exit": {"word": "panic"}}),
        ];
        for value in good {
            assert_eq!(of(value.clone()), [""; 0], "{value}");
        }
        let bad = [
            (json!([]), "$: [] is not"),
            (json!({}), "children is missing"),
            (json!({"children": null}), "$.children: null is not"),
            (json!({"children": [{"children": [], "extra": 1}]}), "$.children[0].extra: the document does not have"),
            (json!({"children": [], "exit": {}}), "$.exit: word is missing"),
            (json!({"children": [], "exit": {"word": "boom"}}), "is none of"),
            (json!({"children": [], "counts": {"a": -1}}), "below"),
            (json!({"children": [], "counts": {"a": 1.5}}), "is not"),
        ];
        for (value, why) in bad {
            assert!(of(value.clone()).iter().any(|fault| fault.contains(why)), "{value}: {:?}", of(value.clone()));
        }
        assert!(faults(&document, &json!({"oneOf": []}), &json!(1))[0].contains("does not support"));
        assert!(faults(&document, &json!({"$ref": "#/nowhere"}), &json!(1))[0].contains("does not resolve"));
    }
}
