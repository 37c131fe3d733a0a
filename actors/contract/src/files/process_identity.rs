//! The process of a gateway, in the format of the original's `gateway.lock` and `gateway.pid`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The value by which the original's tools recognise the record of a gateway.
const KIND: &str = "hermes-gateway";

/// A gateway's process, as it writes its own record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessIdentity {
    /// Its process id.
    pub pid: u32,
    kind: &'static str,
    /// Its arguments. No flag of Caduceus takes a secret.
    argv: Vec<String>,
    /// Its start time, which distinguishes it from another process with the same id; `None` if the system has none.
    start_time: Option<u64>,
}

/// A gateway's process, as found in a record: of Caduceus or of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedProcess {
    /// Its process id.
    pub pid: u32,
    /// Its start time, if recorded.
    pub start_time: Option<u64>,
}

impl ProcessIdentity {
    /// The process `pid`, started with `argv` at `start_time`.
    #[must_use]
    pub fn new(pid: u32, argv: Vec<String>, start_time: Option<u64>) -> Self {
        Self { pid, kind: KIND, argv, start_time }
    }

    /// The process as it is read from the record.
    #[must_use]
    pub fn recorded(&self) -> RecordedProcess {
        RecordedProcess { pid: self.pid, start_time: self.start_time }
    }

    /// The bytes of `gateway.lock` and `gateway.pid`.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "numbers and strings always have a JSON form")]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings always have a JSON form")
    }
}

impl RecordedProcess {
    /// Reads a record; `None` if it is not a gateway's.
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
    fn a_written_record_reads_back() {
        let own = ProcessIdentity::new(7, vec!["hermes-gateway".to_owned()], Some(42));
        assert_eq!(RecordedProcess::parse(&own.to_json()), Some(RecordedProcess { pid: 7, start_time: Some(42) }));
    }

    #[test]
    fn a_text_that_is_not_a_record_is_none() {
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
            assert_eq!(RecordedProcess::parse(text.as_bytes()), None, "{text}");
        }
    }
}
