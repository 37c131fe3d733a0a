//! The work that waits for the ledger's thread.
//!
//! Work that asks whether something may happen is refused while too much waits, and when the disk refuses writes. Work that says what
//! has happened is owed: it is taken whatever waits, and stays at the head until it is on disk. There is no more of it than the events
//! and replies in flight, because the work before it was not refused.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::failure::StoreError;
use super::repeats::LIMIT;
use super::store::Store;
use super::work::{LedgerTransaction, Work, run_for_caller};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use caduceus_contract::messages::ledger::LedgerError;

/// Length of the queue of the thread. Without the disk it is full within a second of real load, and later callers are answered at once.
pub(super) const QUEUE: usize = 4_096;
/// Operations in one transaction after which no more work is added: a commit gains nothing, and the first one waits for the last.
const GROUP: usize = 512;

// No reply may be forgotten while a repeated request to record it waits in the queue.
const _: () = assert!(LIMIT >= 2 * QUEUE);

/// Some work, with the sender of its answer.
pub(super) trait Job<S: Store>: Send {
    /// Number of operations.
    fn operations(&self) -> usize;

    /// Whether it must be done, now or later.
    fn is_owed(&self) -> bool;

    /// Counts a failure of this work alone, while the disk accepts other writes. Returns how many there were.
    fn failed_alone(&mut self) -> u32;

    /// Does the work, and keeps the answer.
    ///
    /// # Errors
    /// The transaction has failed for all.
    fn run(&mut self, ledger: &mut LedgerTransaction<'_, S::Transaction<'_>>) -> Result<(), StoreError>;

    /// Sends the answer, or `failure` if the transaction is not on disk.
    fn answer(self: Box<Self>, failure: Option<&LedgerError>);
}

/// Sends the answer to some work.
pub(super) type AnswerSender<A> = oneshot::Sender<Result<A, LedgerError>>;

/// A job that does `work`, and answers the caller behind `to`, if there is one.
pub(super) fn job<W: Work, S: Store>(work: W, to: Option<AnswerSender<W::Answer>>) -> Box<dyn Job<S>> {
    Box::new(AnyJob { work, caller: Caller(to), outcome: None, failures: 0 })
}

/// The caller, who is answered if the work is dropped before it is done.
struct Caller<A>(Option<AnswerSender<A>>);

impl<A> Caller<A> {
    fn answer(&mut self, outcome: Result<A, LedgerError>) {
        if let Some(to) = self.0.take() {
            // The caller may have timed out; the work is done nevertheless.
            drop(to.send(outcome));
        }
    }
}

impl<A> Drop for Caller<A> {
    fn drop(&mut self) {
        self.answer(Err(LedgerError::Closed));
    }
}

struct AnyJob<W: Work> {
    work: W,
    caller: Caller<W::Answer>,
    outcome: Option<Result<W::Answer, LedgerError>>,
    failures: u32,
}

impl<W: Work, S: Store> Job<S> for AnyJob<W> {
    fn operations(&self) -> usize {
        self.work.operations()
    }

    fn is_owed(&self) -> bool {
        self.work.is_owed()
    }

    fn failed_alone(&mut self) -> u32 {
        self.failures += 1;
        self.failures
    }

    fn run(&mut self, ledger: &mut LedgerTransaction<'_, S::Transaction<'_>>) -> Result<(), StoreError> {
        self.outcome = Some(run_for_caller(&self.work, ledger)?);
        Ok(())
    }

    fn answer(mut self: Box<Self>, failure: Option<&LedgerError>) {
        let outcome = match failure {
            Some(error) => Err(error.clone()),
            None => self.outcome.take().unwrap_or(Err(LedgerError::Closed)),
        };
        self.caller.answer(outcome);
    }
}

/// Wakes the thread.
struct WakeWriter;

impl<S: Store> Job<S> for WakeWriter {
    fn operations(&self) -> usize {
        0
    }

    fn is_owed(&self) -> bool {
        false
    }

    fn failed_alone(&mut self) -> u32 {
        0
    }

    fn run(&mut self, _: &mut LedgerTransaction<'_, S::Transaction<'_>>) -> Result<(), StoreError> {
        Ok(())
    }

    fn answer(self: Box<Self>, _: Option<&LedgerError>) {}
}

/// The end of the queue for callers. The thread ends when the last clone is dropped.
pub(super) struct JobSender<S: Store> {
    jobs: Sender<Box<dyn Job<S>>>,
    waiting: Arc<AtomicUsize>,
}

// Without a clone of the database.
impl<S: Store> Clone for JobSender<S> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone(), waiting: Arc::clone(&self.waiting) }
    }
}

/// The end of the queue for the thread, and what it owes.
pub(super) struct JobQueue<S: Store> {
    jobs: Receiver<Box<dyn Job<S>>>,
    waiting: Arc<AtomicUsize>,
    /// What a failed transaction left, oldest first.
    owed: Vec<Box<dyn Job<S>>>,
}

/// What the thread found in its queue.
pub(super) enum Waiting<S: Store> {
    /// Work for one transaction.
    Group(Vec<Box<dyn Job<S>>>),
    /// Nothing within the time.
    Nothing,
    /// Nothing, and all senders are dropped.
    Disconnected,
}

/// A queue without work.
pub(super) fn queue<S: Store>() -> (JobSender<S>, JobQueue<S>) {
    let (sender, jobs) = channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (JobSender { jobs: sender, waiting: Arc::clone(&waiting) }, JobQueue { jobs, waiting, owed: Vec::new() })
}

impl<S: Store> JobSender<S> {
    /// Appends a job. Answers it with [`LedgerError::Unwritable`] if too much waits and it is not owed, and with
    /// [`LedgerError::Closed`] if the thread has ended.
    pub(super) fn send(&self, job: Box<dyn Job<S>>) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE && !job.is_owed() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return job.answer(Some(&LedgerError::Unwritable("too much is waiting to be written".to_owned())));
        }
        // Without a thread the job is dropped, which answers its caller.
        let _ = self.jobs.send(job);
    }

    /// Wakes the thread.
    pub(super) fn wake(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // Without a thread there is none to wake.
        let _ = self.jobs.send(Box::new(WakeWriter));
    }
}

impl<S: Store> JobQueue<S> {
    /// Waits at most `timeout` for work, and takes all that waits then, up to [`GROUP`] operations.
    pub(super) fn next(&mut self, timeout: Duration) -> Waiting<S> {
        match self.jobs.recv_timeout(timeout) {
            Ok(first) => Waiting::Group(self.group(first)),
            Err(RecvTimeoutError::Timeout) => Waiting::Nothing,
            Err(RecvTimeoutError::Disconnected) => Waiting::Disconnected,
        }
    }

    /// As [`JobQueue::next`], without a wait.
    pub(super) fn next_now(&mut self) -> Waiting<S> {
        match self.jobs.try_recv() {
            Ok(first) => Waiting::Group(self.group(first)),
            Err(TryRecvError::Empty) => Waiting::Nothing,
            Err(TryRecvError::Disconnected) => Waiting::Disconnected,
        }
    }

    fn group(&mut self, first: Box<dyn Job<S>>) -> Vec<Box<dyn Job<S>>> {
        let mut operations = first.operations();
        let mut group = vec![first];
        while operations < GROUP
            && let Ok(job) = self.jobs.try_recv()
        {
            operations += job.operations();
            group.push(job);
        }
        self.waiting.fetch_sub(group.len(), Ordering::Relaxed);
        group
    }

    /// What is owed, for the next transaction, before anything else.
    pub(super) fn take_owed(&mut self) -> Vec<Box<dyn Job<S>>> {
        std::mem::take(&mut self.owed)
    }

    /// Keeps a job that a failed transaction did not do.
    pub(super) fn owe(&mut self, job: Box<dyn Job<S>>) {
        self.owed.push(job);
    }

    /// The number of jobs that are owed.
    pub(super) fn owed(&self) -> usize {
        self.owed.len()
    }
}
