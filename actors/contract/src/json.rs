//! JSON helpers of several formats that the original writes or reads as well.

use std::sync::Arc;

use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use zeroize::Zeroize;

/// The text of a JSON value. Two are equal if their texts are. A clone shares the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RawJson(Arc<str>);

impl RawJson {
    /// `value` as text, without a line break.
    ///
    /// # Panics
    /// If `value` has no JSON form, as no type of this crate.
    #[must_use]
    pub fn of(value: &impl Serialize) -> Self {
        Self(serde_json::to_string(value).expect("the value has a JSON form").into())
    }

    /// The text.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RawJson {
    type Error = serde_json::Error;

    /// Not every text is JSON.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let _: &RawValue = serde_json::from_str(&text)?;
        Ok(Self(text.into()))
    }
}

impl From<&RawValue> for RawJson {
    fn from(raw: &RawValue) -> Self {
        Self(raw.get().into())
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Whether the original reads `value` as true: everything except null, false, zero and empty values.
#[must_use]
pub fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// A string, or a number as text, for identifiers that may be written without quotes.
/// `None` for anything else and for the empty string.
#[must_use]
pub fn identifier(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A string that is not empty.
#[must_use]
pub fn non_empty_text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Overwrites every string inside `value`, except names of fields.
pub fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
