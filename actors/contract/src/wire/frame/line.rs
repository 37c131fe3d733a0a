//! One line of the link: only the fields of frames are read.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::FrameError;
use crate::wire::fields::FieldError;
use crate::wire::scan::MAX_BUFFER_ID;

/// The fields of a line, each as received: nested values are parsed on demand.
pub(super) struct Line<'a> {
    frame: &'static str,
    fields: BTreeMap<&'static str, &'a RawValue>,
}

/// Reads the fields of a line that are named here. Of a repeated one the last counts.
struct Named(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Named {
    type Value = BTreeMap<&'static str, &'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Named {
    type Value = BTreeMap<&'static str, &'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut fields = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            match self.0.iter().find(|field| **field == name) {
                Some(field) => drop(fields.insert(*field, map.next_value()?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(fields)
    }
}

impl<'a> Line<'a> {
    /// The type of a line, empty when there is none, and those of its fields that are `named`.
    pub(super) fn of(line: &'a [u8], named: &'static [&'static str]) -> Result<(String, Self), FrameError> {
        let mut json = serde_json::Deserializer::from_slice(line);
        let fields = Named(named).deserialize(&mut json).and_then(|fields| json.end().map(|()| fields));
        let fields = fields.map_err(|_| FrameError::NotAnObject)?;
        let line = Self { frame: "unknown", fields };
        Ok((line.text("type")?.unwrap_or_default(), line))
    }

    pub(super) fn of_type(self, frame: &'static str) -> Self {
        Self { frame, ..self }
    }

    pub(super) fn error(&self, error: FieldError) -> FrameError {
        FrameError::Field { frame: self.frame, error }
    }

    /// A field that is present and not null.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.get(name).copied().filter(|raw| raw.get() != "null")
    }

    /// The id that acknowledges the frame; an empty one is none.
    pub(super) fn buffer_id(&self) -> Result<Option<String>, FrameError> {
        let id = self.text("bufferId")?.filter(|id| !id.is_empty());
        match id {
            Some(id) if id.len() > MAX_BUFFER_ID => Err(self.error(FieldError::TooLong("bufferId"))),
            id => Ok(id),
        }
    }

    pub(super) fn at_most(&self, name: &'static str, bytes: usize) -> Result<(), FrameError> {
        let long = self.raw(name).is_some_and(|raw| raw.get().len() > bytes);
        if long { Err(self.error(FieldError::TooLong(name))) } else { Ok(()) }
    }

    pub(super) fn required_raw(&self, name: &'static str) -> Result<&'a RawValue, FrameError> {
        self.raw(name).ok_or_else(|| self.error(FieldError::Missing(name)))
    }

    pub(super) fn value(&self, name: &'static str) -> Result<Value, FrameError> {
        serde_json::from_str(self.required_raw(name)?.get()).map_err(|_| self.error(FieldError::WrongType(name)))
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<String>, FrameError> {
        let read = |raw: &RawValue| serde_json::from_str(raw.get());
        self.raw(name).map(read).transpose().map_err(|_| self.error(FieldError::WrongType(name)))
    }

    pub(super) fn required(&self, name: &'static str) -> Result<String, FrameError> {
        self.text(name)?.ok_or_else(|| self.error(FieldError::Missing(name)))
    }
}
