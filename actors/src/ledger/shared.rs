//! The view of the ledger's thread for other threads.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::jobs::AnswerSender;
use super::states::{OldestRows, RowCounts};
use crate::locked::locked;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::time::now_ms;
use caduceus_contract::api::ledger_changes::LedgerCheck;
use caduceus_contract::messages::ledger::LedgerView;

/// A disk that has not answered for this long counts as failed, even if it answers later.
const STALL: Duration = Duration::from_secs(5);

/// Called when the view has changed.
type OnChange = Arc<dyn Fn() + Send + Sync>;

/// The view of the ledger, written by its thread, and the request to close.
pub(super) struct SharedView {
    path: PathBuf,
    closing: AtomicBool,
    shown: Mutex<ViewParts>,
    ended: Condvar,
}

#[derive(Default)]
struct ViewParts {
    row_counts: RowCounts,
    oldest: OldestRows,
    corrupt: u64,
    /// The check of all rows.
    check: LedgerCheck,
    /// Whether a check was requested that has not begun.
    check_requested: bool,
    /// Callers who wait for the log to be cleared.
    clear_requests: Vec<AnswerSender<Vec<String>>>,
    write_error: Option<String>,
    /// Operations that wait for the disk and are not refused.
    owed: usize,
    /// What else of the file is damaged.
    damage: Vec<String>,
    /// The file is no longer at its path, so nothing is written.
    missing: Option<String>,
    /// Since when the thread waits for the disk.
    busy: Option<Instant>,
    has_ended: bool,
    on_change: Option<(u64, OnChange)>,
}

impl ViewParts {
    /// The error of the disk, with what waits for it.
    fn refused_write(&self) -> Option<String> {
        let error = self.write_error.as_ref()?;
        Some(if self.owed == 0 {
            error.clone()
        } else {
            format!("{error}; {} changes of state wait for it", self.owed)
        })
    }
}

/// Marks the thread as ended when dropped.
pub(super) struct Ended(pub(super) Arc<SharedView>);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut shown = self.0.lock();
        shown.has_ended = true;
        // Dropped without an answer, they find that it is closed.
        shown.clear_requests.clear();
        drop(shown);
        self.0.ended.notify_all();
    }
}

impl SharedView {
    pub(super) fn new(path: PathBuf, row_counts: RowCounts, corrupt: u64) -> Self {
        let shown = Mutex::new(ViewParts { row_counts, corrupt, ..ViewParts::default() });
        Self { path, closing: AtomicBool::new(false), shown, ended: Condvar::new() }
    }

    pub(super) fn view(&self) -> LedgerView {
        let shown = self.lock();
        let stalled = shown.busy.map(|since| since.elapsed()).filter(|age| *age >= STALL);
        let stalled = stalled.map(|age| format!("the disk has not answered for {} s", age.as_secs()));
        let now_ms = now_ms();
        let lost = shown.has_ended.then(|| "the ledger's thread has ended".to_owned());
        LedgerView {
            path: self.path.clone(),
            inbound: shown.row_counts.inbound(),
            outbound: shown.row_counts.outbound(),
            inbound_oldest_ms: shown.oldest.inbound_ages(now_ms),
            outbound_oldest_ms: shown.oldest.outbound_ages(now_ms),
            written: shown.row_counts.written,
            corrupt: shown.corrupt,
            damage: shown.damage.clone(),
            write_error: lost.or(stalled).or_else(|| shown.missing.clone()).or_else(|| shown.refused_write()),
        }
    }

    pub(super) fn adopt(&self, generation: u64, on_change: OnChange) {
        let mut shown = self.lock();
        if shown.on_change.as_ref().is_none_or(|(present, _)| *present <= generation) {
            shown.on_change = Some((generation, on_change));
        }
    }

    pub(super) fn notify(&self) {
        let on_change = self.lock().on_change.as_ref().map(|(_, on_change)| Arc::clone(on_change));
        if let Some(on_change) = on_change {
            on_change();
        }
    }

    /// The thread begins to use the disk.
    pub(super) fn begin(&self) {
        self.lock().busy = Some(Instant::now());
    }

    /// The thread has finished using the disk. Returns whether anything has changed.
    pub(super) fn show(&self, row_counts: RowCounts, corrupt: u64, write_error: Option<String>) -> bool {
        let mut shown = self.lock();
        shown.busy = None;
        match (&shown.write_error, &write_error) {
            (None, Some(write_error)) => tracing::error!(error = %write_error, "ledger not writable"),
            (Some(_), None) => tracing::info!("ledger writable again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        let changed = shown.row_counts != row_counts || shown.corrupt != corrupt || shown.write_error != write_error;
        (shown.row_counts, shown.corrupt, shown.write_error) = (row_counts, corrupt, write_error);
        changed
    }

    /// The thread has checked a part of the file. Returns whether anything has changed.
    pub(super) fn set_damage(&self, damage: &[String]) -> bool {
        let mut shown = self.lock();
        let changed = shown.damage != damage;
        if changed {
            shown.damage = damage.to_vec();
        }
        changed
    }

    /// The thread has checked the paths of the files. Returns whether anything has changed.
    pub(super) fn set_missing(&self, missing: Option<String>) -> bool {
        let mut shown = self.lock();
        if shown.missing == missing {
            return false;
        }
        if let Some(missing) = &missing {
            tracing::error!(reason = %missing, "ledger file removed or replaced while in use");
        } else {
            tracing::info!("ledger file is back");
        }
        shown.missing = missing;
        true
    }

    /// The thread has looked for the oldest rows.
    pub(super) fn set_oldest(&self, oldest: OldestRows) {
        self.lock().oldest = oldest;
    }

    /// The check of all rows, as far as it is.
    pub(super) fn check(&self) -> LedgerCheck {
        let shown = self.lock();
        let rows: i64 = shown.row_counts.inbound.iter().chain(&shown.row_counts.outbound).sum();
        LedgerCheck {
            rows: u64::try_from(rows).unwrap_or_default(),
            corrupt: shown.corrupt,
            damage: shown.damage.clone(),
            // Without the thread nothing ends a check.
            runs: shown.check.runs && !shown.has_ended,
            ..shown.check.clone()
        }
    }

    /// Requests a check; if one runs, that is the one.
    pub(super) fn request_check(&self) {
        let mut shown = self.lock();
        if !shown.check.runs {
            shown.check.runs = true;
            shown.check_requested = true;
        }
    }

    /// Whether a check is to begin.
    pub(super) fn take_check_request(&self) -> bool {
        std::mem::take(&mut self.lock().check_requested)
    }

    /// A check begins.
    pub(super) fn check_begins(&self, now_ms: i64) {
        self.lock().check = LedgerCheck { runs: true, begun_at_ms: Some(now_ms), ..LedgerCheck::default() };
    }

    /// The check has ended, or could not continue for this reason.
    pub(super) fn check_ended(&self, now_ms: i64, error: Option<String>) {
        let mut shown = self.lock();
        shown.check =
            LedgerCheck { runs: shown.check_requested, ended_at_ms: Some(now_ms), error, ..shown.check.clone() };
    }

    /// Requests that the log is cleared.
    pub(super) fn request_clear(&self, to: Option<AnswerSender<Vec<String>>>) {
        self.lock().clear_requests.extend(to);
    }

    /// The callers that wait until the log is cleared.
    pub(super) fn take_clear_requests(&self) -> Vec<AnswerSender<Vec<String>>> {
        std::mem::take(&mut self.lock().clear_requests)
    }

    /// What the thread owes to the disk.
    pub(super) fn set_owed(&self, owed: usize) {
        self.lock().owed = owed;
    }

    pub(super) fn write_error(&self) -> Option<String> {
        self.lock().write_error.clone()
    }

    pub(super) fn cannot_write(&self) -> bool {
        self.lock().write_error.is_some()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    pub(super) fn start_closing(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().has_ended
    }

    /// Whether the thread has ended, or ends within `timeout`.
    pub(super) fn wait_ended(&self, timeout: Duration) -> bool {
        let outcome = self.ended.wait_timeout_while(self.lock(), timeout, |shown| !shown.has_ended);
        outcome.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }

    // Every critical section leaves it consistent, so a poisoned lock can be used.
    fn lock(&self) -> MutexGuard<'_, ViewParts> {
        locked(&self.shown)
    }
}

impl fmt::Debug for SharedView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedView").field("path", &self.path).field("closing", &self.closing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_does_not_answer_is_reported_until_it_does() {
        let shared = SharedView::new(PathBuf::new(), RowCounts::default(), 0);
        shared.begin();
        assert_eq!(shared.view().write_error, None);
        shared.lock().busy = Instant::now().checked_sub(STALL);
        assert_eq!(shared.view().write_error.as_deref(), Some("the disk has not answered for 5 s"));
        shared.show(RowCounts::default(), 0, None);
        assert_eq!(shared.view().write_error, None);
    }

    #[test]
    fn a_superseded_incarnation_does_not_replace_the_callback() {
        let shared = SharedView::new(PathBuf::new(), RowCounts::default(), 0);
        let (sent, received) = std::sync::mpsc::channel();
        for generation in [2, 1] {
            let sent = sent.clone();
            shared.adopt(generation, Arc::new(move || sent.send(generation).unwrap()));
        }
        shared.notify();
        assert_eq!(received.try_recv(), Ok(2));
    }
}
