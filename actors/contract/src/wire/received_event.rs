//! An event with the text that it was read from, which is carried in place of a tree.

use std::sync::Arc;

use serde_json::Value;

use super::borrowed::{BorrowedJson, JsonValue as _};
use super::event::{EventError, InboundEvent};
use crate::json::RawJson;

/// An event and its text, of which the row in the ledger and the line for an agent are made.
#[derive(Debug, Clone)]
pub struct ReceivedEvent {
    /// The event, parsed.
    pub event: Arc<InboundEvent>,
    /// The event as received, with unknown fields: one line, in which no name is repeated, so that all who read it read the same.
    pub raw: RawJson,
}

/// Why a text is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventTextError {
    /// It is not JSON that can be stored: an unpaired surrogate, or nested too deeply.
    #[error("the event cannot be read: it contains an unpaired surrogate, or is nested too deeply")]
    Unreadable,
    /// It is not an event.
    #[error(transparent)]
    Event(#[from] EventError),
}

impl ReceivedEvent {
    /// Reads the text of an event.
    ///
    /// # Errors
    /// [`EventTextError`]: it must not run.
    pub fn read(raw: RawJson) -> Result<Self, EventTextError> {
        let json: BorrowedJson<'_> = serde_json::from_str(raw.get()).map_err(|_| EventTextError::Unreadable)?;
        let event = Arc::new(InboundEvent::read(&json).map_err(EventError)?);
        let is_plain = json.names_are_unique() && !raw.get().contains(['\n', '\r']);
        let raw = if is_plain { raw } else { RawJson::of(&json.to_value()) };
        Ok(Self { event, raw })
    }

    /// The event in `value`.
    ///
    /// # Errors
    /// [`EventError`]: it must not run.
    pub fn of(value: &Value) -> Result<Self, EventError> {
        Ok(Self { event: Arc::new(InboundEvent::parse(value)?), raw: RawJson::of(value) })
    }
}
