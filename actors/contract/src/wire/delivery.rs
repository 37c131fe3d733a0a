//! Signed HTTP deliveries: a signature proves the connector as the origin of a body, and the time.

use hmac::Mac;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::FieldError;
use super::token::{mac, signed_by};

/// Header with the time of signing, in unix seconds.
pub const TIMESTAMP_HEADER: &str = "x-relay-timestamp";

/// Header with the signature, in hex.
pub const SIGNATURE_HEADER: &str = "x-relay-signature";

/// The suffix of the endpoint's path for an [`InterruptDelivery`].
pub const INTERRUPT_SUFFIX: &str = "/interrupt";

/// Largest difference between the time of signing and our clock, in seconds either way.
pub const MAX_SKEW_S: u64 = 300;

/// Length of a signature: HMAC-SHA256.
const SIGNATURE_BYTES: usize = 32;

/// The body of a delivery with an event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventDelivery {
    /// The event as a connector sends it, an object; see [`InboundEvent::parse`](super::event::InboundEvent::parse).
    pub event: Value,
}

/// The body of a delivery that interrupts a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterruptDelivery {
    /// The session, as text.
    pub session_key: String,
    /// Its chat; may be empty.
    #[serde(default)]
    pub chat_id: String,
}

impl EventDelivery {
    /// Takes the event out of a body.
    ///
    /// # Errors
    /// [`FieldError`] if there is none, or it is not an object.
    pub fn read(mut body: Map<String, Value>) -> Result<Self, FieldError> {
        match body.remove("event") {
            Some(event @ Value::Object(_)) => Ok(Self { event }),
            None | Some(Value::Null) => Err(FieldError::Missing("event")),
            Some(_) => Err(FieldError::WrongType("event")),
        }
    }
}

impl InterruptDelivery {
    /// Reads a body. Only the session is required; a chat of another type counts as absent.
    ///
    /// # Errors
    /// [`FieldError`] if no session is named.
    pub fn read(body: &Map<String, Value>) -> Result<Self, FieldError> {
        let text = |name| body.get(name).and_then(Value::as_str);
        let session_key = text("session_key").ok_or(FieldError::WrongType("session_key"))?;
        if session_key.trim().is_empty() {
            return Err(FieldError::Missing("session_key"));
        }
        let chat_id = text("chat_id").unwrap_or_default();
        Ok(Self { session_key: session_key.to_owned(), chat_id: chat_id.to_owned() })
    }
}

/// Why a delivery was refused. The sender sees no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// There is no key to verify with.
    #[error("no delivery key is configured")]
    NoKey,
    /// One of the two headers is missing or empty.
    #[error("the delivery is not signed")]
    Unsigned,
    /// A header is malformed.
    #[error("the time or the signature of the delivery is malformed")]
    Malformed,
    /// It is too old, or from the future.
    #[error("the delivery was signed outside the window")]
    OutsideWindow,
    /// None of the keys signed it.
    #[error("the delivery is not signed by a known key")]
    Signature,
}

/// The index in `keys` of the key that signed the raw `body`.
///
/// # Errors
/// [`DeliveryError`]; the body must not be used then.
pub fn verify(
    body: &[u8],
    timestamp: Option<&str>,
    signature: Option<&str>,
    keys: &[SecretString],
    max_skew_s: u64,
    now_s: i64,
) -> Result<usize, DeliveryError> {
    if keys.is_empty() {
        return Err(DeliveryError::NoKey);
    }
    let (signed_s, signature) = read_headers(timestamp, signature, max_skew_s, now_s)?;
    signed_by(&signature, keys, &[stamp(signed_s).as_bytes(), body]).ok_or(DeliveryError::Signature)
}

/// Checks the headers alone, before the body is read: whether any body can match them.
///
/// # Errors
/// [`DeliveryError`]; every body would be refused.
pub fn check_headers(
    timestamp: Option<&str>,
    signature: Option<&str>,
    max_skew_s: u64,
    now_s: i64,
) -> Result<(), DeliveryError> {
    let (_, signature) = read_headers(timestamp, signature, max_skew_s, now_s)?;
    if signature.len() == SIGNATURE_BYTES { Ok(()) } else { Err(DeliveryError::Malformed) }
}

/// The time of signing and the signature.
fn read_headers(
    timestamp: Option<&str>,
    signature: Option<&str>,
    max_skew_s: u64,
    now_s: i64,
) -> Result<(i64, Vec<u8>), DeliveryError> {
    let timestamp = timestamp.map(str::trim).filter(|text| !text.is_empty()).ok_or(DeliveryError::Unsigned)?;
    let signature = signature.map(str::trim).filter(|text| !text.is_empty()).ok_or(DeliveryError::Unsigned)?;
    let signed_s = timestamp.parse::<i64>().map_err(|_| DeliveryError::Malformed)?;
    let signature = hex::decode(signature).map_err(|_| DeliveryError::Malformed)?;
    if now_s.abs_diff(signed_s) > max_skew_s {
        return Err(DeliveryError::OutsideWindow);
    }
    Ok((signed_s, signature))
}

/// The signature of `body` at `now_s`, in hex; the connector's side.
#[must_use]
pub fn sign(body: &[u8], now_s: i64, key: &SecretString) -> String {
    hex::encode(mac(key, &[stamp(now_s).as_bytes(), body]).finalize().into_bytes())
}

/// The bytes before the body in the signed text: the integer that was read, not its text.
fn stamp(signed_s: i64) -> String {
    format!("{signed_s}.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_read_back_as_they_were_written() {
        let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let event = r#"{"event":{"text":"hi","later":1}}"#;
        assert_eq!(serde_json::to_string(&EventDelivery::read(object(event)).unwrap()).unwrap(), event);
        let interrupt = r#"{"session_key":"s","chat_id":"c"}"#;
        assert_eq!(serde_json::to_string(&InterruptDelivery::read(&object(interrupt)).unwrap()).unwrap(), interrupt);
        for bad in [json!({}), json!({"event": null}), json!({"event": []})] {
            assert!(EventDelivery::read(bad.as_object().unwrap().clone()).is_err(), "{bad}");
        }
        for bad in [json!({}), json!({"session_key": " "}), json!({"session_key": 7})] {
            assert!(InterruptDelivery::read(bad.as_object().unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let keys = [SecretString::from("new"), SecretString::from("old")];
        let signature = sign(b"{}", 1000, &keys[1]);
        let check = |body: &[u8], timestamp: &str, signature: &str, now_s| {
            verify(body, Some(timestamp), Some(signature), &keys, MAX_SKEW_S, now_s)
        };
        assert_eq!(check(b"{}", " 1000 ", &signature.to_uppercase(), 1300), Ok(1));
        assert_eq!(check(b"{}", "+1000", &signature, 700), Ok(1));
        assert_eq!(check(b"{}", "1000", &signature, 1301), Err(DeliveryError::OutsideWindow));
        assert_eq!(check(b"{}", "1000", &signature, i64::MIN), Err(DeliveryError::OutsideWindow));
        assert_eq!(check(b"{} ", "1000", &signature, 1000), Err(DeliveryError::Signature));
        assert_eq!(check(b"{}", "1000", &signature[2..], 1000), Err(DeliveryError::Signature));
        assert_eq!(check(b"{}", "1e3", &signature, 1000), Err(DeliveryError::Malformed));
        assert_eq!(check(b"{}", "1000", "zz", 1000), Err(DeliveryError::Malformed));
        assert_eq!(check(b"{}", "", &signature, 1000), Err(DeliveryError::Unsigned));
        assert_eq!(verify(b"{}", Some("1000"), None, &keys, 1, 1000), Err(DeliveryError::Unsigned));
        assert_eq!(verify(b"{}", Some("1000"), Some("00"), &[], 1, 1000), Err(DeliveryError::NoKey));
    }

    #[test]
    fn headers_that_match_no_body_are_refused_without_one() {
        let good = "ab".repeat(SIGNATURE_BYTES);
        let check = |timestamp, signature| check_headers(timestamp, signature, MAX_SKEW_S, 1000);
        let upper = good.to_uppercase();
        assert_eq!(check(Some(" 1000 "), Some(&upper)), Ok(()));
        assert_eq!(check(None, Some(&good)), Err(DeliveryError::Unsigned));
        assert_eq!(check(Some("1000"), None), Err(DeliveryError::Unsigned));
        assert_eq!(check(Some("1301"), Some(&good)), Err(DeliveryError::OutsideWindow));
        for signature in ["00", "zz", &good[2..], &format!("{good}00")] {
            assert_eq!(check(Some("1000"), Some(signature)), Err(DeliveryError::Malformed), "{signature}");
        }
    }
}
