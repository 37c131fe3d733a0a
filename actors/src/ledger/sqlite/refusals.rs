//! The events that a drain refused and that were not read, by profile and chat.

use rusqlite::OptionalExtension;
use rusqlite::types::ValueRef;

use super::inbound::{READ, inbound_row};
use super::marks::INBOUND_TABLE as TABLE;
use super::row::{CorruptRow, params, text};
use super::transaction::SqliteTransaction;
use crate::ledger::failure::Failure;
use crate::ledger::store::UnreadChat;
use caduceus_contract::messages::ledger::{InboundId, InboundRow, REFUSED_BY_DRAIN};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::share::DispatchShare;

pub(super) fn profiles(store: &SqliteTransaction<'_>) -> Result<Vec<ProfileName>, Failure> {
    let sql = "SELECT DISTINCT profile FROM unread";
    let mut statement = store.connection.prepare_cached(sql)?;
    let names = statement.query_map((), |row| Ok(row.get::<_, String>(0).ok()))?.collect::<Result<Vec<_>, _>>()?;
    // An invalid name is a corrupt row, which is found when it is read.
    Ok(names.into_iter().flatten().filter_map(|name| name.try_into().ok()).collect())
}

/// The first chats with their events. A chat whose events are all corrupt is left out.
pub(super) fn chats(
    store: &mut SqliteTransaction<'_>,
    profile: &ProfileName,
    share: DispatchShare,
    limit: usize,
) -> Result<Vec<UnreadChat>, Failure> {
    let mut chats = Vec::new();
    for rows in rows(store, profile, share, limit)? {
        for row in rows.iter().rev() {
            if let Some(InboundRow { target, .. }) = unread_row(store, *row)? {
                chats.push(UnreadChat { target, events: rows.into_iter().map(InboundId).collect() });
                break;
            }
        }
    }
    Ok(chats)
}

/// The rows of the first chats of a dispatcher, by chat.
fn rows(
    store: &SqliteTransaction<'_>,
    profile: &ProfileName,
    share: DispatchShare,
    limit: usize,
) -> Result<Vec<Vec<i64>>, Failure> {
    let sql = "SELECT json_group_array(id), platform, chat_id FROM unread WHERE profile = ?1 \
               GROUP BY link, platform, chat_id, bot_id, thread_id";
    let mut statement = store.connection.prepare_cached(sql)?;
    let mut groups = statement.query([profile.as_str()])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(group) = groups.next()?
    {
        // A chat that cannot be read belongs to the first dispatcher, which finds its rows corrupt.
        let chat = group.get::<_, String>(1).and_then(|platform| Ok((platform, group.get::<_, String>(2)?)));
        let is_own = chat.map_or(share.is_first(), |(platform, chat)| share.contains_chat_of(&platform, &chat));
        if is_own {
            found.extend(serde_json::from_str(&group.get::<_, String>(0)?).ok());
        }
    }
    Ok(found)
}

/// The row, if its chat is not notified yet; `None` for a corrupt one.
fn unread_row(store: &mut SqliteTransaction<'_>, id: i64) -> Result<Option<InboundRow>, Failure> {
    let connection = store.connection;
    let mut statement = connection.prepare_cached(&format!("{READ} WHERE marks.id = ?1 AND note = ?2"))?;
    let values = [ValueRef::Integer(id), text(REFUSED_BY_DRAIN)];
    let found = statement.query_row(params(values), |row| Ok(inbound_row(row))).optional()?;
    match found {
        Some(Err(CorruptRow)) => {
            drop(store.corrupt(TABLE, id));
            Ok(None)
        }
        other => Ok(other.and_then(Result::ok)),
    }
}
