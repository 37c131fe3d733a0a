//! A frame that expects an acknowledgement and cannot be used: stored in the ledger and acknowledged, because the connector would
//! send it again endlessly. No I/O.

use std::sync::Arc;

use serde_json::json;

use caduceus_contract::json::RawJson;
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::ledger::{DEAD_LETTER, InboundState, Receipt, RecordInbound};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::event::{RELAY, Source};
use caduceus_contract::wire::session::{SessionKey, SessionRules};

/// Bytes of a frame that are stored. The ledger holds many rows, and the beginning is enough to find the fault.
const MAX_KEPT: usize = 64 * 1024;

/// The stored part of such a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeadLetter {
    /// Why it cannot be used; none of its content.
    pub(super) reason: String,
    /// Its length in bytes.
    pub(super) bytes: u64,
    /// Its beginning; empty for a frame that was too long to be buffered.
    frame: Option<String>,
}

impl DeadLetter {
    /// For a line that was received.
    pub(super) fn of(line: &[u8], reason: String) -> Self {
        let beginning = &line[..line.len().min(MAX_KEPT)];
        let frame = Some(String::from_utf8_lossy(beginning).into_owned());
        Self { reason, bytes: line.len() as u64, frame }
    }

    /// For a line that was skipped unread.
    pub(super) fn skipped(bytes: u64, reason: String) -> Self {
        Self { reason, bytes, frame: None }
    }

    /// The row of the ledger, under the profile that the link belongs to. Its state is final: it never runs.
    pub(super) fn record(
        &self,
        link: LinkId,
        receipt: Receipt,
        profile: ProfileName,
        buffer_id: Option<String>,
        digest: [u8; 32],
    ) -> RecordInbound {
        let source = Source { platform: RELAY.into(), chat_type: "dm".into(), ..Source::default() };
        let session = SessionKey::new(&source, &profile, SessionRules::default());
        let target = Arc::new(Target {
            link,
            platform: source.platform,
            bot_id: None,
            chat_id: source.chat_id,
            scope_id: None,
            user_id: None,
            thread_id: None,
        });
        let letter = json!({"reason": self.reason, "bytes": self.bytes, "frame": self.frame});
        RecordInbound {
            target,
            receipt,
            buffer_id,
            digest,
            message_id: None,
            profile,
            session,
            event: RawJson::of(&json!({DEAD_LETTER: letter})),
            state: InboundState::Dead,
            turn: None,
            note: Some(self.reason.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn row(letter: &DeadLetter) -> Value {
        let receipt = Receipt { gateway: None, arrived_at_ms: 5 };
        let profile = ProfileName::default_profile();
        let record = letter.record(LinkId::process(), receipt.clone(), profile, Some("b".into()), [7; 32]);
        assert_eq!(record.receipt, receipt);
        assert_eq!((record.state, record.message_id, record.digest), (InboundState::Dead, None, [7; 32]));
        serde_json::from_str::<Value>(record.event.get()).unwrap()["dead_letter"].take()
    }

    #[test]
    fn the_frame_is_kept_unchanged_with_the_reason() {
        let line = br#"{"type":"inbound","event":{"text":"\ud800"},"bufferId":"b"}"#;
        let kept = row(&DeadLetter::of(line, "no event".into()));
        assert_eq!(kept["frame"], std::str::from_utf8(line).unwrap());
        assert_eq!((&kept["reason"], &kept["bytes"]), (&json!("no event"), &json!(line.len())));
        let odd = row(&DeadLetter::of(b"{\"a\":\"\xff\0\"", "no JSON".into()));
        assert_eq!(odd["frame"], "{\"a\":\"\u{fffd}\0\"");
    }

    #[test]
    fn a_long_frame_is_truncated_and_a_skipped_one_is_not_kept() {
        let kept = row(&DeadLetter::of("ä".repeat(MAX_KEPT).as_bytes(), String::new()));
        assert_eq!(
            (kept["frame"].as_str().unwrap().chars().count(), &kept["bytes"]),
            (MAX_KEPT / 2, &json!(MAX_KEPT * 2))
        );
        assert_eq!(row(&DeadLetter::skipped(9, String::new()))["frame"], Value::Null);
    }
}
