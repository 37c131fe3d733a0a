//! Who has shown no life for too long: the plain decisions, and the task that looks after lanes and actors.

use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::board::{Board, Posting};
use super::exit::ExitReason;
use super::lane::Lane;
use super::pulse::Pulse;
use super::realm::Realm;
use super::root::RootEnd;
use super::runner::News;

/// Judges heartbeats, and itself: a watcher that woke late (suspended machine, SIGSTOP, starved box) cannot tell
/// who hung from who was not let run either, so it gives everyone a new deadline.
#[derive(Debug)]
pub(super) struct Lookout {
    allowance: Duration,
    last_look: Instant,
    /// Silence before this moment is forgiven.
    floor: Instant,
}

impl Lookout {
    pub(super) fn new(allowance: Duration, now: Instant) -> Self {
        Self { allowance, last_look: now, floor: now }
    }

    /// Looks up, after at most a tenth of the allowance if all is well. Returns how late, if too late.
    pub(super) fn look(&mut self, now: Instant) -> Option<Duration> {
        let slept = now.saturating_duration_since(self.last_look);
        self.last_look = now;
        if slept < self.allowance / 2 {
            return None;
        }
        self.floor = now;
        Some(slept)
    }

    /// Whether silence since `last` is too long.
    pub(super) fn is_stale(&self, last: Instant, now: Instant) -> bool {
        now.saturating_duration_since(last.max(self.floor)) > self.allowance
    }

    /// Whether an actor hangs although its thread turns. Judged at the thread's last turn: a thread that stands
    /// still says nothing about the actors on it.
    pub(super) fn hangs(&self, actor: Instant, thread: Instant) -> bool {
        self.is_stale(actor, thread)
    }
}

/// Looks after all lanes and actors of a realm until it ends. Runs on the root's thread, which the watchdog watches.
pub(super) async fn watch(realm: Realm, board: Board) {
    let mut lookout = Lookout::new(realm.options().wedge_after, Instant::now());
    let mut ticks = tokio::time::interval(realm.beat_every());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reported = Vec::new();
    let mut ended = realm.ended();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = ended.wait_for(Option::is_some) => return,
        }
        let now = Instant::now();
        if let Some(late) = lookout.look(now) {
            tracing::warn!(late_ms = late.as_millis(), "the watcher woke late; everyone gets a new deadline");
            continue;
        }
        for lane in realm.lanes() {
            look_after_lane(&lane, &lookout, now, &realm, &board, &mut reported);
        }
        look_after_actors(&lookout, &realm, &board);
    }
}

fn look_after_lane(
    lane: &Lane,
    lookout: &Lookout,
    now: Instant,
    realm: &Realm,
    board: &Board,
    reported: &mut Vec<(String, u64)>,
) {
    let Some((thread, pulse)) = lane.sign_of_life() else { return };
    let mark = (lane.name().to_owned(), thread);
    if !lookout.is_stale(pulse.last(), now) {
        if let Some(at) = reported.iter().position(|known| *known == mark) {
            reported.swap_remove(at);
            tracing::warn!(lane = lane.name(), "lane turns again");
        }
        return;
    }
    if !lane.is_replaceable() {
        if !reported.contains(&mark) {
            tracing::error!(lane = lane.name(), silent_ms = pulse.age().as_millis(), "lane is wedged, not replaced");
            reported.push(mark);
        }
        return;
    }
    replace(lane, thread, &pulse, realm, board);
}

fn replace(lane: &Lane, thread: u64, pulse: &Pulse, realm: &Realm, board: &Board) {
    let leaked = realm.leaked();
    let limit = realm.options().max_leaked_threads;
    tracing::error!(lane = lane.name(), silent_ms = pulse.age().as_millis(), leaked, "lane is wedged");
    // First fence, then replace: nothing of the old thread may act beside the new one.
    let stranded: Vec<Posting> =
        board.postings().into_iter().filter(|posting| posting.lane.same(lane) && posting.thread == thread).collect();
    let too_many = leaked >= limit;
    for posting in &stranded {
        if !too_many {
            declare_wedged(posting);
        }
        posting.life.fence();
    }
    if too_many {
        return realm.end(RootEnd::TooManyWedged);
    }
    match lane.replace(realm.beat_every()) {
        Ok(wedged) => wedged.into_iter().for_each(|thread| realm.leak(thread)),
        Err(error) => {
            tracing::error!(lane = lane.name(), %error, "no thread to replace a wedged one");
            realm.end(RootEnd::TooManyWedged);
        }
    }
}

/// Finds actors that wait for ever on a thread that turns.
fn look_after_actors(lookout: &Lookout, realm: &Realm, board: &Board) {
    for posting in board.postings() {
        if !posting.permanent || posting.life.is_fenced() {
            continue;
        }
        let Some((thread, turned)) = posting.lane.sign_of_life() else { continue };
        if thread == posting.thread && lookout.hangs(posting.pulse.last(), turned.last()) {
            tracing::error!(
                actor = posting.life.path(),
                generation = posting.life.generation(),
                silent_ms = posting.pulse.age().as_millis(),
                allowed_ms = realm.options().wedge_after.as_millis(),
                "actor hangs while its thread turns"
            );
            declare_wedged(&posting);
            posting.life.fence();
            // Its thread turns, so its runner will drop it.
            posting.leash.wake();
        }
    }
}

/// Tells the supervisor, before the fence falls: a runner that sees the fence reports that its instance was killed, and
/// the first word counts. The supervisor runs on this thread, so it acts on neither before we are done.
fn declare_wedged(posting: &Posting) {
    // Without a listener its supervisor is gone, and has fenced it itself.
    let _ = posting.news.send(News::Ended { run: posting.run, reason: ExitReason::Wedged });
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn silence_is_stale_only_past_the_allowance() {
        let start = Instant::now();
        let lookout = Lookout::new(5 * S, start);
        assert!(!lookout.is_stale(start, start + 5 * S));
        assert!(lookout.is_stale(start, start + 6 * S));
    }

    #[test]
    fn watcher_that_woke_late_gives_everyone_a_new_deadline() {
        let start = Instant::now();
        let mut lookout = Lookout::new(5 * S, start);
        assert_eq!(lookout.look(start + S), None);
        assert_eq!(lookout.look(start + 60 * S), Some(59 * S));
        assert!(!lookout.is_stale(start, start + 65 * S));
        assert!(lookout.is_stale(start, start + 66 * S));
    }

    #[test]
    fn actor_is_not_blamed_for_a_thread_that_stands_still() {
        let start = Instant::now();
        let lookout = Lookout::new(5 * S, start);
        assert!(!lookout.hangs(start, start + S), "the thread last turned at 1 s, whatever the time is now");
        assert!(lookout.hangs(start, start + 6 * S));
    }
}
