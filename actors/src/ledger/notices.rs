//! What a restart must not lose beside the events: messages that a drain refused and that were not read, and starts that
//! found interrupted turns.
//!
//! Which chats are still to be notified is stored in the note of their events, so no restart loses or repeats it.

use super::events;
use super::failure::Failure;
use super::store::{InboundMark, StoreTransaction, UnreadChat};
use super::work::{LedgerTransaction, Work};
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::ledger::{
    LedgerError, ListRefusals, NoteRestart, OutboundState, RecordOutbound, RecordRefusalNotices,
};
use caduceus_contract::profile_name::ProfileName;

/// The value of [`REFUSED_BY_DRAIN`](caduceus_contract::messages::ledger::REFUSED_BY_DRAIN) after the notification of the chat.
const NOTIFIED: &str = "drain, told";

impl Work for ListRefusals {
    type Answer = Vec<ProfileName>;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<Vec<ProfileName>, Failure> {
        ledger.store.unread_profiles()
    }
}

impl Work for RecordRefusalNotices {
    type Answer = Vec<LinkId>;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<Vec<LinkId>, Failure> {
        let chats = ledger.store.unread_chats(&self.profile, self.share, self.chats)?;
        chats.iter().map(|chat| notify(self, ledger, chat)).collect()
    }
}

/// Notifies one chat. Corrupt events are left out and not counted.
fn notify<T: StoreTransaction>(
    request: &RecordRefusalNotices,
    ledger: &mut LedgerTransaction<'_, T>,
    chat: &UnreadChat,
) -> Result<LinkId, Failure> {
    let mut count = 0;
    for event in &chat.events {
        let before = match ledger.store.event_mark(*event) {
            Ok(before) => before,
            Err(Failure::Answered(LedgerError::Corrupt { .. })) => continue,
            Err(failure) => return Err(failure),
        };
        let is_unread = before.is_unread();
        let note = if is_unread { Some(NOTIFIED.to_owned()) } else { before.note.clone() };
        events::write(ledger, *event, &before, InboundMark { note, ..before.clone() })?;
        count += u64::from(is_unread);
    }
    let (link, target) = (chat.target.link.clone(), chat.target.clone());
    let action = (request.make_action)(&target, count);
    RecordOutbound { inbound: None, turn: None, number: None, target, action, state: OutboundState::Pending }
        .run(ledger)?;
    Ok(link)
}

/// So that a home in a crash loop stops running the turns again.
impl Work for NoteRestart {
    type Answer = usize;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<usize, Failure> {
        ledger.store.note_restart(self)
    }
}
