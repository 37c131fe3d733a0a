//! The rate limit of the log: remote parties can cause some lines without limit.
//!
//! A kind is a location in the code, separate for each link, so that a flood of one connector does not hide the lines about
//! another. Suppressed lines are counted, and the count is logged a few seconds later.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use caduceus_actors::locked::locked;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Pause between a suppressed line and the line with the count.
const REPORT_AFTER: Duration = Duration::from_secs(2);
/// Kinds counted. A gateway has some hundred locations that log, and only those about links are counted per link.
const MAX_KINDS: usize = 4_096;

/// The permitted lines of one kind.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Allowance {
    /// Lines at once.
    burst: f64,
    /// After the burst.
    per_second: f64,
}

impl Allowance {
    /// More than fifty errors or warnings of one kind add no information. Level info has lines for each message and needs more.
    /// Debug and trace are switched on to see everything.
    fn of(level: Level) -> Self {
        match level {
            Level::ERROR | Level::WARN => Self { burst: 50.0, per_second: 1.0 },
            Level::INFO => Self { burst: 2_000.0, per_second: 100.0 },
            _ => Self { burst: 20_000.0, per_second: 1_000.0 },
        }
    }
}

/// The suppressed lines of one kind.
#[derive(Debug, PartialEq)]
struct SuppressedLines<T> {
    lines: u64,
    what: T,
}

/// Lines of each kind. Pure: the time is an argument.
#[derive(Debug)]
struct LimitPlan<K, T> {
    kinds: HashMap<K, KindCount<T>>,
    /// For kinds that there is no room for.
    others: Option<KindCount<T>>,
}

#[derive(Debug)]
struct KindCount<T> {
    /// Lines that may still be written at once.
    left: f64,
    since: Instant,
    suppressed: u64,
    what: T,
}

impl<T> KindCount<T> {
    fn new(allowance: Allowance, now: Instant, what: T) -> Self {
        Self { left: allowance.burst, since: now, suppressed: 0, what }
    }

    fn admit(&mut self, allowance: Allowance, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.left = (self.left + passed * allowance.per_second).min(allowance.burst);
        self.since = now;
        let admitted = self.left >= 1.0;
        if admitted {
            self.left -= 1.0;
        } else {
            self.suppressed += 1;
        }
        admitted
    }
}

impl<K: Hash + Eq, T: Copy> LimitPlan<K, T> {
    fn new() -> Self {
        Self { kinds: HashMap::new(), others: None }
    }

    /// Whether one more line of this kind is written.
    fn admit(&mut self, key: K, allowance: Allowance, now: Instant, what: T) -> bool {
        if let Some(kind) = self.kinds.get_mut(&key) {
            return kind.admit(allowance, now);
        }
        if self.kinds.len() >= MAX_KINDS {
            return self.others.get_or_insert_with(|| KindCount::new(allowance, now, what)).admit(allowance, now);
        }
        self.kinds.entry(key).or_insert_with(|| KindCount::new(allowance, now, what)).admit(allowance, now)
    }

    /// The lines suppressed since the last call.
    fn take_suppressed(&mut self) -> Vec<SuppressedLines<T>> {
        let kinds = self.kinds.values_mut().chain(self.others.as_mut()).filter(|kind| kind.suppressed > 0);
        kinds.map(|kind| SuppressedLines { lines: std::mem::take(&mut kind.suppressed), what: kind.what }).collect()
    }
}

/// A kind of line: its place in the code, and the link it is about, if it is about one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LimitKey(Identifier, u64);

/// The limit, as a layer of the log. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct LogLimit(Arc<Mutex<LimitState>>);

#[derive(Debug)]
struct LimitState {
    plan: LimitPlan<LimitKey, &'static Metadata<'static>>,
    /// A thread is about to report suppressed lines.
    reporting: bool,
}

impl LogLimit {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(LimitState { plan: LimitPlan::new(), reporting: false })))
    }

    fn admits(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if metadata.target() == module_path!() {
            return true;
        }
        let mut link = OfLink::default();
        event.record(&mut link);
        let key = LimitKey(metadata.callsite(), link.0.map_or(0, |hasher| hasher.finish()));
        let mut state = self.state();
        let admitted = state.plan.admit(key, Allowance::of(*metadata.level()), Instant::now(), metadata);
        let report = !admitted && !std::mem::replace(&mut state.reporting, true);
        drop(state);
        if report {
            self.report_later();
        }
        admitted
    }

    /// Logs later on another thread: a layer cannot log while it handles an event.
    fn report_later(&self) {
        let limit = self.clone();
        let reporter = thread::Builder::new().name("log limit".to_owned()).spawn(move || {
            thread::sleep(REPORT_AFTER);
            limit.report();
        });
        if reporter.is_err() {
            // The next suppressed line tries again.
            self.state().reporting = false;
        }
    }

    /// Reports the suppressed lines that are not reported yet.
    pub(super) fn report(&self) {
        let suppressed = {
            let mut state = self.state();
            state.reporting = false;
            state.plan.take_suppressed()
        };
        for SuppressedLines { lines, what } in suppressed {
            let place = what.file().map(|file| format!("{file}:{}", what.line().unwrap_or_default()));
            warn!(lines, level = %what.level(), from = what.target(), place, "log lines suppressed by the rate limit");
        }
    }

    // Every critical section leaves it valid, so a poisoned lock can be used.
    fn state(&self) -> MutexGuard<'_, LimitState> {
        locked(&self.0)
    }
}

impl<S: Subscriber> Layer<S> for LogLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.admits(event)
    }
}

/// The link that an event names. No other field counts: a value from outside would make each line a kind.
#[derive(Default)]
struct OfLink(Option<DefaultHasher>);

impl Visit for OfLink {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "link" {
            let mut text = Hashed(DefaultHasher::new());
            // Hashing cannot fail.
            let _ = write!(text, "{value:?}");
            self.0 = Some(text.0);
        }
    }
}

struct Hashed(DefaultHasher);

impl fmt::Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const FEW: Allowance = Allowance { burst: 3.0, per_second: 1.0 };

    #[test]
    fn a_burst_is_written_and_then_a_fixed_number_per_second() {
        let (mut plan, start) = (LimitPlan::new(), Instant::now());
        let mut written = |after_ms: u64, lines: usize| {
            let now = start + Duration::from_millis(after_ms);
            (0..lines).filter(|_| plan.admit('a', FEW, now, "a line")).count()
        };
        assert_eq!((written(0, 10), written(500, 10), written(1_000, 10), written(60_000, 10)), (3, 0, 1, 3));
        assert_eq!(plan.take_suppressed(), [SuppressedLines { lines: 7 + 10 + 9 + 7, what: "a line" }]);
        assert_eq!(plan.take_suppressed(), []);
    }

    #[test]
    fn one_kind_does_not_hide_another() {
        let (mut plan, now) = (LimitPlan::new(), Instant::now());
        assert_eq!((0..10).filter(|_| plan.admit('a', FEW, now, ())).count(), 3);
        assert!(plan.admit('b', FEW, now, ()));
    }

    #[test]
    fn the_number_of_kinds_is_bounded_and_further_kinds_share_a_limit() {
        let (mut plan, now) = (LimitPlan::new(), Instant::now());
        let written = (0..MAX_KINDS * 3).filter(|kind| plan.admit(*kind, FEW, now, ())).count();
        assert_eq!((plan.kinds.len(), written), (MAX_KINDS, MAX_KINDS + 3));
    }

    /// Counts the events that get through.
    struct CountingLayer(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for CountingLayer {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn lines_of_one_location_are_limited_per_link_and_omissions_are_reported() {
        let (limit, written) = (LogLimit::new(), Arc::new(AtomicUsize::new(0)));
        let log = tracing_subscriber::registry().with(CountingLayer(Arc::clone(&written))).with(limit.clone());
        tracing::subscriber::with_default(log, || {
            let flood = |link: &str| {
                for number in 0..200 {
                    warn!(link = %link, name = format!("made up {number}"), "a connector did it again");
                }
                written.swap(0, Ordering::SeqCst)
            };
            assert_eq!((flood("relay"), flood("relay"), flood("relay-work")), (50, 0, 50));
            limit.report();
            assert_eq!(written.load(Ordering::SeqCst), 2, "one line for each kind");
        });
    }
}
