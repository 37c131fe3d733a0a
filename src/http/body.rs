//! Reading a request's body, bounded in size and time, and taking its fields apart.

use std::time::Duration;

use actix_web::web::Payload;
use actix_web::{HttpMessage as _, HttpRequest};
use serde_json::{Map, Value};

use super::error::ApiError;

/// Largest body of an order to the gateway, in bytes; the original's limit for drains.
const LIMIT: usize = 16 * 1024;

/// Longest wait for such a body.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The fields of an order: a JSON object.
#[derive(Debug, Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads the body of an order. One whose type is clearly not ours is not looked at: what a form or a page of text sends is no
    /// order. `curl -d` says that it sends a form unless told otherwise, so that word means nothing.
    ///
    /// # Errors
    /// [`ApiError`] when it is too large, too slow, broken off, or no JSON object.
    pub(super) async fn read(request: &HttpRequest, payload: Payload) -> Result<Self, ApiError> {
        if !may_be_json(request.content_type()) {
            return Err(ApiError::WrongType);
        }
        let body =
            tokio::time::timeout(TIMEOUT, payload.to_bytes_limited(LIMIT)).await.map_err(|_| ApiError::TooSlow)?;
        let body = body.map_err(|_| ApiError::TooLarge(LIMIT))?.map_err(ApiError::BrokenBody)?;
        Self::parse(&body)
    }

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

/// `media` is the content type without its parameters; empty when the client did not say.
fn may_be_json(media: &str) -> bool {
    let media = media.to_ascii_lowercase();
    let ours = ["", "application/json", "text/json", "application/x-www-form-urlencoded"].contains(&media.as_str());
    ours || (media.starts_with("application/") && media.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_clearly_something_else_is_not_read_as_json() {
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
