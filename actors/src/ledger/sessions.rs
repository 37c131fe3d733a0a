//! The sessions whose number is in memory, so that a turn of an active one does not search its text in the file.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

/// Sessions in memory; above this all are forgotten and read again when they are used. Each takes some 60 bytes.
const LIMIT: usize = 100_000;

/// The first 16 bytes of SHA-256 over the text of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SessionDigest([u8; 16]);

impl SessionDigest {
    /// The digest of the session with this text.
    pub(super) fn of(session: &str) -> Self {
        let digest = Sha256::digest(session.as_bytes());
        Self(digest.first_chunk().copied().unwrap_or_default())
    }
}

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
pub(super) struct KnownSessions(HashMap<SessionDigest, KnownSession>);

impl KnownSessions {
    pub(super) fn get(&self, session: SessionDigest) -> Option<KnownSession> {
        self.0.get(&session).copied()
    }

    pub(super) fn insert(&mut self, session: SessionDigest, known: KnownSession) {
        if self.0.len() >= LIMIT && !self.0.contains_key(&session) {
            self.0.clear();
        }
        self.0.insert(session, known);
    }

    pub(super) fn forget(&mut self, session: SessionDigest) {
        self.0.remove(&session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sessions_in_memory_never_exceed_the_limit() {
        let mut sessions = KnownSessions::default();
        let digest = |number: usize| SessionDigest::of(&number.to_string());
        for number in 0..=LIMIT {
            sessions.insert(digest(number), KnownSession { number: 1, entries: 2 });
        }
        assert_eq!(sessions.0.len(), 1);
        sessions.insert(digest(LIMIT), KnownSession { number: 1, entries: 3 });
        assert_eq!(sessions.get(digest(LIMIT)), Some(KnownSession { number: 1, entries: 3 }));
        assert_eq!(sessions.get(digest(0)), None);
    }
}
