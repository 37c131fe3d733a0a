//! Whose a row is, by the columns of the file. `ledger::belonging` decides.

use std::borrow::Cow;

use rusqlite::{OptionalExtension, Row};

use super::transaction::SqliteTransaction;
use crate::ledger::belonging::{DeadLetters, EventColumns, ReplyColumns};
use caduceus_contract::api::ledger_data::Person;
use caduceus_contract::messages::ledger::{InboundId, InboundRow, OutboundRow};
use caduceus_contract::wire::session::SessionKey;

/// The columns of an event that say whose it is, for [`event_at`]; the text of one from a chat is not read.
pub(super) const EVENT_COLUMNS: &str = "inbound.user_id, inbound.platform, inbound.session, \
     CASE WHEN inbound.platform = 'relay' THEN inbound.event END";

/// Whether an event belongs to `person`.
pub(super) fn is_event_of(person: &Person, row: &InboundRow, letters: DeadLetters) -> bool {
    EventColumns {
        user: row.target.user_id.as_deref(),
        platform: Some(&row.target.platform),
        session: Some(&row.session),
        text: Some(&row.event),
    }
    .is_of(person, letters)
}

/// Whether a reply belongs to `person`.
pub(super) fn is_reply_of(
    store: &SqliteTransaction<'_>,
    person: &Person,
    row: &OutboundRow,
    letters: DeadLetters,
) -> rusqlite::Result<bool> {
    let reply = ReplyColumns { user: row.target.user_id.as_deref(), platform: Some(&row.target.platform) };
    if reply.is_of(person, None, letters) {
        return Ok(true);
    }
    let Some(InboundId(event)) = row.inbound else { return Ok(false) };
    let sql = format!("SELECT {EVENT_COLUMNS} FROM inbound WHERE id = ?");
    let mut statement = store.connection.prepare_cached(&sql)?;
    let is_of = |found: &Row<'_>| Ok(event_at(found, 0, |event| reply.is_of(person, Some(event), letters)));
    Ok(statement.query_row([event], is_of).optional()? == Some(true))
}

/// Calls `decide` with the columns of an event that begin at `first`. Those of a corrupt row may be anything.
pub(super) fn event_at<T>(row: &Row<'_>, first: usize, decide: impl FnOnce(&EventColumns<'_>) -> T) -> T {
    let session = text_at(row, first + 2).and_then(|session| serde_json::from_str::<SessionKey>(&session).ok());
    let (user, platform, text) = (text_at(row, first), text_at(row, first + 1), text_at(row, first + 3));
    decide(&EventColumns {
        user: user.as_deref(),
        platform: platform.as_deref(),
        session: session.as_ref(),
        text: text.as_deref(),
    })
}

/// The text in a column, if it has one. Damage to other letters leaves the id of a person findable.
pub(super) fn text_at<'a>(row: &'a Row<'_>, column: usize) -> Option<Cow<'a, str>> {
    row.get_ref(column).ok()?.as_bytes_or_null().ok()?.map(String::from_utf8_lossy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use caduceus_contract::wire::event::RELAY;

    #[test]
    fn the_text_of_a_frame_that_could_not_be_used_is_among_the_columns() {
        assert!(EVENT_COLUMNS.contains(&format!("inbound.platform = '{RELAY}'")));
    }
}
