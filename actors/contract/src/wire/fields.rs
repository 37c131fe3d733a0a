//! The fields of an object from the wire, with checks of their type. Null counts as absent everywhere.

use serde_json::{Map, Number, Value};

/// An invalid field. Contains its name, and never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// It is required and missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// It has another type than in the contract.
    #[error("`{0}` has the wrong type")]
    WrongType(&'static str),
    /// It is longer than the limit.
    #[error("`{0}` is too long")]
    TooLong(&'static str),
}

/// Reads fields by name.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// The fields of `value`, which the contract calls `name`.
    pub(super) fn of(value: &'a Value, name: &'static str) -> Result<Self, FieldError> {
        value.as_object().map(Self).ok_or(FieldError::WrongType(name))
    }

    /// A copy of all of them.
    pub(super) fn to_map(self) -> Map<String, Value> {
        self.0.clone()
    }

    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn read<T>(self, name: &'static str, kind: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>, FieldError> {
        self.get(name).map(|value| kind(value).ok_or(FieldError::WrongType(name))).transpose()
    }

    pub(super) fn text(self, name: &'static str) -> Result<Option<String>, FieldError> {
        self.read(name, |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn required(self, name: &'static str) -> Result<String, FieldError> {
        self.text(name)?.ok_or(FieldError::Missing(name))
    }

    pub(super) fn flag(self, name: &'static str) -> Result<Option<bool>, FieldError> {
        self.read(name, Value::as_bool)
    }

    pub(super) fn number(self, name: &'static str) -> Result<Option<Number>, FieldError> {
        self.read(name, |value| value.as_number().cloned())
    }

    pub(super) fn list(self, name: &'static str) -> Result<&'a [Value], FieldError> {
        Ok(self.read(name, Value::as_array)?.map_or(&[], Vec::as_slice))
    }

    pub(super) fn texts(self, name: &'static str) -> Result<Vec<String>, FieldError> {
        let text = |item: &Value| item.as_str().map(str::to_owned).ok_or(FieldError::WrongType(name));
        self.list(name)?.iter().map(text).collect()
    }

    pub(super) fn object(self, name: &'static str) -> Result<Option<Fields<'a>>, FieldError> {
        self.read(name, |value| value.as_object().map(Self))
    }

    /// A copy of an object whose fields are not checked; empty if absent.
    pub(super) fn map(self, name: &'static str) -> Result<Map<String, Value>, FieldError> {
        Ok(self.object(name)?.map(|fields| fields.0.clone()).unwrap_or_default())
    }
}
