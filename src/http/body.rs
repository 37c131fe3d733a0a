//! Reads a request's body, bounded in size, time and rate, and parses its fields.

use std::time::{Duration, Instant};

use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpMessage as _, HttpRequest};
use futures_util::StreamExt as _;
use serde_json::{Map, Value};

use super::error::ApiError;

/// Largest body of a control request, in bytes; the original's limit for drains.
const LIMIT: usize = 16 * 1024;

/// A body of any size may take this long.
const GRACE: Duration = Duration::from_secs(5);
/// Beyond that, the least rate in bytes a second: a slower body is cut off.
const MIN_RATE: u32 = 16 * 1024;
/// Longest time for a body of any size.
const MAX_TIME: Duration = Duration::from_mins(1);

/// Reads a whole body of at most `limit` bytes that arrives at the least rate. One that declares a larger size is not read at all.
///
/// # Errors
/// [`ApiError`] when it is too large, too slow, or broken off.
pub(super) async fn receive(request: &HttpRequest, mut payload: Payload, limit: usize) -> Result<Bytes, ApiError> {
    let declared = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(ApiError::TooLarge(limit));
    }
    let begun = Instant::now();
    let mut body = BytesMut::new();
    loop {
        let next = tokio::time::timeout_at((begun + allowed(body.len())).into(), payload.next());
        let Some(piece) = next.await.map_err(|_| ApiError::TooSlow)? else { return Ok(body.freeze()) };
        let piece = piece.map_err(|error| ApiError::BrokenBody(error.into()))?;
        if body.len().saturating_add(piece.len()) > limit {
            return Err(ApiError::TooLarge(limit));
        }
        body.extend_from_slice(&piece);
    }
}

/// How long a body may take in all, if this many bytes of it have arrived.
fn allowed(received: usize) -> Duration {
    let received = u32::try_from(received).unwrap_or(u32::MAX);
    (GRACE + Duration::from_secs(received.into()) / MIN_RATE).min(MAX_TIME)
}

/// The fields of a request body: a JSON object.
#[derive(Debug, Default)]
pub(super) struct BodyFields(Map<String, Value>);

impl BodyFields {
    /// Reads the body of a request. One with another content type is refused unread, such as a multipart form or a text.
    /// `curl -d` sends the type of a form by default, so that type is accepted.
    ///
    /// # Errors
    /// [`ApiError`] when it is too large, too slow, broken off, or no JSON object.
    pub(super) async fn read(request: &HttpRequest, payload: Payload) -> Result<Self, ApiError> {
        if !may_be_json(request.content_type()) {
            return Err(ApiError::WrongType);
        }
        Self::parse(&receive(request, payload, LIMIT).await?)
    }

    /// Parses a body; an empty one has no fields.
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

    /// A text. `null` is an error: a script whose variable is empty must not get the default.
    ///
    /// # Errors
    /// [`ApiError::WrongField`] when it is something else.
    pub(super) fn text(&self, field: &'static str) -> Result<Option<&str>, ApiError> {
        self.get(field, "a string", Value::as_str)
    }

    /// True or false.
    ///
    /// # Errors
    /// See [`BodyFields::text`].
    pub(super) fn flag(&self, field: &'static str) -> Result<Option<bool>, ApiError> {
        self.get(field, "true or false", Value::as_bool)
    }

    /// A time in seconds, above 0 and at most `most`.
    ///
    /// # Errors
    /// See [`BodyFields::text`].
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

/// `media` is the content type without its parameters; empty when the client sent none.
fn may_be_json(media: &str) -> bool {
    let media = media.to_ascii_lowercase();
    let ours = ["", "application/json", "text/json", "application/x-www-form-urlencoded"].contains(&media.as_str());
    ours || (media.starts_with("application/") && media.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_for_a_body_grows_with_its_size_at_the_least_rate() {
        assert_eq!(allowed(0), Duration::from_secs(5));
        assert_eq!(
            allowed(30),
            GRACE + Duration::from_secs(30) / MIN_RATE,
            "a byte a second extends it by almost nothing"
        );
        assert_eq!(allowed(160 * 1024), Duration::from_secs(15));
        assert_eq!(allowed(usize::MAX), MAX_TIME);
    }

    #[test]
    fn only_content_types_that_may_be_json_are_accepted() {
        for media in
            ["", "application/json", "Application/JSON", "application/vnd.x+json", "application/x-www-form-urlencoded"]
        {
            assert!(may_be_json(media), "{media}");
        }
        for media in ["text/plain", "multipart/form-data", "application/xml", "text/html", "application/jsonp", "json"]
        {
            assert!(!may_be_json(media), "{media}");
        }
    }
}
