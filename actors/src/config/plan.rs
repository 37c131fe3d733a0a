//! What follows from changed settings: which profiles are added, changed and removed, and when the other actors are notified. Takes
//! differences and checks, returns steps.
//!
//! A profile is removed in two steps: first it is no longer served; once its last turn has ended, its actor is stopped. A profile that
//! is added again meanwhile stays, or is started again when the old actor has ended.

use std::collections::{BTreeMap, BTreeSet};

use crate::settings::Settings;
use caduceus_contract::profile_name::ProfileName;

/// Checks in a row that must find no turn of a profile before it is stopped: a turn can be between the dispatcher and the gate.
const IDLE_CHECKS: u8 = 2;

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReloadStep {
    /// Add its actor and ports, which the following steps of this batch name.
    Open(ProfileName),
    /// Start its actor, unless that has been done.
    Start(ProfileName),
    /// Send it its changed settings.
    Change(ProfileName),
    /// Stop its actor, unless that has been done.
    Stop(ProfileName),
    /// Its actor has ended: remove its ports, and its secrets from the redactor.
    Close(ProfileName),
    /// Notify the other actors of the settings in force.
    Announce,
    /// Notify the dispatcher of the agents of the profiles, which it passes to its turns.
    AnnounceAgents,
}

/// The state of one profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ProfilePhase {
    /// Served; the start of its actor is not confirmed.
    Starting,
    Served,
    /// No longer served; its turns run. Counts the checks in a row that found none.
    Leaving(u8),
    /// Its actor is being stopped.
    Stopping,
}

/// What a reading of the files changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SettingsDiff {
    /// The profiles by now, in the order of the settings.
    profiles: Vec<ProfileName>,
    /// Those of them whose settings changed.
    changed: BTreeSet<ProfileName>,
    /// Whether settings changed that other actors use.
    shared: bool,
}

impl SettingsDiff {
    pub(super) fn between(before: &Settings, now: &Settings) -> Self {
        let changed = before.changed_profiles(now);
        Self {
            profiles: names(now),
            changed: changed.into_iter().map(|profile| profile.name.clone()).collect(),
            shared: !before.changed_at_once(now).is_empty(),
        }
    }
}

/// The decisions about added and removed profiles: every profile in force, and every one that has an actor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ReloadPlan {
    /// The profiles of the settings in force, in their order.
    wanted: Vec<ProfileName>,
    phases: BTreeMap<ProfileName, ProfilePhase>,
}

impl ReloadPlan {
    /// The tree starts the actors of all profiles in `settings`.
    pub(super) fn new(settings: &Settings) -> Self {
        let wanted = names(settings);
        let phases = wanted.iter().map(|name| (name.clone(), ProfilePhase::Served)).collect();
        Self { wanted, phases }
    }

    /// The profiles served, in the order of the settings.
    pub(super) fn served(&self) -> impl Iterator<Item = &ProfileName> {
        self.wanted
            .iter()
            .filter(|name| matches!(self.phases.get(*name), Some(ProfilePhase::Starting | ProfilePhase::Served)))
    }

    /// Those that have an actor and are not served.
    pub(super) fn leaving(&self) -> Vec<ProfileName> {
        let leaves = |phase: &ProfilePhase| matches!(phase, ProfilePhase::Leaving(_) | ProfilePhase::Stopping);
        self.phases.iter().filter(|(_, phase)| leaves(phase)).map(|(name, _)| name.clone()).collect()
    }

    /// The files were read again.
    pub(super) fn read(&mut self, diff: SettingsDiff) -> Vec<ReloadStep> {
        let mut steps = Vec::new();
        let mut announce = diff.shared;
        for name in &diff.profiles {
            match self.phases.get(name) {
                None => {
                    self.phases.insert(name.clone(), ProfilePhase::Starting);
                    steps.extend([ReloadStep::Open(name.clone()), ReloadStep::Start(name.clone())]);
                    announce = true;
                }
                Some(ProfilePhase::Leaving(_)) => {
                    self.phases.insert(name.clone(), ProfilePhase::Served);
                    steps.push(ReloadStep::Change(name.clone()));
                    announce = true;
                }
                Some(ProfilePhase::Starting | ProfilePhase::Served) if diff.changed.contains(name) => {
                    steps.push(ReloadStep::Change(name.clone()));
                }
                // It is started again when the old actor has ended.
                Some(ProfilePhase::Starting | ProfilePhase::Served | ProfilePhase::Stopping) => {}
            }
        }
        let wanted: BTreeSet<_> = diff.profiles.iter().collect();
        for (name, phase) in &mut self.phases {
            if matches!(phase, ProfilePhase::Starting | ProfilePhase::Served) && !wanted.contains(name) {
                *phase = ProfilePhase::Leaving(0);
                announce = true;
            }
        }
        self.wanted = diff.profiles;
        if announce {
            steps.push(ReloadStep::Announce);
        } else if !steps.is_empty() {
            steps.push(ReloadStep::AnnounceAgents);
        }
        steps
    }

    /// What is left to do. `busy`: the profiles with running turns.
    pub(super) fn check(&mut self, busy: &BTreeSet<ProfileName>) -> Vec<ReloadStep> {
        let mut steps = Vec::new();
        for (name, phase) in &mut self.phases {
            match phase {
                ProfilePhase::Served => {}
                ProfilePhase::Starting => steps.push(ReloadStep::Start(name.clone())),
                ProfilePhase::Leaving(idle) if busy.contains(name) => *idle = 0,
                ProfilePhase::Leaving(idle) => {
                    *idle += 1;
                    if *idle >= IDLE_CHECKS {
                        *phase = ProfilePhase::Stopping;
                        steps.push(ReloadStep::Stop(name.clone()));
                    }
                }
                ProfilePhase::Stopping => steps.push(ReloadStep::Stop(name.clone())),
            }
        }
        steps
    }

    /// Whether nothing is left for [`ReloadPlan::check`].
    pub(super) fn is_settled(&self) -> bool {
        self.phases.values().all(|phase| *phase == ProfilePhase::Served)
    }

    /// The actor of `name` is in the tree.
    pub(super) fn started(&mut self, name: &ProfileName) {
        if let Some(phase @ ProfilePhase::Starting) = self.phases.get_mut(name) {
            *phase = ProfilePhase::Served;
        }
    }

    /// The actor of `name` is no longer in the tree.
    pub(super) fn stopped(&mut self, name: &ProfileName) -> Vec<ReloadStep> {
        if self.phases.get(name) != Some(&ProfilePhase::Stopping) {
            return Vec::new();
        }
        self.phases.remove(name);
        let mut steps = vec![ReloadStep::Close(name.clone())];
        if self.wanted.contains(name) {
            self.phases.insert(name.clone(), ProfilePhase::Starting);
            steps.extend([ReloadStep::Open(name.clone()), ReloadStep::Start(name.clone()), ReloadStep::Announce]);
        }
        steps
    }
}

fn names(settings: &Settings) -> Vec<ProfileName> {
    settings.profiles.iter().map(|profile| profile.name.clone()).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
