//! What the writer's thread holds in memory about the rows, changed together with them.
//!
//! A change applies at once, so that later work of the same transaction finds it, and is undone with the transaction or the
//! savepoint that it belongs to.

use super::sessions::{KnownSession, KnownSessions, SessionDigest};

/// The thread's memory of the file.
#[derive(Debug, Default)]
pub(super) struct Memory {
    sessions: KnownSessions,
    /// The changes of the current transaction, oldest first.
    changes: Vec<MemoryChange>,
}

#[derive(Debug)]
enum MemoryChange {
    Session(SessionDigest),
}

impl Memory {
    pub(super) fn session(&self, session: SessionDigest) -> Option<KnownSession> {
        self.sessions.get(session)
    }

    pub(super) fn set_session(&mut self, session: SessionDigest, known: KnownSession) {
        self.sessions.insert(session, known);
        self.changes.push(MemoryChange::Session(session));
    }

    /// The number of changes of this transaction so far, for [`Memory::undo_to`].
    pub(super) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// Undoes the changes after the first `changes` ones, the newest first.
    pub(super) fn undo_to(&mut self, changes: usize) {
        while self.changes.len() > changes {
            match self.changes.pop() {
                Some(MemoryChange::Session(session)) => self.sessions.forget(session),
                None => {}
            }
        }
    }

    /// The transaction is on disk.
    pub(super) fn committed(&mut self) {
        self.changes.clear();
    }
}
