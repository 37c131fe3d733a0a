//! Checks the heartbeats of all threads and actors of one tree.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::board::{Board, RunningChild};
use crate::child_event::ChildEvent;
use crate::context::SystemContext;
use crate::exit::ExitReason;
use crate::heartbeat::Heartbeat;
use crate::monotonic;
use crate::options::RootEnd;
use crate::staleness::Staleness;
use crate::worker_thread::WorkerThread;

/// Checks all threads and actors until the tree ends. Runs on the root's thread, which the watchdog monitors.
pub(crate) async fn run(system: SystemContext, board: Board) {
    let mut monitor = HeartbeatMonitor {
        staleness: Staleness::new(system.options().unresponsive_after, monotonic::now()),
        system: system.clone(),
        board,
        reported: Vec::new(),
    };
    let mut ticks = tokio::time::interval(system.beat_every());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ended = system.ended();
    loop {
        tokio::select! {
            _ = ticks.tick() => monitor.check(),
            _ = ended.wait_for(Option::is_some) => return,
        }
    }
}

struct HeartbeatMonitor {
    staleness: Staleness,
    system: SystemContext,
    board: Board,
    /// Threads reported as unresponsive and not replaced: name and number.
    reported: Vec<(String, u64)>,
}

impl HeartbeatMonitor {
    fn check(&mut self) {
        if let Some(late) = self.staleness.check(monotonic::now()) {
            tracing::warn!(late_ms = late.as_millis(), "heartbeat check ran late; every deadline is renewed");
            return;
        }
        for thread in self.system.threads() {
            self.check_thread(&thread);
        }
        self.check_actors();
    }

    fn check_thread(&mut self, thread: &WorkerThread) {
        let Some((number, heartbeat)) = thread.heartbeat() else { return };
        let mark = (thread.name().to_owned(), number);
        if !self.staleness.is_stale(heartbeat.last(), monotonic::now()) {
            if let Some(at) = self.reported.iter().position(|reported| *reported == mark) {
                self.reported.swap_remove(at);
                tracing::warn!(thread = thread.name(), "thread is responsive again");
            }
        } else if thread.is_replaceable() {
            self.replace(thread, number, &heartbeat);
        } else if !self.reported.contains(&mark) {
            let heartbeat_age_ms = heartbeat.age().as_millis();
            tracing::error!(thread = thread.name(), heartbeat_age_ms, "thread is unresponsive, not replaced");
            self.reported.push(mark);
        }
    }

    fn replace(&self, thread: &WorkerThread, number: u64, heartbeat: &Heartbeat) {
        let leaked = self.system.leaked();
        let heartbeat_age_ms = heartbeat.age().as_millis();
        tracing::error!(thread = thread.name(), heartbeat_age_ms, leaked, "thread is unresponsive");
        let too_many = leaked >= self.system.options().max_leaked_threads;
        // Fenced before the replacement: no actor of the old thread may run beside its successor.
        let on_thread = |child: &RunningChild| child.worker_thread.same(thread) && child.thread_number == number;
        for child in self.board.running_children().into_iter().filter(on_thread) {
            if !too_many {
                report_unresponsive(&child);
            }
            child.incarnation.fence();
        }
        if too_many {
            return self.system.end(RootEnd::TooManyUnresponsive);
        }
        match thread.replace(self.system.beat_every()) {
            Ok(unresponsive) => unresponsive.into_iter().for_each(|thread| self.system.leak(thread)),
            Err(error) => {
                tracing::error!(thread = thread.name(), %error, "no thread to replace an unresponsive one");
                self.system.end(RootEnd::TooManyUnresponsive);
            }
        }
    }

    /// Finds actors that hang on a thread that runs, and requests a heartbeat of those that have run since the last one.
    fn check_actors(&self) {
        let (now, allowed) = (monotonic::now(), self.system.options().unresponsive_after);
        let (mut hanging, mut left) = (Vec::new(), Vec::new());
        self.board.visit_running(&mut |child| {
            if child.incarnation.is_fenced() {
                return;
            }
            if is_left_behind(child) {
                left.push(child.clone());
                return;
            }
            if !child.permanent {
                return;
            }
            match child.incarnation.heartbeat().requested() {
                Some(asked) => hanging.extend(self.is_hanging(child, asked).then(|| child.clone())),
                None if child.incarnation.heartbeat().request(now, allowed) => child.incarnation.control().wake(),
                None => {}
            }
        });
        for child in left {
            tracing::error!(actor = child.incarnation.path(), "actor was started on a thread that was being replaced");
            report_unresponsive(&child);
            child.incarnation.fence();
        }
        for child in hanging {
            tracing::error!(
                actor = child.incarnation.path(),
                generation = child.incarnation.generation(),
                heartbeat_age_ms = child.heartbeat_age(now).as_millis(),
                allowed_ms = allowed.as_millis(),
                "actor hangs while its thread runs"
            );
            report_unresponsive(&child);
            child.incarnation.fence();
            // Its thread runs, so its runner drops it.
            child.incarnation.control().wake();
        }
    }

    /// Whether the thread of `child` has run for too long without an answer to the request at `asked`.
    fn is_hanging(&self, child: &RunningChild, asked: Duration) -> bool {
        child
            .worker_thread
            .heartbeat()
            .is_some_and(|(number, thread)| number == child.thread_number && self.staleness.hangs(asked, thread.last()))
    }
}

/// Whether `child` was launched while its thread was being replaced, so that it was not among the children of the old thread.
fn is_left_behind(child: &RunningChild) -> bool {
    let present = child.worker_thread.heartbeat();
    child.thread_number != WorkerThread::NO_THREAD && present.is_some_and(|(number, _)| number > child.thread_number)
}

/// Reports to the supervisor, before the fence: the runner of a fenced incarnation reports `Killed`, and the first report counts.
/// The supervisor runs on this thread, so it handles neither before the caller has returned.
fn report_unresponsive(child: &RunningChild) {
    // Without a receiver the supervisor has ended, and has fenced the child.
    let _ = child.events.send(ChildEvent::Ended { run: child.run, reason: ExitReason::Unresponsive });
}
