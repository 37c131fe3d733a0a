//! The rows of the replies that were recorded last, so that a repeated record is answered with the row of the first.
//!
//! In memory only: a sender that repeats a record is in this process, and repeats it within seconds.

use std::collections::{HashMap, VecDeque};

use caduceus_contract::turn_id::TurnId;

/// Replies in memory. Each takes some 80 bytes.
pub(super) const LIMIT: usize = 8_192;

/// A reply by its turn, and its number in it.
pub(super) type ReplyKey = (TurnId, u32);

/// The rows of the last replies.
#[derive(Debug, Default)]
pub(super) struct LastReplies {
    rows: HashMap<ReplyKey, i64>,
    /// Oldest first.
    order: VecDeque<ReplyKey>,
    /// Those of the current transaction.
    added: Vec<ReplyKey>,
}

impl LastReplies {
    /// The row of a reply that is recorded already.
    pub(super) fn row(&self, reply: ReplyKey) -> Option<i64> {
        self.rows.get(&reply).copied()
    }

    /// A reply is recorded.
    pub(super) fn insert(&mut self, reply: ReplyKey, row: i64) {
        if self.rows.insert(reply, row).is_none() {
            self.order.push_back(reply);
        }
        self.added.push(reply);
        if self.order.len() > LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.rows.remove(&oldest);
        }
    }

    /// The transaction is on disk.
    pub(super) fn committed(&mut self) {
        self.added.clear();
    }

    /// Forgets the replies of a transaction that is not on disk. They are among the newest.
    pub(super) fn undo(&mut self) {
        while let Some(reply) = self.added.pop() {
            self.rows.remove(&reply);
            if let Some(at) = self.order.iter().rposition(|recorded| *recorded == reply) {
                self.order.remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_oldest_replies_are_forgotten_above_the_limit_and_an_undone_one_at_once() {
        let mut replies = LastReplies::default();
        let key = |number| (TurnId::from(Uuid::nil()), number);
        let limit = u32::try_from(LIMIT).unwrap();
        for number in 0..=limit {
            replies.committed();
            replies.insert(key(number), i64::from(number) + 1);
        }
        assert_eq!(
            (replies.row(key(0)), replies.row(key(1)), replies.row(key(limit))),
            (None, Some(2), Some(1 + i64::from(limit)))
        );
        replies.undo();
        assert_eq!((replies.row(key(limit)), replies.order.len(), replies.rows.len()), (None, LIMIT - 1, LIMIT - 1));
    }
}
