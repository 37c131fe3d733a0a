//! Rows of the ledger as operators see them: bodies and answers of `/api/ledger`, and of the messages behind it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ledger_rows::{InboundId, InboundState, OutboundId, OutboundState};

/// A row of the ledger: `in-42` is an event, `out-7` is a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowId {
    /// An event.
    Event(InboundId),
    /// A reply, or a notice of the gateway.
    Reply(OutboundId),
}

/// The text names no row. Another try with the same text cannot help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row is named in-N (an event) or out-N (a reply), as `caduceus ledger list` prints it")]
pub struct RowIdError;

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(InboundId(row)) => write!(f, "in-{row}"),
            Self::Reply(OutboundId(row)) => write!(f, "out-{row}"),
        }
    }
}

impl FromStr for RowId {
    type Err = RowIdError;

    fn from_str(text: &str) -> Result<Self, RowIdError> {
        let (kind, number) = text.split_once('-').ok_or(RowIdError)?;
        // `parse` alone accepts a sign.
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RowIdError);
        }
        let row = number.parse().map_err(|_| RowIdError)?;
        match kind {
            "in" => Ok(Self::Event(InboundId(row))),
            "out" => Ok(Self::Reply(OutboundId(row))),
            _ => Err(RowIdError),
        }
    }
}

impl Serialize for RowId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RowId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The state of an event or of a reply. Some words are states of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowState {
    /// See [`InboundState::Received`].
    Received,
    /// See [`InboundState::Held`].
    Held,
    /// See [`InboundState::Running`].
    Running,
    /// See [`InboundState::Interrupted`].
    Interrupted,
    /// See [`InboundState::Done`].
    Done,
    /// See [`InboundState::Failed`].
    Failed,
    /// See [`OutboundState::Pending`].
    Pending,
    /// See [`OutboundState::Sending`].
    Sending,
    /// See [`OutboundState::Ambiguous`].
    Ambiguous,
    /// See [`OutboundState::Delivered`].
    Delivered,
    /// See [`InboundState::Refused`] and [`OutboundState::Refused`].
    Refused,
    /// See [`InboundState::Dead`] and [`OutboundState::Dead`].
    Dead,
    /// The row does not match its checksum: it is kept and not used.
    Corrupt,
}

impl RowState {
    /// All of them, each with its word.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Received, "received"),
        (Self::Held, "held"),
        (Self::Running, "running"),
        (Self::Interrupted, "interrupted"),
        (Self::Done, "done"),
        (Self::Failed, "failed"),
        (Self::Pending, "pending"),
        (Self::Sending, "sending"),
        (Self::Ambiguous, "ambiguous"),
        (Self::Delivered, "delivered"),
        (Self::Refused, "refused"),
        (Self::Dead, "dead"),
        (Self::Corrupt, "corrupt"),
    ];

    /// What is neither finished nor refused: it waits, is in work, was interrupted, or was given up.
    pub const OPEN_OR_DEAD: [Self; 9] = [
        Self::Received,
        Self::Held,
        Self::Running,
        Self::Interrupted,
        Self::Pending,
        Self::Sending,
        Self::Ambiguous,
        Self::Dead,
        Self::Corrupt,
    ];

    /// The state with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(state, _)| *state)
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, word)| *word)
    }

    /// The state of an event, if events have it.
    #[must_use]
    pub fn of_event(self) -> Option<InboundState> {
        Some(match self {
            Self::Received => InboundState::Received,
            Self::Held => InboundState::Held,
            Self::Running => InboundState::Running,
            Self::Interrupted => InboundState::Interrupted,
            Self::Done => InboundState::Done,
            Self::Failed => InboundState::Failed,
            Self::Refused => InboundState::Refused,
            Self::Dead => InboundState::Dead,
            Self::Pending | Self::Sending | Self::Ambiguous | Self::Delivered | Self::Corrupt => return None,
        })
    }

    /// The state of a reply, if replies have it.
    #[must_use]
    pub fn of_reply(self) -> Option<OutboundState> {
        Some(match self {
            Self::Pending => OutboundState::Pending,
            Self::Sending => OutboundState::Sending,
            Self::Ambiguous => OutboundState::Ambiguous,
            Self::Delivered => OutboundState::Delivered,
            Self::Refused => OutboundState::Refused,
            Self::Dead => OutboundState::Dead,
            Self::Received
            | Self::Held
            | Self::Running
            | Self::Interrupted
            | Self::Done
            | Self::Failed
            | Self::Corrupt => return None,
        })
    }
}

impl From<InboundState> for RowState {
    fn from(state: InboundState) -> Self {
        match state {
            InboundState::Received => Self::Received,
            InboundState::Running => Self::Running,
            InboundState::Done => Self::Done,
            InboundState::Failed => Self::Failed,
            InboundState::Interrupted => Self::Interrupted,
            InboundState::Refused => Self::Refused,
            InboundState::Held => Self::Held,
            InboundState::Dead => Self::Dead,
        }
    }
}

impl From<OutboundState> for RowState {
    fn from(state: OutboundState) -> Self {
        match state {
            OutboundState::Pending => Self::Pending,
            OutboundState::Sending => Self::Sending,
            OutboundState::Delivered => Self::Delivered,
            OutboundState::Refused => Self::Refused,
            OutboundState::Ambiguous => Self::Ambiguous,
            OutboundState::Dead => Self::Dead,
        }
    }
}

/// One row, without what people wrote. Of a corrupt row only the id is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSummary {
    /// The row.
    pub id: RowId,
    /// Its state.
    pub state: RowState,
    /// The profile; `None` for a notice of the gateway, and for a reply whose event is deleted.
    pub profile: Option<String>,
    /// The link over which it came or goes.
    pub link: Option<String>,
    /// The platform of the chat.
    pub platform: Option<String>,
    /// The chat.
    pub chat_id: Option<String>,
    /// The thread in the chat.
    pub thread_id: Option<String>,
    /// How often its turn began, or how often it was sent.
    pub attempts: Option<u32>,
    /// Milliseconds since 1970 at which it was recorded.
    pub recorded_at_ms: Option<i64>,
    /// Milliseconds since then, by the clock of the gateway.
    pub age_ms: Option<u64>,
    /// Of an event: why it is in its state, without content.
    pub note: Option<String>,
}

impl RowSummary {
    /// A row that does not match its checksum.
    #[must_use]
    pub fn corrupt(id: RowId) -> Self {
        Self {
            id,
            state: RowState::Corrupt,
            profile: None,
            link: None,
            platform: None,
            chat_id: None,
            thread_id: None,
            attempts: None,
            recorded_at_ms: None,
            age_ms: None,
            note: None,
        }
    }
}

/// Some rows: events, then replies, each from the oldest on. A page may be empty although others follow: the ledger looks at a limited
/// number of rows for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsPage {
    /// The rows.
    pub rows: Vec<RowSummary>,
    /// The row after which the next page begins; `None` if this is the last one.
    pub next: Option<RowId>,
}

/// The process that wrote something, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowWriter {
    /// The number of its term: each start of a process on the ledger begins one. 0: an earlier version, which did not note it.
    pub term: i64,
    /// Its host.
    pub host: Option<String>,
    /// Milliseconds since 1970 at which the term began.
    pub started_at_ms: Option<i64>,
}

/// One row with all that is known of it. Its text is there only if it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowDetail {
    /// What a list has of it.
    #[serde(flatten)]
    pub row: RowSummary,
    /// Of a reply: the event that it answers.
    pub answers: Option<RowId>,
    /// The session, as on the wire; of an event.
    pub session: Option<String>,
    /// The person.
    pub user_id: Option<String>,
    /// The scope of the chat.
    pub scope_id: Option<String>,
    /// The bot.
    pub bot_id: Option<String>,
    /// The turn that ran it, or that made it.
    pub turn: Option<String>,
    /// The id of the gateway at its connector; of an event.
    pub gateway: Option<String>,
    /// The platform's id of the message.
    pub message_id: Option<String>,
    /// Of a reply: why the connector refused it, in its words.
    pub error: Option<String>,
    /// Of a reply: the reply as which an operator has sent it again; `out-0` if its record is damaged, so that this is not known.
    pub sent_again_as: Option<RowId>,
    /// Milliseconds since 1970 at which its frame was read; of an event.
    pub arrived_at_ms: Option<i64>,
    /// At which its turn began last; of an event.
    pub begun_at_ms: Option<i64>,
    /// At which it was sent last; of a reply.
    pub sent_at_ms: Option<i64>,
    /// At which it got its state.
    pub changed_at_ms: Option<i64>,
    /// The process that recorded it.
    pub recorded_by: Option<RowWriter>,
    /// The process that wrote its state.
    pub changed_by: Option<RowWriter>,
    /// The length of its text in bytes.
    pub text_bytes: Option<u64>,
    /// The event as it was received, or the action as it is sent: JSON. Personal data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl RowDetail {
    /// A row that does not match its checksum.
    #[must_use]
    pub fn corrupt(id: RowId) -> Self {
        Self {
            row: RowSummary::corrupt(id),
            answers: None,
            session: None,
            user_id: None,
            scope_id: None,
            bot_id: None,
            turn: None,
            gateway: None,
            message_id: None,
            error: None,
            sent_again_as: None,
            arrived_at_ms: None,
            begun_at_ms: None,
            sent_at_ms: None,
            changed_at_ms: None,
            recorded_by: None,
            changed_by: None,
            text_bytes: None,
            text: None,
        }
    }
}

/// Answer of `GET /api/ledger/rows/{id}/text`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowTextResponse {
    /// The row.
    pub id: RowId,
    /// Its text, with known secrets redacted; `None` of a corrupt row.
    pub text: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_named_by_its_kind_and_its_number() {
        for (text, row) in [("in-42", RowId::Event(InboundId(42))), ("out-7", RowId::Reply(OutboundId(7)))] {
            assert_eq!((text.parse(), row.to_string()), (Ok(row), text.to_owned()));
        }
        for bad in [
            "",
            "42",
            "in",
            "in-",
            "in-+1",
            "in--1",
            "in-1 ",
            " in-1",
            "IN-1",
            "turn-1",
            "in-1x",
            "in-99999999999999999999",
        ] {
            assert_eq!(bad.parse::<RowId>(), Err(RowIdError), "{bad:?}");
        }
    }

    #[test]
    fn each_state_has_a_word_and_is_one_of_events_or_replies() {
        for (state, word) in RowState::ALL {
            assert_eq!((state.word(), RowState::parse(word)), (word, Some(state)));
            assert_eq!(serde_json::to_value(state).unwrap(), word);
            let of_one = state.of_event().is_some() || state.of_reply().is_some();
            assert_eq!(of_one, state != RowState::Corrupt, "{word}");
            assert!(state.of_event().is_none_or(|of_event| RowState::from(of_event) == state));
            assert!(state.of_reply().is_none_or(|of_reply| RowState::from(of_reply) == state));
        }
        assert_eq!(RowState::parse("Dead"), None);
    }
}
