//! The answer of a server: the head, then the body in pieces or whole.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use tracing::debug;
use zeroize::Zeroizing;

use super::decompress::Decompressor;
use super::error::{HttpError, HttpLimits};
use crate::error_chain::error_chain;

/// The answer of a server whose head has arrived. Dropping it ends the call.
pub struct CallResponse {
    status: u16,
    headers: HeaderMap,
    body: Incoming,
    limits: HttpLimits,
    /// The deadline of the whole call.
    due: Option<Instant>,
    /// Bytes that may still arrive, before and after decompression.
    left: [usize; 2],
    decompressor: Option<Decompressor>,
}

/// A body that has ended, with or without an error.
pub struct Collected {
    /// The status of the answer.
    pub status: u16,
    /// The bytes that arrived.
    pub body: Zeroizing<Vec<u8>>,
    /// The error, if the body is incomplete.
    pub broken: Option<HttpError>,
}

impl CallResponse {
    pub(super) fn new(answer: Response<Incoming>, limits: HttpLimits, due: Option<Instant>) -> Result<Self, HttpError> {
        let (head, body) = answer.into_parts();
        let status = head.status.as_u16();
        if head.status.is_informational() {
            return Err(HttpError::Malformed(format!("it ends with the interim status {status}")));
        }
        if head.status.is_redirection() && head.headers.contains_key(LOCATION) {
            return Err(HttpError::Redirect { status, to: head.headers.get(LOCATION).and_then(origin) });
        }
        let decompressor = encoding(&head.headers).map(|encoding| {
            debug!(encoding, "compressed answer although none was accepted");
            Decompressor::of(&encoding).ok_or(HttpError::Compressed(encoding))
        });
        let left = [limits.body; 2];
        Ok(Self { status, headers: head.headers, body, limits, due, left, decompressor: decompressor.transpose()? })
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The wait that the server requests, in seconds or as a date.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.headers.get(RETRY_AFTER)?.to_str().ok()?)
    }

    /// The next piece of the body; `None` at its end. Must not be called after an error.
    pub async fn piece(&mut self) -> Option<Result<Bytes, HttpError>> {
        loop {
            let idle_due = Instant::now() + self.limits.idle;
            let due = self.due.map_or(idle_due, |due| due.min(idle_due));
            let frame = match timeout_at(due, self.body.frame()).await {
                Ok(None) => return self.decompressor.take()?.end().map(Err),
                Ok(Some(frame)) => frame,
                Err(_) if due < idle_due => {
                    return Some(Err(HttpError::TooSlow(self.limits.total.unwrap_or_default())));
                }
                Err(_) => return Some(Err(HttpError::Stalled(self.limits.idle))),
            };
            match frame.map(hyper::body::Frame::into_data) {
                Err(error) => return Some(Err(HttpError::Cut(error_chain(&error)))),
                Ok(Ok(bytes)) => match self.taken(bytes) {
                    Ok(bytes) if bytes.is_empty() => {}
                    taken => return Some(taken),
                },
                // Trailers have nothing that is needed.
                Ok(Err(_)) => {}
            }
        }
    }

    /// All of the body, or the part that arrived.
    pub async fn collect(mut self) -> Collected {
        let mut collected = Collected { status: self.status, body: Zeroizing::default(), broken: None };
        while let Some(piece) = self.piece().await {
            match piece {
                Ok(bytes) => append(&mut collected.body, &bytes),
                Err(error) => collected.broken = Some(error),
            }
            if collected.broken.is_some() {
                break;
            }
        }
        collected
    }

    /// A piece as received, counted and decompressed.
    fn taken(&mut self, bytes: Bytes) -> Result<Bytes, HttpError> {
        let [raw, unpacked] = &mut self.left;
        let too_large = HttpError::TooLarge(self.limits.body);
        *raw = raw.checked_sub(bytes.len()).ok_or_else(|| too_large.clone())?;
        let bytes = match &mut self.decompressor {
            Some(decompressor) => decompressor.feed(&bytes, *unpacked)?.ok_or_else(|| too_large.clone())?,
            None => bytes,
        };
        *unpacked = unpacked.checked_sub(bytes.len()).ok_or(too_large)?;
        Ok(bytes)
    }
}

/// The encoding, although none was accepted.
fn encoding(headers: &HeaderMap) -> Option<String> {
    let mut named = headers.get_all(CONTENT_ENCODING).iter();
    let named = named.find(|value| !value.is_empty() && !value.as_bytes().eq_ignore_ascii_case(b"identity"))?;
    // A code of the protocol; the field may contain anything.
    let word = |text: &&str| {
        text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b", -".contains(&byte))
    };
    Some(named.to_str().ok().filter(word).unwrap_or("something odd").to_owned())
}

/// Grows without leaving copies of secrets behind.
fn append(body: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    if body.capacity() - body.len() < bytes.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((body.len() + bytes.len()).max(2 * body.capacity())));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(bytes);
}

impl Collected {
    /// Whether the status is a success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON. A truncated body counts if an object or a list is complete: no shorter text is one.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        let value: Value = json(&self.body).ok()?;
        (self.broken.is_none() || value.is_object() || value.is_array()).then_some(value)
    }

    /// The whole body.
    ///
    /// # Errors
    /// Why it is incomplete.
    pub fn whole(self) -> Result<Zeroizing<Vec<u8>>, HttpError> {
        match self.broken {
            None => Ok(self.body),
            Some(broken) => Err(broken),
        }
    }
}

/// Without the body, which may contain secrets.
impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.body.len();
        f.debug_struct("Collected")
            .field("status", &self.status)
            .field("bytes", &bytes)
            .field("broken", &self.broken)
            .finish()
    }
}

impl fmt::Debug for CallResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Reads JSON as servers write it: a byte-order mark is accepted.
///
/// # Errors
/// The position of the syntax error.
pub fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body))
}

/// Only scheme and host: path and query may contain secrets.
fn origin(location: &http::HeaderValue) -> Option<String> {
    let uri: Uri = location.to_str().ok()?.parse().ok()?;
    let authority = uri.authority()?;
    let port = authority.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{}{port}", uri.scheme_str()?, authority.host()))
}

/// Seconds, possibly with a fraction, or a date; a past one means now.
pub(super) fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = SystemTime::from(text.parse::<actix_http::header::HttpDate>().ok()?);
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_given_in_seconds_or_as_a_date() {
        assert_eq!(retry_after(" 30 "), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("1.5"), Some(Duration::from_millis(1_500)));
        assert_eq!(retry_after("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        for odd in ["soon", "-1", "", "inf", "NaN"] {
            assert_eq!(retry_after(odd), None, "{odd}");
        }
    }
}
