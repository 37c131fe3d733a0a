//! Reading a request's body, bounded in size and time, and taking its fields apart.

use std::time::Duration;

use actix_web::web::{Bytes, Payload};
use serde_json::{Map, Value};

use super::error::ApiError;

/// Largest body of an order to the gateway, in bytes; the original's limit for drains.
const LIMIT: usize = 16 * 1024;

/// Longest wait for such a body.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The fields of an order: a JSON object.
#[derive(Debug, Default)]
pub(super) struct Fields(Map<String, Value>);

/// Reads a body.
///
/// # Errors
/// [`ApiError`] when it is too large, too slow or broken off.
pub(super) async fn read(payload: Payload) -> Result<Bytes, ApiError> {
    let body = tokio::time::timeout(TIMEOUT, payload.to_bytes_limited(LIMIT)).await.map_err(|_| ApiError::TooSlow)?;
    body.map_err(|_| ApiError::TooLarge(LIMIT))?.map_err(ApiError::BrokenBody)
}

impl Fields {
    /// Takes a body apart; an empty one has no fields.
    ///
    /// # Errors
    /// [`ApiError`] unless it is a JSON object.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_slice(body).map_err(ApiError::InvalidJson)? {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(ApiError::NotAnObject),
        }
    }

    /// A text. `null` is none: a script that lost its value must not get the answer for having said nothing.
    ///
    /// # Errors
    /// [`ApiError::WrongField`] when it is something else.
    pub(super) fn text(&self, field: &'static str) -> Result<Option<&str>, ApiError> {
        self.get(field, "a text", Value::as_str)
    }

    /// True or false.
    ///
    /// # Errors
    /// See [`Fields::text`].
    pub(super) fn flag(&self, field: &'static str) -> Result<Option<bool>, ApiError> {
        self.get(field, "true or false", Value::as_bool)
    }

    /// A time in seconds, above 0 and at most `most`.
    ///
    /// # Errors
    /// See [`Fields::text`].
    pub(super) fn seconds(&self, field: &'static str, most: Duration) -> Result<Option<Duration>, ApiError> {
        let length = |value: &Value| Duration::try_from_secs_f64(value.as_f64()?).ok();
        self.get(field, "a number of seconds above 0, within a year", length)?
            .map(|length| {
                let expected = "a number of seconds above 0, within a year";
                let good = !length.is_zero() && length <= most;
                if good { Ok(length) } else { Err(ApiError::WrongField { field, expected }) }
            })
            .transpose()
    }

    fn get<'a, T>(
        &'a self,
        field: &'static str,
        expected: &'static str,
        take: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let taken = |value| take(value).ok_or(ApiError::WrongField { field, expected });
        self.0.get(field).map(taken).transpose()
    }
}
