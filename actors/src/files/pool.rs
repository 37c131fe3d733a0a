//! Threads that are started when needed and kept for a while. A task that hangs keeps its thread; the end of the process does not
//! wait for it.
//!
//! A few threads serve a thousand tasks that end. More are started only while none of the waiting tasks begins, so that a
//! burst leaves no hundreds of threads behind, each with its stack and its part of the heap.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::error;

use crate::locked::locked;

/// Threads that are started at once.
const AT_ONCE: usize = 4;
/// Most threads that are added at a time.
const AT_A_STALL: usize = 32;
/// More are started if no task began within this time while some wait.
const STALL: Duration = Duration::from_millis(50);
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
    /// Tasks wait and no thread is idle.
    short: Condvar,
}

struct PoolState {
    waiting: VecDeque<PoolTask>,
    idle: usize,
    threads: usize,
    /// Tasks begun.
    begun: u64,
    /// A thread adds threads when tasks wait for too long.
    is_extended: bool,
}

impl ThreadPool {
    pub(super) const fn new(most: usize) -> Self {
        let state = PoolState { waiting: VecDeque::new(), idle: 0, threads: 0, begun: 0, is_extended: false };
        Self { most, state: Mutex::new(state), more: Condvar::new(), short: Condvar::new() }
    }

    /// Runs `task` on a thread as soon as one is free.
    pub(super) fn take(&'static self, task: PoolTask) {
        let mut state = locked(&self.state);
        state.waiting.push_back(task);
        if state.waiting.len() > state.idle && state.threads < self.most {
            if state.threads < AT_ONCE {
                self.add_thread(&mut state);
            } else if std::mem::replace(&mut state.is_extended, true) {
                self.short.notify_one();
            } else {
                let extend = thread::Builder::new().name("files-more".to_owned()).spawn(move || self.extend());
                // The next task tries again; the existing threads take this one.
                state.is_extended = extend.is_ok();
            }
        }
        drop(state);
        self.more.notify_one();
    }

    fn add_thread(&'static self, state: &mut PoolState) {
        state.threads += 1;
        let spawned = thread::Builder::new().name("files".to_owned()).spawn(move || self.serve());
        if let Err(error) = spawned {
            state.threads -= 1;
            // The existing threads will take it.
            error!(%error, threads = state.threads, "no thread for file work");
        }
    }

    /// Adds threads, twice as many each time up to a limit, while tasks wait and none begins. Ends when none has waited for a while.
    fn extend(&'static self) {
        let mut state = locked(&self.state);
        loop {
            let lacks = |state: &mut PoolState| state.waiting.len() > state.idle && state.threads < self.most;
            let waited = self.short.wait_timeout_while(state, IDLE, |state| !lacks(state));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !lacks(&mut state) {
                state.is_extended = false;
                return;
            }
            let begun = state.begun;
            drop(state);
            thread::sleep(STALL);
            state = locked(&self.state);
            if state.begun == begun {
                // Some to spare: where one hangs, the next one will.
                for _ in 0..state.threads.min(AT_A_STALL).min(self.most - state.threads) {
                    self.add_thread(&mut state);
                }
            }
        }
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
            state.begun += 1;
            drop(state);
            task();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_burst_of_tasks_that_end_starts_few_threads() {
        static POOL: ThreadPool = ThreadPool::new(512);
        let (done, ended) = mpsc::channel();
        for _ in 0..1_000 {
            let done = done.clone();
            POOL.take(Box::new(move || done.send(()).unwrap()));
        }
        (0..1_000).for_each(|_| ended.recv_timeout(SOON).unwrap());
        // More than that would need pauses of 50 ms in which none of the threads got any CPU.
        assert!(locked(&POOL.state).threads < 64, "{} threads", locked(&POOL.state).threads);
    }

    #[test]
    fn tasks_that_hang_take_a_thread_each_and_hold_up_no_other() {
        static POOL: ThreadPool = ThreadPool::new(512);
        let (release, released) = mpsc::channel::<()>();
        let released = std::sync::Arc::new(Mutex::new(released));
        for _ in 0..100 {
            let released = std::sync::Arc::clone(&released);
            POOL.take(Box::new(move || {
                let _ = locked(&released).recv();
            }));
        }
        let (done, ended) = mpsc::channel();
        POOL.take(Box::new(move || done.send(()).unwrap()));
        ended.recv_timeout(SOON).unwrap();
        assert!(locked(&POOL.state).threads > 100);
        drop(release);
    }
}
