//! JSON whose texts are parts of the line that it was read from, so that a message is read without a copy of each name and value.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Names of an object above which they are not compared with each other: that takes the square of their number.
const COMPARED: usize = 64;

/// The name under which `serde_json` passes JSON on unparsed.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// A JSON value. As strict as [`Value`]: what that refuses (half of a surrogate pair, a number out of range, a deep nesting) is refused.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum BorrowedJson<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<BorrowedJson<'a>>),
    /// In order; of a repeated name the last counts.
    Object(Vec<(Cow<'a, str>, BorrowedJson<'a>)>),
}

/// A JSON value, owned or borrowed.
pub(super) trait JsonValue: Sized {
    fn is_null(&self) -> bool;
    fn as_text(&self) -> Option<&str>;
    fn as_flag(&self) -> Option<bool>;
    fn as_number(&self) -> Option<&Number>;
    fn as_list(&self) -> Option<&[Self]>;
    fn is_object(&self) -> bool;
    /// A field of an object.
    fn field(&self, name: &str) -> Option<&Self>;
    /// A copy.
    fn to_value(&self) -> Value;
}

impl JsonValue for Value {
    fn is_null(&self) -> bool {
        self.is_null()
    }

    fn as_text(&self) -> Option<&str> {
        self.as_str()
    }

    fn as_flag(&self) -> Option<bool> {
        self.as_bool()
    }

    fn as_number(&self) -> Option<&Number> {
        self.as_number()
    }

    fn as_list(&self) -> Option<&[Self]> {
        self.as_array().map(Vec::as_slice)
    }

    fn is_object(&self) -> bool {
        self.is_object()
    }

    fn field(&self, name: &str) -> Option<&Self> {
        self.get(name)
    }

    fn to_value(&self) -> Value {
        self.clone()
    }
}

impl JsonValue for BorrowedJson<'_> {
    fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn as_flag(&self) -> Option<bool> {
        if let Self::Bool(flag) = self { Some(*flag) } else { None }
    }

    fn as_number(&self) -> Option<&Number> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    fn field(&self, name: &str) -> Option<&Self> {
        let Self::Object(fields) = self else { return None };
        fields.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.as_ref().to_owned()),
            Self::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Self::Object(fields) => Value::Object(
                fields.iter().map(|(name, value)| (name.as_ref().to_owned(), value.to_value())).collect::<Map<_, _>>(),
            ),
        }
    }
}

impl BorrowedJson<'_> {
    /// Whether no object in it has, or may have, the same name twice: readers differ in which of them counts.
    pub(super) fn names_are_unique(&self) -> bool {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => true,
            Self::List(items) => items.iter().all(Self::names_are_unique),
            Self::Object(fields) => {
                let is_new = |(at, (name, _)): (usize, &(Cow<'_, str>, Self))| {
                    fields[..at].iter().all(|(known, _)| known != name)
                };
                fields.len() <= COMPARED
                    && fields.iter().enumerate().all(is_new)
                    && fields.iter().all(|(_, value)| value.names_are_unique())
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for BorrowedJson<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = BorrowedJson<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(BorrowedJson::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(BorrowedJson::Bool(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(BorrowedJson::Number(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(BorrowedJson::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        // As in [`Value`]: JSON has no infinite number, so this is one.
        Ok(Number::from_f64(number).map_or(BorrowedJson::Null, BorrowedJson::Number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(BorrowedJson::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(BorrowedJson::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(BorrowedJson::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            // A `Value` takes the text behind it for JSON.
            if name == RAW_VALUE {
                return Err(A::Error::custom("a name is reserved"));
            }
            fields.push((name, map.next_value()?));
        }
        Ok(BorrowedJson::Object(fields))
    }
}

/// The name of a field.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<BorrowedJson<'_>> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn what_a_json_value_refuses_is_refused() {
        let reserved = format!("[{{\"{RAW_VALUE}\":1}}]");
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in [
            r#""\ud800""#,
            r#"{"\ud800":1}"#,
            "1e999",
            "01",
            "[1,]",
            r#"{"a":1,}"#,
            "\"\u{1}\"",
            "",
            "nul",
            &deep,
            &reserved,
        ] {
            assert_eq!((read(text), serde_json::from_str::<Value>(text).ok()), (None, None), "{text}");
        }
    }

    #[test]
    fn of_a_repeated_name_the_last_counts() {
        let json = read(r#"{"a":1,"b":[{"c":null}],"a":"x"}"#).unwrap();
        assert_eq!(json.field("a").and_then(JsonValue::as_text), Some("x"));
        assert_eq!(json.to_value().to_string(), r#"{"a":"x","b":[{"c":null}]}"#);
    }

    #[test]
    fn a_repeated_name_is_found_in_any_object() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"\u0061":2}}]"#] {
            assert!(!read(text).unwrap().names_are_unique(), "{text}");
        }
        assert!(read(r#"{"a":{"a":[{"a":1},{"a":2}]}}"#).unwrap().names_are_unique());
    }

    #[test]
    fn an_object_with_very_many_names_counts_as_one_that_repeats_them() {
        let fields: Vec<String> = (0..=COMPARED).map(|name| format!("\"{name}\":0")).collect();
        assert!(!read(&format!("{{{}}}", fields.join(","))).unwrap().names_are_unique());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            let fields = prop::collection::vec((any::<String>(), inner.clone()), 0..6);
            let object = fields.prop_map(|fields| Value::Object(fields.into_iter().collect()));
            prop_oneof![prop::collection::vec(inner, 0..6).prop_map(Value::from), object]
        })
    }

    proptest! {
        #[test]
        fn any_json_reads_as_a_value_does(json in any_json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&json) } else { serde_json::to_string(&json) };
            let text = text.unwrap();
            let expected: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read(&text).map(|json| json.to_value()), Some(expected));
        }

        #[test]
        fn any_text_is_refused_as_a_value_refuses_it(text in r#"[\[\]{}:,"0-9a-e\\ .ntu-]{0,24}"#) {
            let expected = serde_json::from_str::<Value>(&text).ok();
            prop_assert_eq!(read(&text).map(|json| json.to_value()), expected);
        }
    }
}
