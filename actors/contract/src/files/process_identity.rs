//! Which process a gateway is, in the words of the original's `gateway.lock` and `gateway.pid`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The word by which the original's tools know a record of a gateway.
const KIND: &str = "hermes-gateway";

/// A gateway's process, as it writes itself down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessIdentity {
    /// Its id.
    pub pid: u32,
    kind: &'static str,
    /// How it was started. No flag of ours takes a secret.
    argv: Vec<String>,
    /// When it was started, so that another process with the same id is told apart; `None` where the system does not say.
    start_time: Option<u64>,
}

/// A gateway's process, as it was found written down: ours or the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Its id.
    pub pid: u32,
    /// When it was started, if that was known.
    pub start_time: Option<u64>,
}

impl ProcessIdentity {
    /// The process `pid`, started with `argv` at `start_time`.
    #[must_use]
    pub fn new(pid: u32, argv: Vec<String>, start_time: Option<u64>) -> Self {
        Self { pid, kind: KIND, argv, start_time }
    }

    /// The same as others read it.
    #[must_use]
    pub fn written(&self) -> Written {
        Written { pid: self.pid, start_time: self.start_time }
    }

    /// The bytes of `gateway.lock` and `gateway.pid`.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "numbers and strings always have a JSON form")]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings always have a JSON form")
    }
}

impl Written {
    /// Reads a record; `None` for whatever is not a gateway's.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) else { return None };
        if fields.get("kind")?.as_str()? != KIND {
            return None;
        }
        let pid = fields.get("pid")?.as_u64().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0)?;
        Some(Self { pid, start_time: fields.get("start_time").and_then(Value::as_u64) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_reads_back() {
        let own = ProcessIdentity::new(7, vec!["hermes-gateway".to_owned()], Some(42));
        assert_eq!(Written::parse(&own.to_json()), Some(Written { pid: 7, start_time: Some(42) }));
    }

    #[test]
    fn what_is_no_record_of_a_gateway_is_nobody() {
        let bad = [
            "",
            "4711",
            "[]",
            r#"{"kind":"hermes-gateway"}"#,
            r#"{"pid":1}"#,
            r#"{"kind":"other","pid":1}"#,
            r#"{"kind":"hermes-gateway","pid":0}"#,
            r#"{"kind":"hermes-gateway","pid":-1}"#,
            r#"{"kind":"hermes-gateway","pid":"1"}"#,
        ];
        for text in bad {
            assert_eq!(Written::parse(text.as_bytes()), None, "{text}");
        }
    }
}
