//! What the ledger holds of people: its export, and the erasure of one person. Bodies and answers of `/api/ledger/export` and
//! `/api/ledger/erase`, and of the messages behind them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ledger::RowDetail;
use crate::ledger_rows::HistoryEntry;
use crate::wire::session::SessionKey;

/// A person, as events name their author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The platform's id of the person.
    pub user: String,
    /// Only on this platform: an id can be that of another person on another one.
    pub platform: Option<String>,
}

impl Person {
    /// Whether a conversation is that of this person alone, by its name.
    #[must_use]
    pub fn is_named_by(&self, session: &SessionKey) -> bool {
        session.user() == Some(self.user.as_str()) && self.is_on(session.platform())
    }

    fn is_on(&self, platform: &str) -> bool {
        self.platform.as_deref().is_none_or(|wanted| wanted == platform)
    }
}

/// A part of the ledger that is gone through from its first row on. An export takes events, replies, conversations; an erasure takes the
/// events, each step of them after all replies so far, and then the others from the conversations on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LedgerPart {
    /// The events.
    Events,
    /// The replies.
    Replies,
    /// The conversations.
    Conversations,
    /// The pages of the file that nothing uses: filled with zeros.
    FreePages,
    /// The room that was filled is given back.
    Filled,
    /// The write-ahead log.
    Log,
}

impl LedgerPart {
    const WORDS: [(Self, &'static str); 6] = [
        (Self::Events, "events"),
        (Self::Replies, "replies"),
        (Self::Conversations, "conversations"),
        (Self::FreePages, "free_pages"),
        (Self::Filled, "filled"),
        (Self::Log, "log"),
    ];
}

/// A place in the ledger: `events-42` is behind the event of row 42. An export continues there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LedgerPlace {
    /// The part.
    pub part: LedgerPart,
    /// The row that was the last one.
    pub after: i64,
}

impl LedgerPlace {
    /// The beginning of a part.
    #[must_use]
    pub fn beginning(part: LedgerPart) -> Self {
        Self { part, after: 0 }
    }
}

/// A place in the erasure of a person: `events-42.100.7`. Events say whose the replies to them are, so all replies so far are gone through
/// before a step erases an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErasurePlace {
    /// The part, and its row that was the last one.
    pub at: LedgerPlace,
    /// The reply that was the last one.
    pub replies: i64,
    /// Events from this row on are left: it has a reply that was not done, and that belongs to the person by this event only.
    pub left_from: Option<i64>,
}

impl ErasurePlace {
    /// The beginning of an erasure.
    pub const BEGINNING: Self =
        Self { at: LedgerPlace { part: LedgerPart::Events, after: 0 }, replies: 0, left_from: None };

    /// The beginning of a part behind the events.
    #[must_use]
    pub fn beginning(part: LedgerPart) -> Self {
        Self { at: LedgerPlace::beginning(part), ..Self::BEGINNING }
    }
}

/// The text names no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a place in the ledger")]
pub struct LedgerPlaceError;

/// A row number in the text of a place.
fn row_number(text: &str) -> Result<i64, LedgerPlaceError> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(LedgerPlaceError);
    }
    text.parse().map_err(|_| LedgerPlaceError)
}

impl fmt::Display for LedgerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = LedgerPart::WORDS.iter().find(|(part, _)| *part == self.part).map_or("", |(_, word)| *word);
        write!(f, "{word}-{}", self.after)
    }
}

impl FromStr for LedgerPlace {
    type Err = LedgerPlaceError;

    fn from_str(text: &str) -> Result<Self, LedgerPlaceError> {
        let (word, row) = text.split_once('-').ok_or(LedgerPlaceError)?;
        let (part, _) = LedgerPart::WORDS.iter().find(|(_, known)| *known == word).ok_or(LedgerPlaceError)?;
        Ok(Self { part: *part, after: row_number(row)? })
    }
}

impl fmt::Display for ErasurePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at, self.replies)?;
        self.left_from.map_or(Ok(()), |row| write!(f, ".{row}"))
    }
}

impl FromStr for ErasurePlace {
    type Err = LedgerPlaceError;

    /// What is missing at the end is that of the beginning: the replies are gone through once more, which changes nothing.
    fn from_str(text: &str) -> Result<Self, LedgerPlaceError> {
        let mut parts = text.split('.');
        let at = parts.next().unwrap_or_default().parse()?;
        let replies = parts.next().map_or(Ok(0), row_number)?;
        let left_from = parts.next().map(row_number).transpose()?;
        if parts.next().is_some() { Err(LedgerPlaceError) } else { Ok(Self { at, replies, left_from }) }
    }
}

/// Places are texts in JSON.
macro_rules! as_text {
    ($place:ty) => {
        impl Serialize for $place {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $place {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(LedgerPlace);
as_text!(ErasurePlace);

/// One line of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExportedRow {
    /// An event, with its text.
    Event(RowDetail),
    /// A reply, with its text.
    Reply(RowDetail),
    /// Some entries of a conversation that were recorded together.
    History(ExportedHistory),
}

/// Some entries of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedHistory {
    /// The row.
    pub row: i64,
    /// The session, as on the wire; `None` if it is corrupt.
    pub session: Option<String>,
    /// Its profile.
    pub profile: Option<String>,
    /// The entries; `None` of a corrupt row.
    pub entries: Option<Vec<HistoryEntry>>,
}

/// One page of an export. It may be empty although others follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportPage {
    /// The rows.
    pub rows: Vec<ExportedRow>,
    /// The stored names of the sessions of these events: what the conversations of a person are found by.
    pub sessions: Vec<String>,
    /// Where the next page begins; `None` if this is the last one.
    pub next: Option<LedgerPlace>,
}

/// What one step of the erasure of a person did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedPart {
    /// Events whose text and author are erased.
    pub events: u64,
    /// Replies whose text and recipient are erased.
    pub replies: u64,
    /// Conversations that are deleted.
    pub conversations: u64,
    /// Of these, those that other people may have taken part in.
    pub shared_conversations: u64,
    /// Events and replies that are not done, and so were left.
    pub open: u64,
    /// Where the next step begins; `None` if this was the last one.
    pub next: Option<ErasurePlace>,
    /// Files beside the ledger that may still have texts of the person; in the answer of the last step.
    pub left: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        for (part, word) in LedgerPart::WORDS {
            let place = LedgerPlace { part, after: 42 };
            assert_eq!((place.to_string(), place.to_string().parse()), (format!("{word}-42"), Ok(place)));
        }
        for bad in ["", "events", "events-", "events-x", "events-+1", "events--1", "in-1", "log-99999999999999999999"] {
            assert_eq!(bad.parse::<LedgerPlace>(), Err(LedgerPlaceError), "{bad:?}");
        }
    }

    #[test]
    fn a_place_of_an_erasure_is_read_as_it_is_written_and_is_the_safe_one_without_its_end() {
        let at = LedgerPlace { part: LedgerPart::Events, after: 42 };
        for (text, replies, left_from) in [("events-42.100.7", 100, Some(7)), ("events-42.100", 100, None)] {
            let place = ErasurePlace { at, replies, left_from };
            assert_eq!((place.to_string().as_str(), text.parse()), (text, Ok(place)));
        }
        assert_eq!("events-0".parse(), Ok(ErasurePlace::BEGINNING));
        for bad in
            ["", "events", "events-1.", "events-1.x", "events-1.2.-3", "events-1.2.3.4", "events-1.2.+3", "in-1.2"]
        {
            assert_eq!(bad.parse::<ErasurePlace>(), Err(LedgerPlaceError), "{bad:?}");
        }
    }
}
