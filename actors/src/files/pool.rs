//! Threads that are started when needed and kept for a while. A task that hangs keeps its thread; the end of the process does not
//! wait for it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::error;

use crate::locked::locked;

/// How long an idle thread is kept.
const IDLE: Duration = Duration::from_secs(10);

/// Work for one thread; it must not panic.
pub(super) type PoolTask = Box<dyn FnOnce() + Send>;

/// At most `most` threads; further tasks wait for one that becomes free.
pub(super) struct ThreadPool {
    /// Most threads at a time.
    most: usize,
    state: Mutex<PoolState>,
    more: Condvar,
}

struct PoolState {
    waiting: VecDeque<PoolTask>,
    idle: usize,
    threads: usize,
}

impl ThreadPool {
    pub(super) const fn new(most: usize) -> Self {
        let state = PoolState { waiting: VecDeque::new(), idle: 0, threads: 0 };
        Self { most, state: Mutex::new(state), more: Condvar::new() }
    }

    /// Runs `task` on a thread as soon as one is free.
    pub(super) fn take(&'static self, task: PoolTask) {
        let mut state = locked(&self.state);
        state.waiting.push_back(task);
        if state.waiting.len() > state.idle && state.threads < self.most {
            state.threads += 1;
            let spawned = thread::Builder::new().name("files".to_owned()).spawn(move || self.serve());
            if let Err(error) = spawned {
                state.threads -= 1;
                // The existing threads will take it.
                error!(%error, threads = state.threads, "no thread for file work");
            }
        }
        drop(state);
        self.more.notify_one();
    }

    fn serve(&'static self) {
        loop {
            let mut state = locked(&self.state);
            if state.waiting.is_empty() {
                state.idle += 1;
                let waited = self.more.wait_timeout_while(state, IDLE, |state| state.waiting.is_empty());
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                state.idle -= 1;
            }
            let Some(task) = state.waiting.pop_front() else {
                state.threads -= 1;
                return;
            };
            drop(state);
            task();
        }
    }
}
