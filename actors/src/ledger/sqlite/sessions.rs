//! The sessions whose number is in memory, so that a turn of an active one does not search its text in the file.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Sessions in memory; above this all are forgotten and read again when they are used. Each takes some 60 bytes.
const LIMIT: usize = 100_000;

/// Two hashes of the text of a session, whose keys are random for each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SessionDigest([u64; 2]);

/// A session of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownSession {
    /// Its row in the table of sessions.
    pub(super) number: i64,
    /// Entries of its conversation.
    pub(super) entries: i64,
}

/// Some of the sessions of the file, as the current transaction sees them.
#[derive(Debug, Default)]
pub(super) struct KnownSessions {
    sessions: HashMap<SessionDigest, KnownSession>,
    keys: [RandomState; 2],
}

impl KnownSessions {
    /// The digest of the session with this text.
    pub(super) fn digest(&self, session: &str) -> SessionDigest {
        SessionDigest(self.keys.each_ref().map(|key| key.hash_one(session)))
    }

    pub(super) fn get(&self, session: SessionDigest) -> Option<KnownSession> {
        self.sessions.get(&session).copied()
    }

    pub(super) fn insert(&mut self, session: SessionDigest, known: KnownSession) {
        if self.sessions.len() >= LIMIT && !self.sessions.contains_key(&session) {
            self.sessions.clear();
        }
        self.sessions.insert(session, known);
    }

    pub(super) fn clear(&mut self) {
        self.sessions.clear();
    }

    pub(super) fn forget(&mut self, session: SessionDigest) {
        self.sessions.remove(&session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sessions_in_memory_never_exceed_the_limit() {
        let mut sessions = KnownSessions::default();
        let keys = KnownSessions::default();
        let digest = |number: usize| keys.digest(&number.to_string());
        for number in 0..=LIMIT {
            sessions.insert(digest(number), KnownSession { number: 1, entries: 2 });
        }
        assert_eq!(sessions.sessions.len(), 1);
        sessions.insert(digest(LIMIT), KnownSession { number: 1, entries: 3 });
        assert_eq!(sessions.get(digest(LIMIT)), Some(KnownSession { number: 1, entries: 3 }));
        assert_eq!(sessions.get(digest(0)), None);
    }
}
