//! What the writer's thread holds in memory about the rows, changed together with them.
//!
//! A change applies at once, so that later work of the same transaction finds it, and is undone with the transaction or the
//! savepoint that it belongs to.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::duplicates::{DuplicateKeys, HashKey, KeyHashes};
use super::open_rows::OpenRows;
use super::sessions::{KnownSession, KnownSessions, SessionDigest};
use crate::ledger::store::{InboundMark, OutboundMark};
use caduceus_contract::messages::ledger::{InboundState, OutboundState};

/// Inbound or outbound rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowKind {
    Inbound,
    Outbound,
}

/// The thread's memory of the file.
#[derive(Debug)]
pub(super) struct Memory {
    /// Of the file, unchanged while it is open.
    pub(super) hash_key: HashKey,
    duplicates: DuplicateKeys,
    inbound: OpenRows,
    outbound: OpenRows,
    sessions: KnownSessions,
    /// The hash of the chat of open events, if several dispatchers have listed them: each looks for its own among all. It never changes.
    /// Each takes some 20 bytes.
    chats: HashMap<i64, u64>,
    /// Of the events that run and of the replies that are sent, so that the end of a turn reads nothing. Each takes some 100 bytes and its texts.
    running: HashMap<i64, InboundMark>,
    sending: HashMap<i64, OutboundMark>,
    /// When an erasure last filled free pages or released them; `None` if none has since the file was opened. It stays if the transaction is
    /// undone: then the pages are looked for in vain.
    pub(super) filled_at: Option<Instant>,
    /// The changes of the current transaction, oldest first.
    changes: Vec<MemoryChange>,
}

#[derive(Debug)]
enum MemoryChange {
    Moved { kind: RowKind, row: i64, from: Option<usize>, to: Option<usize> },
    KeyAdded(i64, i64),
    KeyRemoved(i64, i64),
    Session(SessionDigest),
    Mark(RowKind, i64),
}

impl Memory {
    /// The memory of a file that was just opened.
    pub(super) fn new(hash_key: HashKey, duplicates: DuplicateKeys, inbound: OpenRows, outbound: OpenRows) -> Self {
        Self {
            hash_key,
            duplicates,
            inbound,
            outbound,
            sessions: KnownSessions::default(),
            chats: HashMap::new(),
            running: HashMap::new(),
            sending: HashMap::new(),
            filled_at: None,
            changes: Vec::new(),
        }
    }

    /// The rows in an open state, or dead; `None` for another state.
    pub(super) fn open_rows(&self, kind: RowKind, state: usize) -> Option<&BTreeSet<i64>> {
        match kind {
            RowKind::Inbound => self.inbound.in_state(state),
            RowKind::Outbound => self.outbound.in_state(state),
        }
    }

    /// A row is recorded (no `from`), marked or deleted (no `to`).
    pub(super) fn move_row(&mut self, kind: RowKind, row: i64, from: Option<usize>, to: Option<usize>) {
        self.apply_move(kind, row, from, to);
        self.changes.push(MemoryChange::Moved { kind, row, from, to });
    }

    fn apply_move(&mut self, kind: RowKind, row: i64, from: Option<usize>, to: Option<usize>) {
        match kind {
            RowKind::Inbound => {
                self.inbound.move_row(row, from, to);
                if to.is_none_or(|state| !self.inbound.is_open(state)) {
                    self.chats.remove(&row);
                }
            }
            RowKind::Outbound => self.outbound.move_row(row, from, to),
        }
    }

    /// The hash of the chat of an event, if it was set since the event is open.
    pub(super) fn chat(&self, row: i64) -> Option<u64> {
        self.chats.get(&row).copied()
    }

    pub(super) fn set_chat(&mut self, row: i64, hash: u64) {
        self.chats.insert(row, hash);
    }

    #[cfg(test)]
    pub(super) fn chats(&self) -> usize {
        self.chats.len()
    }

    /// The rows whose keys have this hash, the oldest first.
    pub(super) fn rows_with(&self, hash: i64) -> impl Iterator<Item = i64> {
        self.duplicates.rows(hash)
    }

    pub(super) fn add_keys(&mut self, hashes: KeyHashes, row: i64) {
        for hash in hashes.all() {
            self.duplicates.insert(hash, row);
            self.changes.push(MemoryChange::KeyAdded(hash, row));
        }
    }

    pub(super) fn remove_keys(&mut self, hashes: KeyHashes, row: i64) {
        for hash in hashes.all() {
            self.duplicates.remove(hash, row);
            self.changes.push(MemoryChange::KeyRemoved(hash, row));
        }
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.duplicates.len()
    }

    /// The digest by which a session is found here.
    pub(super) fn session_digest(&self, session: &str) -> SessionDigest {
        self.sessions.digest(session)
    }

    pub(super) fn session(&self, session: SessionDigest) -> Option<KnownSession> {
        self.sessions.get(session)
    }

    pub(super) fn set_session(&mut self, session: SessionDigest, known: KnownSession) {
        self.sessions.insert(session, known);
        self.changes.push(MemoryChange::Session(session));
    }

    /// A session is read from the file again.
    pub(super) fn forget_session(&mut self, session: SessionDigest) {
        self.sessions.forget(session);
    }

    /// The sessions are read from the file again.
    pub(super) fn forget_sessions(&mut self) {
        self.sessions.clear();
    }

    /// The mark of an event, if it runs and this process wrote it.
    pub(super) fn inbound_mark(&self, row: i64) -> Option<&InboundMark> {
        self.running.get(&row)
    }

    /// An event has this mark now.
    pub(super) fn set_inbound_mark(&mut self, row: i64, mark: InboundMark) {
        set(&mut self.running, row, mark.state == InboundState::Running, mark);
        self.changes.push(MemoryChange::Mark(RowKind::Inbound, row));
    }

    /// The mark of a reply, if it is being sent and this process wrote it.
    pub(super) fn outbound_mark(&self, row: i64) -> Option<&OutboundMark> {
        self.sending.get(&row)
    }

    /// A reply has this mark now.
    pub(super) fn set_outbound_mark(&mut self, row: i64, mark: OutboundMark) {
        set(&mut self.sending, row, mark.state == OutboundState::Sending, mark);
        self.changes.push(MemoryChange::Mark(RowKind::Outbound, row));
    }

    /// The mark of a row is read from the file from now on.
    pub(super) fn forget_mark(&mut self, kind: RowKind, row: i64) {
        match kind {
            RowKind::Inbound => drop(self.running.remove(&row)),
            RowKind::Outbound => drop(self.sending.remove(&row)),
        }
    }

    /// The number of changes of this transaction so far, for [`Memory::undo_to`].
    pub(super) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// Undoes the changes after the first `changes` ones, the newest first.
    pub(super) fn undo_to(&mut self, changes: usize) {
        while self.changes.len() > changes {
            match self.changes.pop() {
                Some(MemoryChange::Moved { kind, row, from, to }) => self.apply_move(kind, row, to, from),
                Some(MemoryChange::KeyAdded(hash, row)) => self.duplicates.remove(hash, row),
                Some(MemoryChange::KeyRemoved(hash, row)) => self.duplicates.insert(hash, row),
                Some(MemoryChange::Session(session)) => self.sessions.forget(session),
                // It is read from the file again.
                Some(MemoryChange::Mark(kind, row)) => self.forget_mark(kind, row),
                None => {}
            }
        }
    }

    /// The transaction is on disk.
    pub(super) fn committed(&mut self) {
        self.changes.clear();
    }
}

/// Keeps a mark, or forgets that of a row that is not in flight any more.
fn set<M>(marks: &mut HashMap<i64, M>, row: i64, in_flight: bool, mark: M) {
    if in_flight {
        marks.insert(row, mark);
    } else {
        marks.remove(&row);
    }
}
