//! Checks the heartbeats of all threads and actors of one tree, and requests the next ones.

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

/// Checks all threads and actors until the tree ends. Runs on the root's thread, whose heartbeat it requests as long as that thread
/// runs: the watchdog monitors it after the end of the tree as well.
pub(crate) async fn run(system: SystemContext, board: Board) {
    let (root_thread, mut ended) = (system.root_thread().clone(), system.ended());
    let mut ticks = tokio::time::interval(system.check_every());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let allowed = system.options().unresponsive_after;
    let staleness = Staleness::new(allowed, monotonic::now());
    let mut monitor = Some(HeartbeatMonitor { staleness, system, board, reported: Vec::new() });
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                root_thread.request_beat(monotonic::now(), allowed);
                if let Some(monitor) = &mut monitor {
                    monitor.check();
                }
            }
            _ = ended.wait_for(Option::is_some), if monitor.is_some() => monitor = None,
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
        let threads = self.system.threads();
        self.judge(&threads);
        // After the judgement, and in every case: the next check judges the beats that are requested here.
        let (now, allowed) = (monotonic::now(), self.system.options().unresponsive_after);
        for thread in &threads {
            thread.request_beat(now, allowed);
        }
    }

    fn judge(&mut self, threads: &[WorkerThread]) {
        if let Some(late) = self.staleness.check(monotonic::now()) {
            tracing::warn!(late_ms = late.as_millis(), "heartbeat check ran late; every deadline is renewed");
            return;
        }
        for thread in threads {
            self.check_thread(thread);
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
        match thread.replace() {
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
            let heartbeat = child.incarnation.heartbeat();
            if heartbeat.awaited_since().is_some_and(|since| self.is_hanging(child, since)) {
                hanging.push(child.clone());
            } else if heartbeat.request(now, allowed) {
                child.incarnation.control().wake();
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

    /// Whether the thread of `child` has run for too long without an answer that is awaited `since`.
    fn is_hanging(&self, child: &RunningChild, since: Duration) -> bool {
        child
            .worker_thread
            .heartbeat()
            .is_some_and(|(number, thread)| number == child.thread_number && self.staleness.hangs(since, thread.last()))
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::options::RootOptions;
    use crate::restart::Strategy;
    use crate::root::Root;
    use crate::spec::SupervisorSpec;
    use crate::watchdog::Watchdog;

    const CEILING: Duration = Duration::from_secs(20);

    async fn until_beat(thread: &WorkerThread, after: Duration) {
        let begin = Instant::now();
        while thread.heartbeat().is_none_or(|(_, heartbeat)| heartbeat.last() <= after) {
            assert!(begin.elapsed() < CEILING, "no beat of the thread {:?}", thread.name());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[actix::test]
    async fn thread_beats_when_it_is_asked() {
        let thread = WorkerThread::new("data");
        thread.spawn(|| async {}).expect("the thread starts");
        for _ in 0..3 {
            let before = monotonic::now();
            // A request that is due wakes the thread although it waits.
            thread.request_beat(monotonic::now(), Duration::ZERO);
            until_beat(&thread, before).await;
        }
    }

    #[actix::test]
    async fn root_beats_as_often_as_its_watchdog_needs_also_after_the_end_of_the_tree() {
        let watchdog = Watchdog::start(Duration::from_secs(2), |_| {}).expect("a thread starts");
        let unresponsive_after = Duration::from_hours(1);
        let options = RootOptions { unresponsive_after, watchdog: Some(watchdog), ..RootOptions::default() };
        let system = SystemContext::new(options.clone());
        assert_eq!(system.check_every(), Duration::from_millis(200));
        let spec = SupervisorSpec::new(Strategy::OneForOne);
        let root = Root::start(spec, options).expect("the tree starts");
        for stop in [false, true] {
            if stop {
                root.stop().await;
            }
            until_beat(root.system().root_thread(), monotonic::now()).await;
        }
    }
}
