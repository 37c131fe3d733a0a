//! What the ledger's thread shows to everyone else.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::messages::LedgerView;
use super::states::RowCounts;

/// A disk that has not answered for so long is in trouble, whatever it says later.
const STALL: Duration = Duration::from_secs(5);

/// Called when the view has changed.
type News = Arc<dyn Fn() + Send + Sync>;

/// The view of the thread, and the order to close.
pub(super) struct SharedView {
    path: PathBuf,
    closing: AtomicBool,
    shown: Mutex<ViewParts>,
    ended: Condvar,
}

#[derive(Default)]
struct ViewParts {
    row_counts: RowCounts,
    damaged: u64,
    trouble: Option<String>,
    /// The file is no longer where it was: what is written is lost with the process.
    gone: Option<String>,
    /// Since when the thread is with the disk.
    busy: Option<Instant>,
    has_ended: bool,
    news: Option<(u64, News)>,
}

/// Says, when dropped, that the thread has ended.
pub(super) struct Ended(pub(super) Arc<SharedView>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.ended.notify_all();
    }
}

impl SharedView {
    pub(super) fn new(path: PathBuf, row_counts: RowCounts) -> Self {
        let shown = Mutex::new(ViewParts { row_counts, ..ViewParts::default() });
        Self { path, closing: AtomicBool::new(false), shown, ended: Condvar::new() }
    }

    pub(super) fn view(&self) -> LedgerView {
        let shown = self.lock();
        let stalled = shown.busy.map(|since| since.elapsed()).filter(|age| *age >= STALL);
        let stalled = stalled.map(|age| format!("the disk has not answered for {} s", age.as_secs()));
        let lost = shown.has_ended.then(|| "the ledger's thread has ended".to_owned());
        LedgerView {
            path: self.path.clone(),
            inbound: shown.row_counts.inbound(),
            outbound: shown.row_counts.outbound(),
            written: shown.row_counts.written,
            damaged: shown.damaged,
            trouble: lost.or(stalled).or_else(|| shown.gone.clone()).or_else(|| shown.trouble.clone()),
        }
    }

    pub(super) fn adopt(&self, generation: u64, news: News) {
        let mut shown = self.lock();
        if shown.news.as_ref().is_none_or(|(present, _)| *present <= generation) {
            shown.news = Some((generation, news));
        }
    }

    pub(super) fn tell(&self) {
        let news = self.lock().news.as_ref().map(|(_, news)| Arc::clone(news));
        if let Some(news) = news {
            news();
        }
    }

    /// The thread turns to the disk.
    pub(super) fn begin(&self) {
        self.lock().busy = Some(Instant::now());
    }

    /// The thread is back from the disk. Answers whether anything has changed.
    pub(super) fn show(&self, row_counts: RowCounts, damaged: u64, trouble: Option<String>) -> bool {
        let mut shown = self.lock();
        shown.busy = None;
        match (&shown.trouble, &trouble) {
            (None, Some(trouble)) => tracing::error!(%trouble, "the ledger takes no writes"),
            (Some(_), None) => tracing::info!("the ledger takes writes again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        let changed = shown.row_counts != row_counts || shown.damaged != damaged || shown.trouble != trouble;
        (shown.row_counts, shown.damaged, shown.trouble) = (row_counts, damaged, trouble);
        changed
    }

    /// The thread looked whether the files are where they were. Answers whether anything has changed.
    pub(super) fn show_gone(&self, gone: Option<String>) -> bool {
        let mut shown = self.lock();
        if shown.gone == gone {
            return false;
        }
        if let Some(gone) = &gone {
            tracing::error!(%gone, "the ledger was taken away under the gateway");
        } else {
            tracing::info!("the ledger is where it was");
        }
        shown.gone = gone;
        true
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    pub(super) fn in_trouble(&self) -> bool {
        self.lock().trouble.is_some()
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

    /// Whether the thread has ended, or does within `patience`.
    pub(super) fn wait_ended(&self, patience: Duration) -> bool {
        let outcome = self.ended.wait_timeout_while(self.lock(), patience, |shown| !shown.has_ended);
        outcome.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }

    // Every critical section leaves it whole, so a poisoned lock is still a good one.
    fn lock(&self) -> MutexGuard<'_, ViewParts> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_disk_that_does_not_answer_is_trouble_until_it_does() {
        let shared = SharedView::new(PathBuf::new(), RowCounts::default());
        shared.begin();
        assert_eq!(shared.view().trouble, None);
        shared.lock().busy = Instant::now().checked_sub(STALL);
        assert_eq!(shared.view().trouble.as_deref(), Some("the disk has not answered for 5 s"));
        shared.show(RowCounts::default(), 0, None);
        assert_eq!(shared.view().trouble, None);
    }

    #[test]
    fn a_superseded_incarnation_does_not_take_the_news_back() {
        let shared = SharedView::new(PathBuf::new(), RowCounts::default());
        let (told, news) = std::sync::mpsc::channel();
        for generation in [2, 1] {
            let told = told.clone();
            shared.adopt(generation, Arc::new(move || told.send(generation).unwrap()));
        }
        shared.tell();
        assert_eq!(news.try_recv(), Ok(2));
    }
}
