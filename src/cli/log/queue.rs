//! The bounded queue of log lines, and the thread that writes them to standard error.
//!
//! A reader that is gone, stalled or out of space costs lines and no time: what does not fit is counted, and the count is written
//! as a separate line as soon as a write succeeds again. Lost when the process is killed: the queue.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use caduceus_actors::locked::locked;

/// Most bytes that wait; the writer may hold as many again.
const CAPACITY: usize = 2 * 1024 * 1024;

/// How often a thread that panics tries to put its line in, and the pause between two tries. The others hold the lock for microseconds.
const TRIES: u32 = 50;
const RETRY_EVERY: Duration = Duration::from_millis(1);

/// Writes bytes; answers how many were written, and why no more.
pub(super) type Write = dyn Fn(&[u8]) -> (usize, io::Result<()>) + Send;
/// Makes the lines that report this number of lost lines.
pub(super) type LostNote = dyn Fn(u64) -> Vec<u8> + Send;

/// The sender of the queue. Cheap to clone; clones are the same queue.
#[derive(Debug, Clone, Default)]
pub(super) struct LogQueue(Arc<QueueState>);

#[derive(Debug, Default)]
struct QueueState {
    waiting: Mutex<WaitingLines>,
    changed: Condvar,
    /// All lines lost since the start.
    dropped: AtomicU64,
    /// Those of them that no line has reported yet.
    unreported: AtomicU64,
}

#[derive(Debug, Default)]
struct WaitingLines {
    /// Whole lines.
    bytes: Vec<u8>,
    /// The writer has taken some and has not written them all.
    writing: bool,
}

impl LogQueue {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// If no thread can be started; then no line is written.
    pub(super) fn start(&self, write: Box<Write>, report: Box<LostNote>) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.run(&*write, &*report))?;
        Ok(())
    }

    /// Puts one line in, which ends with a newline. Never blocks on input or output.
    pub(super) fn push(&self, line: &[u8]) {
        let pushed = self.0.waiting_for(thread::panicking(), || thread::sleep(RETRY_EVERY)).map(|mut waiting| {
            if waiting.bytes.len() + line.len() <= CAPACITY {
                waiting.bytes.extend_from_slice(line);
            } else {
                // While the lock is held: its position is behind the lines that wait now.
                self.0.lose(1);
            }
        });
        match pushed {
            Some(()) => self.0.changed.notify_all(),
            None => self.0.lose(1),
        }
    }

    /// Lines lost since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until every line pushed so far has been written or lost; at most `timeout`. Returns whether that is so.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let busy = |waiting: &mut WaitingLines| waiting.writing || !waiting.bytes.is_empty();
        let waited = self.0.changed.wait_timeout_while(self.0.waiting(), timeout, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl QueueState {
    fn run(&self, write: &Write, report: &LostNote) {
        let mut sink = LineWriter { write, mid_line: false };
        let mut batch = Vec::new();
        loop {
            let mut waiting = self.waiting();
            waiting.writing = false;
            self.changed.notify_all();
            let empty = |waiting: &mut WaitingLines| waiting.bytes.is_empty();
            waiting = self.changed.wait_while(waiting, empty).unwrap_or_else(PoisonError::into_inner);
            waiting.writing = true;
            batch.clear();
            std::mem::swap(&mut batch, &mut waiting.bytes);
            // These were lost while this batch waited, so they are reported after it; later losses are reported after the next batch.
            let unfit = self.unreported.load(Ordering::Relaxed);
            drop(waiting);
            let unwritten = sink.put(&batch);
            self.lose(unwritten);
            let unreported = unfit + unwritten;
            if unreported > 0 && sink.put(&report(unreported)) == 0 {
                self.unreported.fetch_sub(unreported, Ordering::Relaxed);
            }
        }
    }

    fn lose(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
        self.unreported.fetch_add(lines, Ordering::Relaxed);
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingLines> {
        locked(&self.waiting)
    }

    /// A thread that panics may hold the lock itself, so it does not wait for it without limit. `pause` is called between two tries.
    fn waiting_for(&self, panicking: bool, mut pause: impl FnMut()) -> Option<MutexGuard<'_, WaitingLines>> {
        if !panicking {
            return Some(self.waiting());
        }
        for _ in 0..TRIES {
            match self.waiting.try_lock() {
                Ok(waiting) => return Some(waiting),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => pause(),
            }
        }
        None
    }
}

/// What is written to, and whether it stopped in the middle of a line.
struct LineWriter<'w> {
    write: &'w Write,
    mid_line: bool,
}

impl LineWriter<'_> {
    /// Writes whole lines. Answers how many were not written whole.
    fn put(&mut self, lines: &[u8]) -> u64 {
        if self.mid_line && (self.write)(b"\n").0 == 0 {
            return count(lines);
        }
        self.mid_line = false;
        let (written, ended) = (self.write)(lines);
        if ended.is_ok() {
            return 0;
        }
        self.mid_line = written > 0 && lines[written - 1] != b'\n';
        count(&lines[written..])
    }
}

fn count(lines: &[u8]) -> u64 {
    // The last one may lack only its newline.
    lines.split_inclusive(|byte| *byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use super::*;

    /// Ceiling for what another thread does.
    const SOON: Duration = Duration::from_secs(20);

    /// The queue, what lets a write go, what was written, and that one has begun.
    type Gated = (LogQueue, Sender<io::Result<()>>, Receiver<Vec<u8>>, Receiver<()>);

    /// A queue with a writer that waits for `release` before each write, and signals when it has one.
    fn gated() -> Gated {
        let (queue, (release, gate), (shown, written)) = (LogQueue::default(), channel(), channel());
        let (entered, in_hand) = channel();
        let write = move |bytes: &[u8]| {
            let _ = entered.send(());
            let allowed: io::Result<()> = gate.recv().unwrap_or(Ok(()));
            if allowed.is_ok() {
                let _ = shown.send(bytes.to_vec());
            }
            (if allowed.is_ok() { bytes.len() } else { 0 }, allowed)
        };
        queue.start(Box::new(write), Box::new(|lost| format!("{lost} lost\n").into_bytes())).unwrap();
        (queue, release, written, in_hand)
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_no_time_and_the_loss_is_reported_once_it_reads() {
        let (queue, release, written, in_hand) = gated();
        queue.push(b"first\n");
        in_hand.recv_timeout(SOON).expect("the writer has it in hand, and waits");
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let begun = Instant::now();
        for _ in 0..10_000 {
            queue.push(&line);
        }
        assert!(begun.elapsed() < SOON, "no push waited");
        let lost = queue.dropped();
        assert_eq!(lost, 10_000 - 2048, "of 10,000 KiB, for a room of 2 MiB");
        assert!(!queue.flush(Duration::from_millis(10)), "it is not written");
        drop(release);
        let mut lines = Vec::new();
        while !lines.ends_with(format!("{lost} lost\n").as_bytes()) {
            lines.extend(written.recv_timeout(SOON).expect("the count of the lost lines"));
        }
        assert_eq!(count(&lines), 10_001 - lost + 1, "each line is written or counted");
        assert!(queue.flush(SOON));
    }

    #[test]
    fn lines_that_a_full_disk_refuses_are_counted_and_reported_when_there_is_room_again() {
        let (queue, release, written, _in_hand) = gated();
        let full = || Err(io::Error::from(io::ErrorKind::StorageFull));
        queue.push(b"one\ntwo\n");
        // The lines, and the line that would report them.
        release.send(full()).unwrap();
        release.send(full()).unwrap();
        assert!(queue.flush(SOON));
        assert_eq!(queue.dropped(), 2);
        drop(release);
        queue.push(b"three\n");
        assert_eq!(written.recv_timeout(SOON).unwrap(), b"three\n");
        assert_eq!(written.recv_timeout(SOON).unwrap(), b"2 lost\n");
        assert!(queue.flush(SOON));
        assert!(written.try_recv().is_err(), "it is reported once");
    }

    #[test]
    fn a_line_cut_by_a_full_disk_is_ended_before_the_next_one() {
        let (queue, (shown, written)) = (LogQueue::default(), channel());
        let first = AtomicU64::new(1);
        let write = move |bytes: &[u8]| {
            if first.swap(0, Ordering::Relaxed) == 1 {
                let _ = shown.send(bytes[..3].to_vec());
                return (3, Err(io::ErrorKind::StorageFull.into()));
            }
            let _ = shown.send(bytes.to_vec());
            (bytes.len(), Ok(()))
        };
        queue.start(Box::new(write), Box::new(|lost| format!("{lost} lost\n").into_bytes())).unwrap();
        queue.push(b"abcdef\n");
        assert!(queue.flush(SOON));
        queue.push(b"next\n");
        assert!(queue.flush(SOON));
        let all: Vec<u8> = written.try_iter().flatten().collect();
        assert_eq!(String::from_utf8(all).unwrap(), "abc\n1 lost\nnext\n");
    }

    #[test]
    fn the_line_of_a_panic_is_not_lost_because_another_thread_holds_the_lock_for_a_moment() {
        let state = QueueState::default();
        let mut held = Some(state.waiting());
        assert!(state.waiting_for(true, || drop(held.take())).is_some());
        let _held_by_itself = state.waiting();
        assert!(state.waiting_for(true, || ()).is_none(), "it holds the lock itself");
    }
}
