//! The fields of an object from the wire, with checks of their type. Null counts as absent everywhere.

use serde_json::{Map, Number, Value};

use super::borrowed::JsonValue;

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

/// Reads the fields of an object by name.
pub(super) struct Fields<'a, V = Value>(&'a V);

impl<V> Clone for Fields<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Fields<'_, V> {}

impl Fields<'_> {
    /// A copy of all of them.
    pub(super) fn to_map(self) -> Map<String, Value> {
        self.0.as_object().cloned().unwrap_or_default()
    }

    /// A copy of an object whose fields are not checked; empty if absent.
    pub(super) fn map(self, name: &'static str) -> Result<Map<String, Value>, FieldError> {
        Ok(self.object(name)?.map(Fields::to_map).unwrap_or_default())
    }
}

impl<'a, V: JsonValue> Fields<'a, V> {
    /// The fields of `value`, which the contract calls `name`.
    pub(super) fn of(value: &'a V, name: &'static str) -> Result<Self, FieldError> {
        if value.is_object() { Ok(Self(value)) } else { Err(FieldError::WrongType(name)) }
    }

    pub(super) fn get(self, name: &str) -> Option<&'a V> {
        self.0.field(name).filter(|value| !value.is_null())
    }

    fn read<T>(self, name: &'static str, kind: impl FnOnce(&'a V) -> Option<T>) -> Result<Option<T>, FieldError> {
        self.get(name).map(|value| kind(value).ok_or(FieldError::WrongType(name))).transpose()
    }

    pub(super) fn text(self, name: &'static str) -> Result<Option<String>, FieldError> {
        self.read(name, |value| value.as_text().map(str::to_owned))
    }

    pub(super) fn required(self, name: &'static str) -> Result<String, FieldError> {
        self.text(name)?.ok_or(FieldError::Missing(name))
    }

    pub(super) fn flag(self, name: &'static str) -> Result<Option<bool>, FieldError> {
        self.read(name, V::as_flag)
    }

    pub(super) fn number(self, name: &'static str) -> Result<Option<Number>, FieldError> {
        self.read(name, |value| value.as_number().cloned())
    }

    pub(super) fn list(self, name: &'static str) -> Result<&'a [V], FieldError> {
        Ok(self.read(name, V::as_list)?.unwrap_or_default())
    }

    pub(super) fn texts(self, name: &'static str) -> Result<Vec<String>, FieldError> {
        let text = |item: &V| item.as_text().map(str::to_owned).ok_or(FieldError::WrongType(name));
        self.list(name)?.iter().map(text).collect()
    }

    pub(super) fn object(self, name: &'static str) -> Result<Option<Self>, FieldError> {
        self.read(name, |value| value.is_object().then_some(Self(value)))
    }
}
