//! The process of a gateway, in the format of the original's `gateway.lock` and `gateway.pid`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::drain::epoch;
use crate::files::small::of_the_kernel;

/// The value by which the original's tools recognise the record of a gateway.
const KIND: &str = "hermes-gateway";

/// A gateway's process, as it writes its own record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessIdentity {
    /// Its process id.
    pub pid: u32,
    kind: &'static str,
    /// Its arguments. No flag of ours takes a secret.
    argv: Vec<String>,
    /// Its start time, which distinguishes it from another process with the same id; `None` if the system has none.
    start_time: Option<u64>,
}

/// A gateway's process, as found in a record: ours or the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Its process id.
    pub pid: u32,
    /// Its start time, if recorded.
    pub start_time: Option<u64>,
}

impl ProcessIdentity {
    /// This process, started with `argv`.
    #[must_use]
    pub fn own(argv: Vec<String>) -> Self {
        let pid = std::process::id();
        Self { pid, kind: KIND, argv, start_time: start_time(pid) }
    }

    /// The same as read by others.
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

    /// Whether exactly this process runs now. Without a start time it cannot be distinguished from a later one with its id.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.start_time.is_some() && start_time(self.pid) == self.start_time
    }
}

/// The start time of a process, in ticks since the machine started; `None` if there is no process, or no `/proc`.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    epoch::start_time(&of_the_kernel(format!("/proc/{pid}/stat"))?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_reads_back_as_the_living_process() {
        let own = ProcessIdentity::own(vec!["hermes-gateway".to_owned()]);
        let written = Written::parse(&own.to_json()).unwrap();
        assert_eq!(written.pid, std::process::id());
        assert!(written.is_alive());
    }

    #[test]
    fn a_later_process_with_the_same_id_is_another_one() {
        let own = Written::parse(&ProcessIdentity::own(Vec::new()).to_json()).unwrap();
        assert!(!Written { start_time: own.start_time.map(|time| time + 1), ..own }.is_alive());
        assert!(!Written { start_time: None, ..own }.is_alive());
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
