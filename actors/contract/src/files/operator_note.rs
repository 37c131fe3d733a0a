//! The note of an operator on a home, for the next one: `operator_note.json`.

use serde::{Deserialize, Serialize};

/// Name of the note in the home.
pub const FILE_NAME: &str = "operator_note.json";
/// Longest note that is read, in bytes.
pub const MAX_BYTES: u64 = 16 * 1024;

/// A note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorNote {
    /// What it says.
    pub text: String,
    /// Its author.
    pub by: String,
    /// When it was written, RFC 3339; shown as it is.
    pub at: String,
}

impl OperatorNote {
    /// The bytes of the file.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "texts always have a JSON form")]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts always have a JSON form")
    }

    /// Reads a note; `None` for anything else.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_is_cut_off_or_of_another_shape_is_none() {
        let note = OperatorNote { text: "disk is full".into(), by: "night shift".into(), at: "1970-01-01".into() };
        let whole = note.to_json();
        assert_eq!(OperatorNote::parse(&whole), Some(note));
        for length in 0..whole.len() {
            assert_eq!(OperatorNote::parse(&whole[..length]), None);
        }
        for other in [r#"{"text":7,"by":"a","at":"1970-01-01T00:00:00Z"}"#, r#"{"text":"a","by":"b","at":null}"#, "[]"]
        {
            assert_eq!(OperatorNote::parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(OperatorNote::parse("[".repeat(100_000).as_bytes()), None);
    }
}
