//! The handle of the thread that uses the database: passes work to it, and waits for its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io, thread};

use tokio::sync::oneshot;

use super::jobs::{AnswerSender, Job, JobSender, job, queue};
use super::shared::{Ended, SharedView};
use super::store::Store;
use super::work::Work;
use super::writer::Writer;
use caduceus_contract::api::ledger_changes::LedgerCheck;
use caduceus_contract::messages::ledger::{LedgerError, LedgerView};

/// The handle of the thread that owns the database. Cheap to clone; the thread ends, with all its work done, when the
/// last handle is dropped or [`LedgerWriter::close`] is called.
pub struct LedgerWriter<S: Store> {
    jobs: JobSender<S>,
    shared: Arc<SharedView>,
}

// Without a clone of the database.
impl<S: Store> Clone for LedgerWriter<S> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone(), shared: Arc::clone(&self.shared) }
    }
}

/// Not everything was written in time. The thread continues to try until the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger's thread did not end within {0:?}")]
pub struct CloseError(pub Duration);

impl<S: Store> LedgerWriter<S> {
    /// Starts the thread of an open database. The view shows `path` as its place.
    ///
    /// # Errors
    /// The system starts no thread.
    pub(super) fn start(store: S, path: PathBuf) -> io::Result<Self> {
        let (handle, writer) = Self::prepare(store, path);
        let ended = Ended(Arc::clone(&handle.shared));
        thread::Builder::new().name("ledger".to_owned()).spawn(move || {
            // Set last, when the writer and with it the database are dropped.
            let _ended = ended;
            writer.run();
        })?;
        Ok(handle)
    }

    /// The handle of a thread that is not started, and the state of the thread.
    pub(super) fn prepare(store: S, path: PathBuf) -> (Self, Writer<S>) {
        let (jobs, queue) = queue();
        let shared = Arc::new(SharedView::new(path, store.row_counts(), store.corrupt_rows()));
        shared.set_damage(store.damage());
        shared.request_check();
        let writer = Writer::new(store, queue, Arc::clone(&shared));
        (Self { jobs, shared }, writer)
    }

    /// Passes `work` to the thread before this returns, and waits for it to be on disk.
    ///
    /// Accepted work is done even if the answer is no longer awaited. Work that is owed is answered when it is on disk, however long that
    /// takes; other work is answered with an error if the disk does not take it.
    ///
    /// # Errors
    /// [`LedgerError::Unwritable`] at once when the queue is full, unless the work is owed; [`LedgerError::Closed`] after
    /// [`LedgerWriter::close`], and whatever the work answers.
    pub fn ask<W: Work>(&self, work: W) -> impl Future<Output = Result<W::Answer, LedgerError>> + use<W, S> {
        let (to, answered) = oneshot::channel();
        self.ask_for(work, Some(to));
        async move { answered.await.unwrap_or(Err(LedgerError::Closed)) }
    }

    /// As [`LedgerWriter::ask`]; the thread answers the caller behind `to`, if there is one.
    pub(super) fn ask_for<W: Work>(&self, work: W, to: Option<AnswerSender<W::Answer>>) {
        self.send(job(work, to));
    }

    /// Passes a job to the thread, or answers it.
    pub(super) fn send(&self, job: Box<dyn Job<S>>) {
        if self.shared.is_closing() {
            return job.answer(Some(&LedgerError::Closed));
        }
        self.jobs.send(job);
    }

    /// The view of the ledger, without the thread.
    #[must_use]
    pub fn view(&self) -> LedgerView {
        self.shared.view()
    }

    /// The check of all rows, without the thread. One begins at open.
    #[must_use]
    pub fn check(&self) -> LedgerCheck {
        self.shared.check()
    }

    /// Begins a check of all rows in the background, unless one runs.
    pub fn check_again(&self) {
        self.shared.request_check();
        self.jobs.wake();
    }

    /// Removes what was deleted from the log, and returns the files beside the ledger that may have copies of rows.
    ///
    /// # Errors
    /// [`LedgerError::Unwritable`] if another program reads the log, or the disk refuses; worth retrying.
    pub async fn clear_log(&self) -> Result<Vec<String>, LedgerError> {
        let (to, answered) = oneshot::channel();
        self.clear_log_for(Some(to));
        answered.await.unwrap_or(Err(LedgerError::Closed))
    }

    /// As [`LedgerWriter::clear_log`]; the thread answers the caller behind `to`.
    pub(super) fn clear_log_for(&self, to: Option<AnswerSender<Vec<String>>>) {
        if self.shared.is_closing() || self.shared.has_ended() {
            return;
        }
        self.shared.request_clear(to);
        self.jobs.wake();
    }

    /// Calls `on_change` from the thread when the view has changed. Only the callback of the highest `generation` is called.
    pub fn adopt(&self, generation: u64, on_change: impl Fn() + Send + Sync + 'static) {
        self.shared.adopt(generation, Arc::new(on_change));
    }

    /// Whether the thread has ended without a call of [`LedgerWriter::close`].
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.shared.has_ended() && !self.shared.is_closing()
    }

    /// Lets the thread finish the waiting work, close the file and end; waits for that at most `timeout`. Blocks: not for
    /// an arbiter. Closing a closed one is fine.
    ///
    /// # Errors
    /// [`CloseError`] if it takes longer.
    pub fn close(&self, timeout: Duration) -> Result<(), CloseError> {
        self.shared.start_closing();
        self.jobs.wake();
        if self.shared.wait_ended(timeout) { Ok(()) } else { Err(CloseError(timeout)) }
    }
}

impl<S: Store> fmt::Debug for LedgerWriter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerWriter").field("shared", &self.shared).finish_non_exhaustive()
    }
}
