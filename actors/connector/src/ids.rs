//! Ids of messages, threads and buffered frames. No clock: the time is an argument.

/// Generates unique ids, also across restarts: a gateway treats an id that it has seen as a duplicate.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct MessageIds(i64);

impl MessageIds {
    pub(super) fn next(&mut self, now_ms: i64) -> String {
        self.0 = (self.0 + 1).max(now_ms << 10);
        self.0.to_string()
    }
}
