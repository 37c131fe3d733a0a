//! A minimal model of the gate: the content of the disk, a flag, a list of turns.
//!
//! Written from the specification of the drain and not from its code: it has no orders in flight, no readings, no stamps. A test
//! applies each step to the gate and to the model, and the two must agree.

#![allow(dead_code, reason = "each test takes its own part")]

use std::collections::BTreeMap;

/// What a drain covers: `None` is the whole gateway, a number one profile.
pub(crate) type ScopeModel = Option<usize>;

/// Profiles that can be drained alone; turns run under these, and under one that cannot.
pub(crate) const PROFILES: usize = 2;

/// What is at a marker's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkerModel {
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
pub(crate) enum GateModelStep {
    /// A drain is begun by message; the disk may take no marker.
    Begin { scope: ScopeModel, lasts: Option<u64>, disk_takes: bool },
    /// A drain is cancelled by message.
    Cancel(ScopeModel),
    /// Another process puts something at a marker's path.
    Place(ScopeModel, MarkerModel),
    /// Another process removes what is at a marker's path.
    TakeAway(ScopeModel),
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
pub(crate) enum GateModelAnswer {
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
pub(crate) struct GateModelState {
    pub(crate) stopping: bool,
    /// The whole gateway is drained by request.
    pub(crate) gateway: bool,
    /// Profiles that are drained alone.
    pub(crate) profiles: Vec<usize>,
    /// Turns in flight.
    pub(crate) turns: usize,
}

#[derive(Debug, Default)]
pub(crate) struct GateModel {
    now: u64,
    stopping: bool,
    disk: BTreeMap<ScopeModel, MarkerModel>,
    /// Drains whose marker could not be written, and when they end.
    unwritten: BTreeMap<ScopeModel, Option<u64>>,
    turns: usize,
}

impl GateModel {
    /// Applies a step; returns the expected answer.
    pub(crate) fn step(&mut self, step: GateModelStep) -> GateModelAnswer {
        let answer = match step {
            GateModelStep::Begin { scope, lasts, disk_takes } => {
                let ends_at = lasts.map(|length| self.now + length);
                // A file cannot be renamed onto a directory.
                let blocked =
                    matches!(self.disk.get(&scope), Some(MarkerModel::Directory | MarkerModel::FullDirectory));
                if disk_takes && !blocked {
                    self.disk.insert(scope, MarkerModel::Whole { ends_at });
                } else {
                    self.unwritten.insert(scope, ends_at);
                }
                GateModelAnswer::Done
            }
            GateModelStep::Cancel(_) if self.stopping => GateModelAnswer::Stopping,
            GateModelStep::Cancel(scope) => {
                let was_draining = self.is_drained(scope);
                if self.end(scope) {
                    GateModelAnswer::Cancelled { was_draining }
                } else {
                    GateModelAnswer::MarkerNotRemoved
                }
            }
            GateModelStep::Place(scope, marker) => {
                self.disk.insert(scope, marker);
                GateModelAnswer::Done
            }
            GateModelStep::TakeAway(scope) => {
                self.disk.remove(&scope);
                GateModelAnswer::Done
            }
            GateModelStep::Pass(length) => {
                self.now += length;
                for scope in std::iter::once(None).chain((0..PROFILES).map(Some)) {
                    if self.ends_at(scope).is_some_and(|end| end <= self.now) {
                        self.end(scope);
                    }
                }
                GateModelAnswer::Done
            }
            GateModelStep::Shutdown => {
                self.stopping = true;
                GateModelAnswer::Done
            }
            GateModelStep::Start { profile, internal } => match () {
                () if self.stopping => GateModelAnswer::Stopping,
                () if !internal && (self.is_drained(None) || self.is_drained(Some(profile))) => {
                    GateModelAnswer::Draining
                }
                () => {
                    self.turns += 1;
                    GateModelAnswer::Admitted
                }
            },
            GateModelStep::End(which) => {
                self.turns -= usize::from(which < self.turns);
                GateModelAnswer::Done
            }
        };
        // A marker on disk takes precedence, and a drain that it took over ends with it.
        let disk = &self.disk;
        self.unwritten.retain(|scope, _| matches!(disk.get(scope), None | Some(MarkerModel::Stale)));
        answer
    }

    pub(crate) fn state(&self) -> GateModelState {
        GateModelState {
            stopping: self.stopping,
            gateway: self.is_drained(None),
            profiles: (0..PROFILES).filter(|profile| self.is_drained(Some(*profile))).collect(),
            turns: self.turns,
        }
    }

    /// What is at a marker's path, for a test without a disk.
    pub(crate) fn on_disk(&self, scope: ScopeModel) -> Option<MarkerModel> {
        self.disk.get(&scope).copied()
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    fn is_drained(&self, scope: ScopeModel) -> bool {
        let by_marker = self.disk.get(&scope).is_some_and(|marker| *marker != MarkerModel::Stale);
        by_marker || self.unwritten.contains_key(&scope)
    }

    fn ends_at(&self, scope: ScopeModel) -> Option<u64> {
        match self.disk.get(&scope) {
            Some(MarkerModel::Whole { ends_at }) => *ends_at,
            Some(MarkerModel::Garbled | MarkerModel::Directory | MarkerModel::FullDirectory) => None,
            Some(MarkerModel::Stale) | None => self.unwritten.get(&scope).copied().flatten(),
        }
    }

    /// Ends a drain; `false` if what is at the marker's path cannot be removed.
    fn end(&mut self, scope: ScopeModel) -> bool {
        if self.disk.get(&scope) == Some(&MarkerModel::FullDirectory) {
            return false;
        }
        self.disk.remove(&scope);
        self.unwritten.remove(&scope);
        true
    }
}

/// Any step; `pick` gives a number below its argument.
pub(crate) fn any_step(mut pick: impl FnMut(usize) -> usize) -> GateModelStep {
    let scope = |pick: &mut dyn FnMut(usize) -> usize| pick(PROFILES + 2).checked_sub(2);
    match pick(20) {
        0..3 => GateModelStep::Begin {
            scope: scope(&mut pick),
            lasts: (pick(3) == 0).then(|| 1 + pick(5) as u64),
            disk_takes: pick(4) > 0,
        },
        3..6 => GateModelStep::Cancel(scope(&mut pick)),
        6..9 => {
            let at = scope(&mut pick);
            let marker = match pick(6) {
                0 => MarkerModel::Whole { ends_at: None },
                // Seconds since the start of the test, so some of them have passed.
                1 => MarkerModel::Whole { ends_at: Some(pick(20) as u64) },
                2 => MarkerModel::Stale,
                3 => MarkerModel::Garbled,
                4 => MarkerModel::Directory,
                _ => MarkerModel::FullDirectory,
            };
            GateModelStep::Place(at, marker)
        }
        9..11 => GateModelStep::TakeAway(scope(&mut pick)),
        11 => GateModelStep::Pass(1 + pick(4) as u64),
        // Rare: few steps have an effect after it.
        12 if pick(4) == 0 => GateModelStep::Shutdown,
        12..17 => GateModelStep::Start { profile: pick(PROFILES + 1), internal: pick(4) == 0 },
        _ => GateModelStep::End(pick(3)),
    }
}
