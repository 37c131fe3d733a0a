//! The only thread that writes the database.
//!
//! It takes all waiting work, does it in one transaction, and answers when that is on disk: so one fsync serves
//! all callers that arrived during the last one. What is owed and could not be written is at the head of every transaction until it is
//! on disk, so that no later work finds the state before it. The thread outlives every `LedgerActor`, which adopts it; it is
//! never replaced, because two threads on one hung disk are worse than one.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::failure::StoreError;
use super::jobs::{Job, JobQueue, Waiting};
use super::repeats::LastReplies;
use super::retention::{Retention, expiry};
use super::shared::SharedView;
use super::states::RowCounts;
use super::store::{Store, Wrote};
use super::work::LedgerTransaction;
use crate::time::now_ms;
use caduceus_contract::messages::ledger::LedgerError;

/// Interval of attempts to write while the disk accepts no writes and there is no work.
const PROBE: Duration = Duration::from_secs(1);
/// Failures of one operation at a part of the file that cannot be read after which it is given up: everything else waits behind it.
const FAILURES_ALONE: u32 = 10;
/// Interval of checks whether the files are still there.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Interval of slices of the check of all rows, until it is done.
const CHECK_ROWS_EVERY: Duration = Duration::from_millis(20);
/// Least time between two notifications, so that a flood of events does not become one of notifications.
const NOTIFY_EVERY: Duration = Duration::from_millis(100);

/// The state of the thread.
pub(super) struct Writer<S: Store> {
    store: S,
    queue: JobQueue<S>,
    replies: LastReplies,
    row_counts: RowCounts,
    /// When the owed operations were last done one by one.
    separated_at: Option<Instant>,
    retention: Retention,
    /// Whether rows are left to check.
    unchecked: bool,
    /// The time of the last notification.
    notified: Option<Instant>,
    /// Whether anything has changed since.
    changed: bool,
    shared: Arc<SharedView>,
}

impl<S: Store> Writer<S> {
    pub(super) fn new(store: S, queue: JobQueue<S>, shared: Arc<SharedView>) -> Self {
        Self {
            row_counts: store.row_counts(),
            store,
            queue,
            replies: LastReplies::default(),
            separated_at: None,
            retention: Retention::default(),
            unchecked: true,
            notified: None,
            changed: false,
            shared,
        }
    }

    /// Works until the queue is closed, and writes what is owed.
    pub(super) fn run(mut self) {
        let mut swept_at = Instant::now();
        let mut checked_at = Instant::now();
        let mut rows_checked_at = None;
        self.shared.set_oldest(self.store.oldest_rows());
        loop {
            match self.queue.next(self.idle_wait()) {
                Waiting::Group(jobs) => self.run_group(jobs),
                Waiting::Nothing if self.shared.cannot_write() => self.probe(),
                Waiting::Nothing => {}
                Waiting::Disconnected => break,
            }
            if self.shared.is_closing() {
                break;
            }
            let now = Instant::now();
            if self.retention.is_due(now.duration_since(swept_at), &self.row_counts) {
                self.sweep();
            }
            swept_at = now;
            self.clear_log();
            if self.shared.take_check_request() {
                self.store.check_again();
                self.shared.check_begins(now_ms());
                self.unchecked = true;
            }
            if self.unchecked && rows_checked_at.is_none_or(|at| now.duration_since(at) >= CHECK_ROWS_EVERY) {
                rows_checked_at = Some(now);
                self.check_rows();
            }
            if now.duration_since(checked_at) >= CHECK_EVERY {
                checked_at = now;
                self.check_files();
            }
            self.notify();
        }
        while let Waiting::Group(jobs) = self.queue.next_now() {
            self.run_group(jobs);
        }
        while self.queue.owed() > 0 {
            thread::sleep(PROBE);
            self.run_group(Vec::new());
        }
    }

    /// How long the thread waits for work.
    fn idle_wait(&self) -> Duration {
        let on_change = self
            .changed
            .then(|| self.notified.map_or(Duration::ZERO, |notified| NOTIFY_EVERY.saturating_sub(notified.elapsed())));
        let probe = self.shared.cannot_write().then_some(PROBE);
        let rows = self.unchecked.then_some(CHECK_ROWS_EVERY);
        [on_change, probe, rows].into_iter().flatten().fold(self.retention.due_in().min(CHECK_EVERY), Duration::min)
    }

    /// Checks whether the files are at their paths.
    fn check_files(&mut self) {
        self.shared.begin();
        let missing = self.store.check_files();
        self.changed |= self.shared.set_missing(missing);
        self.show(self.shared.write_error());
    }

    /// Checks a slice of the rows. After a failure the rest stays unchecked until the next start.
    fn check_rows(&mut self) {
        self.shared.begin();
        let checked = self.store.check_rows();
        self.unchecked = matches!(checked, Ok(true));
        let error = checked.err().map(|error| error.to_string());
        if let Some(error) = &error {
            tracing::warn!(error, "rows of the ledger not all checked");
        }
        self.changed |= self.shared.set_damage(self.store.damage());
        self.show(self.shared.write_error());
        if !self.unchecked {
            self.shared.check_ended(now_ms(), error);
        }
    }

    /// Clears the log for those who asked for it.
    fn clear_log(&mut self) {
        let requests = self.shared.take_clear_requests();
        if requests.is_empty() {
            return;
        }
        self.shared.begin();
        let cleared = self.store.clear_log().map_err(|error| LedgerError::Unwritable(error.to_string()));
        self.show(self.shared.write_error());
        for to in requests {
            // The caller may have timed out.
            let _ = to.send(cleared.clone());
        }
    }

    /// Does what is owed and then `jobs` in one transaction.
    fn run_group(&mut self, jobs: Vec<Box<dyn Job<S>>>) {
        let mut all = self.queue.take_owed();
        let owed = all.len();
        all.extend(jobs);
        self.run_together(all);
        if self.queue.owed() > 0 && self.separated_at.is_none_or(|at| at.elapsed() >= PROBE) {
            self.separated_at = Some(Instant::now());
            self.separate_owed();
        }
        if owed > 0 && self.queue.owed() == 0 {
            tracing::info!(operations = owed, "what the ledger owed to the disk is written");
        }
    }

    /// Does the owed operations one by one, in order. One that meets a part of the file that cannot be read is passed over, and given up
    /// after some rounds; any other failure ends the round.
    fn separate_owed(&mut self) {
        self.shared.begin();
        if let Err(error) = self.store.probe() {
            return self.show(Some(error.to_string()));
        }
        let mut write_error = None;
        let mut left = self.queue.take_owed().into_iter();
        while let Some(job) = left.next() {
            let mut one = vec![job];
            let outcome = self.try_commit(&mut one);
            let Some(mut job) = one.pop() else { continue };
            let error = match outcome {
                Ok(Ok(_)) => {
                    job.answer(None);
                    continue;
                }
                Ok(Err(error)) => error,
                Err(panic) => {
                    job.answer(Some(&LedgerError::Unwritable(panic_text(panic.as_ref()))));
                    continue;
                }
            };
            write_error = Some(error.to_string());
            if error.is_unreadable() && job.failed_alone() >= FAILURES_ALONE {
                tracing::error!(%error, "an operation of the ledger is given up: a part of the file cannot be read");
                job.answer(Some(&LedgerError::Unwritable(error.to_string())));
                continue;
            }
            let passed_over = error.is_unreadable();
            self.queue.owe(job);
            if !passed_over {
                left.by_ref().for_each(|job| self.queue.owe(job));
            }
        }
        self.show(write_error.filter(|_| self.queue.owed() > 0));
        self.shared.set_owed(self.queue.owed());
    }

    /// Does all of `jobs` in one transaction, and then answers them.
    fn run_together(&mut self, mut jobs: Vec<Box<dyn Job<S>>>) {
        self.shared.begin();
        let outcome = self.try_commit(&mut jobs);
        let before = self.shared.write_error();
        let (failure, write_error, can_pass) = match outcome {
            Ok(Ok(Wrote::Something)) => (None, None, true),
            // Reads succeed on a full disk.
            Ok(Ok(Wrote::Nothing)) => (None, before, true),
            Ok(Err(error)) => (Some(error.to_string()), Some(error.to_string()), error.can_pass()),
            Err(panic) => (Some(panic_text(panic.as_ref())), before, false),
        };
        // One of them is at fault, and the others must not suffer from it.
        if failure.is_some() && !can_pass && jobs.len() > 1 {
            return self.run_each_alone(jobs);
        }
        // Before the answers, so that a caller with an answer finds it counted.
        self.show(write_error);
        let failure = failure.map(LedgerError::Unwritable);
        for job in jobs {
            match &failure {
                Some(_) if can_pass && job.is_owed() => self.queue.owe(job),
                Some(error) if job.is_owed() => {
                    tracing::error!(%error, "an operation of the ledger is given up: it can never succeed");
                    job.answer(failure.as_ref());
                }
                _ => job.answer(failure.as_ref()),
            }
        }
        self.shared.set_owed(self.queue.owed());
    }

    /// Does each of `jobs` in a transaction of its own, until the disk refuses one that is owed: no later one may overtake it.
    fn run_each_alone(&mut self, jobs: Vec<Box<dyn Job<S>>>) {
        for job in jobs {
            if self.queue.owed() == 0 {
                self.run_together(vec![job]);
            } else if job.is_owed() {
                self.queue.owe(job);
            } else {
                job.answer(Some(&LedgerError::Unwritable(self.shared.write_error().unwrap_or_default())));
            }
        }
        self.shared.set_owed(self.queue.owed());
    }

    /// Does `jobs` in one transaction. The outer error is a panic of one of them.
    fn try_commit(&mut self, jobs: &mut [Box<dyn Job<S>>]) -> thread::Result<Result<Wrote, StoreError>> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.commit(jobs)));
        // Nothing to undo after a commit.
        self.replies.undo();
        outcome
    }

    fn commit(&mut self, jobs: &mut [Box<dyn Job<S>>]) -> Result<Wrote, StoreError> {
        let mut ledger = LedgerTransaction::new(self.store.begin(now_ms())?, &mut self.replies);
        for job in jobs {
            job.run(&mut ledger)?;
        }
        let (wrote, delta) = ledger.commit()?;
        self.row_counts.add(&delta);
        self.replies.committed();
        Ok(wrote)
    }

    /// Writes what is owed, or without effect, to check whether the disk accepts writes again.
    fn probe(&mut self) {
        if self.queue.owed() > 0 {
            return self.run_group(Vec::new());
        }
        self.shared.begin();
        let outcome = self.store.probe();
        self.show(outcome.err().map(|error| error.to_string()));
    }

    fn sweep(&mut self) {
        self.shared.begin();
        let outcome = self.store.delete_expired(&expiry(&self.row_counts, now_ms()));
        self.retention.swept(&outcome);
        if let Some(rows) = self.retention.early() {
            tracing::warn!(rows, "the ledger has too many rows: the oldest were deleted before seven days");
        }
        match outcome {
            Ok(deleted) => self.row_counts.add(&deleted.delta),
            // It has no caller, and the next write shows whether the disk works.
            Err(error) => tracing::warn!(%error, "old rows of the ledger not deleted"),
        }
        self.show(self.shared.write_error());
    }

    fn show(&mut self, write_error: Option<String>) {
        self.changed |= self.shared.show(self.row_counts, self.store.corrupt_rows(), write_error);
    }

    fn notify(&mut self) {
        if self.changed && self.notified.is_none_or(|notified| notified.elapsed() >= NOTIFY_EVERY) {
            (self.notified, self.changed) = (Some(Instant::now()), false);
            self.shared.set_oldest(self.store.oldest_rows());
            self.shared.notify();
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let text = format!("an operation panicked: {}", text.unwrap_or("without a message"));
    tracing::error!(%text, "group of operations rolled back");
    text
}

#[cfg(test)]
mod exploration;
#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
