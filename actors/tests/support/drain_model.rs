//! A minimal model of the gate: the content of the disk, a flag, a list of turns.
//!
//! Written from the specification of the drain and not from its code: it has no orders in flight, no readings, no stamps. A test
//! applies each step to the gate and to the model, and the two must agree.

#![allow(dead_code, reason = "each test takes its own part")]

use std::collections::BTreeMap;

/// What a drain covers: `None` is the whole gateway, a number one profile.
pub(crate) type Scope = Option<usize>;

/// Profiles that can be drained alone; turns run under these, and under one that cannot.
pub(crate) const PROFILES: usize = 2;

/// What is at a marker's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    /// A valid marker, perhaps with a deadline.
    Whole { ends_at: Option<u64> },
    /// A marker of a previous boot.
    Stale,
    /// An unreadable file.
    Garbled,
    /// An empty directory.
    Directory,
    /// A directory that cannot be removed.
    FullDirectory,
}

/// One step of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A drain is begun by message; the disk may take no marker.
    Begin { scope: Scope, lasts: Option<u64>, disk_takes: bool },
    /// A drain is cancelled by message.
    Cancel(Scope),
    /// Another process puts something at a marker's path.
    Place(Scope, Marker),
    /// Another process removes what is at a marker's path.
    TakeAway(Scope),
    /// Time passes, and deadlines are checked.
    Pass(u64),
    /// The shutdown begins.
    Shutdown,
    /// A turn of a profile requests a permit.
    Start { profile: usize, internal: bool },
    /// The turn with this place in the order of age ends.
    End(usize),
}

/// The answer to a step, as far as the specification fixes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Not fixed.
    Done,
    /// A cancel: whether there was a drain.
    Cancelled { was_draining: bool },
    /// A cancel: the marker cannot be removed.
    MarkerNotRemoved,
    /// The process is shutting down.
    Stopping,
    /// A turn may start.
    Admitted,
    /// A turn may not start for a drain.
    Draining,
}

/// The state of the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) stopping: bool,
    /// The whole gateway is drained by request.
    pub(crate) gateway: bool,
    /// Profiles that are drained alone.
    pub(crate) profiles: Vec<usize>,
    /// Turns in flight.
    pub(crate) turns: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    now: u64,
    stopping: bool,
    disk: BTreeMap<Scope, Marker>,
    /// Drains whose marker could not be written, and when they end.
    unwritten: BTreeMap<Scope, Option<u64>>,
    turns: usize,
}

impl Model {
    /// Applies a step; returns the expected answer.
    pub(crate) fn step(&mut self, step: Step) -> Answer {
        let answer = match step {
            Step::Begin { scope, lasts, disk_takes } => {
                let ends_at = lasts.map(|length| self.now + length);
                // A file cannot be renamed onto a directory.
                let blocked = matches!(self.disk.get(&scope), Some(Marker::Directory | Marker::FullDirectory));
                if disk_takes && !blocked {
                    self.disk.insert(scope, Marker::Whole { ends_at });
                } else {
                    self.unwritten.insert(scope, ends_at);
                }
                Answer::Done
            }
            Step::Cancel(_) if self.stopping => Answer::Stopping,
            Step::Cancel(scope) => {
                let was_draining = self.is_drained(scope);
                if self.end(scope) { Answer::Cancelled { was_draining } } else { Answer::MarkerNotRemoved }
            }
            Step::Place(scope, marker) => {
                self.disk.insert(scope, marker);
                Answer::Done
            }
            Step::TakeAway(scope) => {
                self.disk.remove(&scope);
                Answer::Done
            }
            Step::Pass(length) => {
                self.now += length;
                for scope in std::iter::once(None).chain((0..PROFILES).map(Some)) {
                    if self.ends_at(scope).is_some_and(|end| end <= self.now) {
                        self.end(scope);
                    }
                }
                Answer::Done
            }
            Step::Shutdown => {
                self.stopping = true;
                Answer::Done
            }
            Step::Start { profile, internal } => match () {
                () if self.stopping => Answer::Stopping,
                () if !internal && (self.is_drained(None) || self.is_drained(Some(profile))) => Answer::Draining,
                () => {
                    self.turns += 1;
                    Answer::Admitted
                }
            },
            Step::End(which) => {
                self.turns -= usize::from(which < self.turns);
                Answer::Done
            }
        };
        // A marker on disk takes precedence, and a drain that it took over ends with it.
        let disk = &self.disk;
        self.unwritten.retain(|scope, _| matches!(disk.get(scope), None | Some(Marker::Stale)));
        answer
    }

    pub(crate) fn state(&self) -> State {
        State {
            stopping: self.stopping,
            gateway: self.is_drained(None),
            profiles: (0..PROFILES).filter(|profile| self.is_drained(Some(*profile))).collect(),
            turns: self.turns,
        }
    }

    /// What is at a marker's path, for a test without a disk.
    pub(crate) fn on_disk(&self, scope: Scope) -> Option<Marker> {
        self.disk.get(&scope).copied()
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    fn is_drained(&self, scope: Scope) -> bool {
        let by_marker = self.disk.get(&scope).is_some_and(|marker| *marker != Marker::Stale);
        by_marker || self.unwritten.contains_key(&scope)
    }

    fn ends_at(&self, scope: Scope) -> Option<u64> {
        match self.disk.get(&scope) {
            Some(Marker::Whole { ends_at }) => *ends_at,
            Some(Marker::Garbled | Marker::Directory | Marker::FullDirectory) => None,
            Some(Marker::Stale) | None => self.unwritten.get(&scope).copied().flatten(),
        }
    }

    /// Ends a drain; `false` if what is at the marker's path cannot be removed.
    fn end(&mut self, scope: Scope) -> bool {
        if self.disk.get(&scope) == Some(&Marker::FullDirectory) {
            return false;
        }
        self.disk.remove(&scope);
        self.unwritten.remove(&scope);
        true
    }
}

/// Any step; `pick` gives a number below its argument.
pub(crate) fn any_step(mut pick: impl FnMut(usize) -> usize) -> Step {
    let scope = |pick: &mut dyn FnMut(usize) -> usize| pick(PROFILES + 2).checked_sub(2);
    match pick(20) {
        0..3 => Step::Begin {
            scope: scope(&mut pick),
            lasts: (pick(3) == 0).then(|| 1 + pick(5) as u64),
            disk_takes: pick(4) > 0,
        },
        3..6 => Step::Cancel(scope(&mut pick)),
        6..9 => {
            let at = scope(&mut pick);
            let marker = match pick(6) {
                0 => Marker::Whole { ends_at: None },
                // Seconds since the start of the test, so some of them have passed.
                1 => Marker::Whole { ends_at: Some(pick(20) as u64) },
                2 => Marker::Stale,
                3 => Marker::Garbled,
                4 => Marker::Directory,
                _ => Marker::FullDirectory,
            };
            Step::Place(at, marker)
        }
        9..11 => Step::TakeAway(scope(&mut pick)),
        11 => Step::Pass(1 + pick(4) as u64),
        // Rare: few steps have an effect after it.
        12 if pick(4) == 0 => Step::Shutdown,
        12..17 => Step::Start { profile: pick(PROFILES + 1), internal: pick(4) == 0 },
        _ => Step::End(pick(3)),
    }
}
