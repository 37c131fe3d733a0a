//! Messages that a drain refused and that were not read: each chat is notified once, with their number.
//!
//! Which chats are still to be notified is stored in the note of their events, so no restart loses or repeats it. The table of
//! unread events contains just these.

use rusqlite::OptionalExtension;

use super::inbound::{NoteChange, READ, TABLE, inbound_row};
use super::row::{CorruptRow, params, text};
use super::store::{Failure, Store, Work};
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::ledger::{
    InboundRow, LedgerError, ListRefusals, OutboundState, REFUSED_BY_DRAIN, RecordOutbound, RecordRefusalNotices,
};
use caduceus_contract::profile_name::ProfileName;

/// The value of [`REFUSED_BY_DRAIN`] after the notification of the chat.
const NOTIFIED: &str = "drain, told";

impl Work for ListRefusals {
    type Answer = Vec<ProfileName>;

    fn run(&self, store: &mut Store<'_>) -> Result<Vec<ProfileName>, Failure> {
        let sql = "SELECT DISTINCT profile FROM unread";
        let mut statement = store.connection.prepare_cached(sql)?;
        let names: Vec<String> = statement.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?;
        // An invalid name is a corrupt row, which is found when it is read.
        Ok(names.into_iter().filter_map(|name| name.try_into().ok()).collect())
    }
}

impl Work for RecordRefusalNotices {
    type Answer = Vec<LinkId>;

    fn run(&self, store: &mut Store<'_>) -> Result<Vec<LinkId>, Failure> {
        let mut notified = Vec::new();
        for chat in rows(self, store)? {
            notified.extend(notify(self, store, &chat)?);
        }
        Ok(notified)
    }
}

/// The rows of the first chats, by chat.
fn rows(request: &RecordRefusalNotices, store: &Store<'_>) -> Result<Vec<Vec<i64>>, Failure> {
    let sql = "SELECT json_group_array(id) FROM unread WHERE profile = ?1 \
               GROUP BY link, platform, chat_id, bot_id, thread_id LIMIT ?2";
    let mut statement = store.connection.prepare_cached(sql)?;
    let limit = i64::try_from(request.chats).unwrap_or(i64::MAX);
    let groups: Vec<String> =
        statement.query_map((request.profile.as_str(), limit), |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(groups.iter().filter_map(|ids| serde_json::from_str(ids).ok()).collect())
}

/// Notifies one chat. Corrupt rows are left out and logged, and not counted.
fn notify(request: &RecordRefusalNotices, store: &mut Store<'_>, ids: &[i64]) -> Result<Option<LinkId>, Failure> {
    let mut last = None;
    for id in ids.iter().rev() {
        if let Some(row) = unnotified_row(store, *id)? {
            last = Some(row);
            break;
        }
    }
    let Some(InboundRow { target, .. }) = last else { return Ok(None) };
    let mut count = 0;
    for id in ids {
        match (NoteChange { id: *id, note: NOTIFIED }).run(store) {
            Ok(()) => count += 1,
            Err(Failure::Answered(LedgerError::Corrupt { .. })) => {}
            Err(failure) => return Err(failure),
        }
    }
    let link = target.link.clone();
    let action = (request.make_action)(&target, count);
    RecordOutbound { inbound: None, turn: None, number: None, target, action, state: OutboundState::Pending }
        .run(store)?;
    Ok(Some(link))
}

/// The row, if its chat is not notified yet; `None` for a corrupt one.
fn unnotified_row(store: &mut Store<'_>, id: i64) -> Result<Option<InboundRow>, Failure> {
    let connection = store.connection;
    let mut statement = connection.prepare_cached(&format!("{READ} WHERE marks.id = ?1 AND note = ?2"))?;
    let values = [rusqlite::types::ValueRef::Integer(id), text(REFUSED_BY_DRAIN)];
    let found = statement.query_row(params(values), |row| Ok(inbound_row(row))).optional()?;
    match found {
        Some(Err(CorruptRow)) => {
            drop(store.corrupt(TABLE, id));
            Ok(None)
        }
        other => Ok(other.and_then(Result::ok)),
    }
}
