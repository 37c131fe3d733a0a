//! The drain marker `.drain_request.json`: the content that we write, and the meaning of one that is found.
//!
//! Its presence requests a drain. Unreadable content requests one too.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::epoch::Epoch;
use crate::json::truthy;

/// Name of the marker in the home of the gateway or of a profile.
pub const FILE_NAME: &str = ".drain_request.json";

/// Most bytes of a marker that are read. One that Caduceus writes has some 200.
pub const MAX_BYTES: usize = 64 * 1024;

/// A marker to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// When the drain was requested.
    pub requested_at: Timestamp,
    /// The requester, for example `drain-control`, `dashboard` or `cli`.
    pub principal: String,
    /// This boot of the machine, `None` if unknown.
    pub epoch: Option<Epoch>,
    /// Whether the shutdown that ends this drain is not announced in the home channel.
    pub suppress_notification: bool,
    /// When the drain ends automatically.
    pub deadline: Option<Timestamp>,
}

/// The meaning of a marker that was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four independent properties of one marker")]
pub struct MarkerReading {
    /// Whether it requests a drain now.
    pub draining: bool,
    /// Whether it is from a previous boot, and so requests nothing.
    pub stale: bool,
    /// Whether the shutdown that ends this drain is not announced in the home channel.
    pub suppressed: bool,
    /// Whether its content was unreadable. It drains nevertheless.
    pub malformed: bool,
    /// When the drain ends automatically.
    pub deadline: Option<Timestamp>,
    /// The requester, as written.
    pub principal: Option<String>,
    /// When it was requested, as written: the original's timestamps have another format.
    pub requested_at: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    action: &'static str,
    requested_at: String,
    principal: &'a str,
    epoch: &'a str,
    suppress_notification: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_at: Option<String>,
}

impl Marker {
    /// The bytes of the file.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "strings and flags always have a JSON form")]
    pub fn to_json(&self) -> Vec<u8> {
        let document = Document {
            action: "drain",
            requested_at: self.requested_at.to_string(),
            principal: &self.principal,
            // The original writes the empty text if it is unknown, and reads it as missing.
            epoch: self.epoch.as_ref().map_or("", Epoch::as_str),
            suppress_notification: self.suppress_notification,
            deadline_at: self.deadline.map(|deadline| deadline.to_string()),
        };
        serde_json::to_vec(&document).expect("strings and flags always have a JSON form")
    }
}

/// The meaning of a marker with this content in the current boot.
///
/// Without an epoch on either side its presence alone decides. More than [`MAX_BYTES`] count as unreadable.
#[must_use]
pub fn read(bytes: &[u8], now: Option<&Epoch>) -> MarkerReading {
    let malformed = MarkerReading { draining: true, malformed: true, ..MarkerReading::default() };
    if bytes.len() > MAX_BYTES {
        return malformed;
    }
    // Nesting beyond the parser's limit is an error too, and so means drain.
    let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) else { return malformed };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let epoch = fields.get("epoch").filter(|epoch| truthy(epoch));
    let stale = epoch.zip(now).is_some_and(|(epoch, now)| epoch.as_str() != Some(now.as_str()));
    MarkerReading {
        draining: !stale,
        stale,
        suppressed: !stale && fields.get("suppress_notification").is_some_and(truthy),
        malformed: false,
        deadline: text("deadline_at").and_then(|deadline| deadline.parse().ok()),
        principal: text("principal"),
        requested_at: text("requested_at"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marker() -> Marker {
        Marker {
            requested_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            principal: "cli".into(),
            epoch: Epoch::from_text("b:1"),
            suppress_notification: true,
            deadline: "2026-01-01T01:00:00Z".parse().ok(),
        }
    }

    #[test]
    fn a_marker_reads_back() {
        let reading = read(&marker().to_json(), Epoch::from_text("b:1").as_ref());
        assert!(reading.draining && reading.suppressed && !reading.stale && !reading.malformed);
        assert_eq!(reading.principal.as_deref(), Some("cli"));
        assert_eq!(reading.requested_at.as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_eq!(reading.deadline, marker().deadline);
    }

    #[test]
    fn a_marker_of_a_previous_boot_requests_nothing() {
        let reading = read(&marker().to_json(), Epoch::from_text("b:2").as_ref());
        assert!(reading.stale && !reading.draining && !reading.suppressed);
        assert!(read(&marker().to_json(), None).draining);
    }

    #[test]
    fn a_marker_that_is_too_long_drains() {
        let mut bytes = marker().to_json();
        bytes.resize(MAX_BYTES + 1, b' ');
        let reading = read(&bytes, Epoch::from_text("b:2").as_ref());
        assert!(reading.draining && reading.malformed);
    }

    /// How the original, 0.19.0, reads unusual ones; where it is less strict than JSON, we drain instead.
    #[test]
    fn odd_markers_read_as_the_original_reads_them() {
        let now = Epoch::from_text("b:1");
        let of = |text: &str| {
            let reading = read(text.as_bytes(), now.as_ref());
            (reading.draining, reading.suppressed)
        };
        let (stale, drains, quiet) = ((false, false), (true, false), (true, true));
        for (epoch, expected) in [
            (r#""b:1""#, quiet),
            (r#""b:2""#, stale),
            (r#"" b:1""#, stale),
            (r#""""#, quiet),
            ("null", quiet),
            ("false", quiet),
            ("0", quiet),
            ("[]", quiet),
            ("{}", quiet),
            ("1", stale),
            ("true", stale),
            (r#"["b:1"]"#, stale),
        ] {
            assert_eq!(of(&format!(r#"{{"epoch":{epoch},"suppress_notification":"false"}}"#)), expected, "{epoch}");
        }
        for suppress in ["0", "null", r#""""#, "-0.0", "1e-400", "[]"] {
            assert_eq!(of(&format!(r#"{{"suppress_notification":{suppress}}}"#)), drains, "{suppress}");
        }
        for text in
            ["\u{feff}{\"epoch\":\"b:2\"}", r#"{"epoch":"b:2",}"#, r#"{"epoch":"b:2"}x"#, r"{'epoch':'b:2'}", "\0"]
        {
            assert_eq!(of(text), drains, "{text:?}");
        }
        assert_eq!(of(r#"{"epoch":"b:1","epoch":"b:2"}"#), stale, "the last of two counts");
    }

    #[test]
    fn an_invalid_deadline_is_none() {
        for deadline in ["1", "null", r#""soon""#, r#""2026-13-01T00:00:00Z""#, r#""2026-01-01T00:00:00""#, r#"["x"]"#]
        {
            let reading = read(format!(r#"{{"deadline_at":{deadline}}}"#).as_bytes(), None);
            assert!(reading.draining && reading.deadline.is_none(), "{deadline}");
        }
        let offset = read(br#"{"deadline_at":"2026-01-01T01:00:00+01:00"}"#, None).deadline;
        assert_eq!(offset, "2026-01-01T00:00:00Z".parse().ok());
    }

    proptest! {
        #[test]
        fn any_bytes_drain_unless_they_contain_another_epoch(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let reading = read(&bytes, Epoch::from_text("b:1").as_ref());
            prop_assert_eq!(reading.draining, !reading.stale);
        }
    }
}
