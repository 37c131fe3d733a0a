//! What follows from settings that changed: who comes, who goes, who is told. Takes readings and looks, answers steps.
//!
//! A profile goes in two steps: first it is served no more, then, once its last turn has ended, its actor is stopped. One
//! that comes back meanwhile stays, or comes up anew when the old one is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::settings::{OpenSettings, Settings};
use caduceus_contract::profile_name::ProfileName;

/// Looks in a row that must find no turn of a profile before it is stopped: one may just be on its way from the dispatcher to
/// the gate.
const IDLE_LOOKS: u8 = 2;

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReloadStep {
    /// Make it known, with an actor and its ports; those that follow in this batch name it.
    Open(ProfileName),
    /// Start its actor, unless that has been done.
    Start(ProfileName),
    /// Its terms changed.
    Change(ProfileName),
    /// Stop its actor, unless that has been done.
    Stop(ProfileName),
    /// It is gone: forget its ports, and what was kept to keep its secrets out of the logs.
    Close(ProfileName),
    /// Tell everyone what is in force.
    Tell,
}

/// Where a profile is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// Served; its actor is not known to have been started.
    Coming,
    Served,
    /// Served no more; its turns run. Counts the looks in a row that found none.
    Leaving(u8),
    /// Its actor is being stopped.
    Going,
}

/// The settings in force, and every profile that has an actor.
#[derive(Debug)]
pub(super) struct ReloadPlan {
    /// Those that the process was started with.
    first: Arc<Settings>,
    settings: Arc<Settings>,
    stands: BTreeMap<ProfileName, Stand>,
}

impl ReloadPlan {
    /// Everyone in `settings` is being started by the tree.
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        let stands = settings.profiles.iter().map(|profile| (profile.name.clone(), Stand::Served)).collect();
        Self { first: Arc::clone(&settings), settings, stands }
    }

    pub(super) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// What holds of them by now, without what holds from the next start only.
    pub(super) fn in_force(&self) -> OpenSettings {
        self.settings.in_force(&self.first)
    }

    /// The profiles served, in the order of the settings.
    pub(super) fn served(&self) -> impl Iterator<Item = &ProfileName> {
        let names = self.settings.profiles.iter().map(|profile| &profile.name);
        names.filter(|name| matches!(self.stands.get(*name), Some(Stand::Coming | Stand::Served)))
    }

    /// Those that have an actor and are not served.
    pub(super) fn leaving(&self) -> Vec<ProfileName> {
        let leaves = |stand: &Stand| matches!(stand, Stand::Leaving(_) | Stand::Going);
        self.stands.iter().filter(|(_, stand)| leaves(stand)).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn needs_restart(&self) -> Vec<&'static str> {
        self.first.needs_restart(&self.settings)
    }

    /// The files were read anew, and say this.
    pub(super) fn read(&mut self, now: Settings) -> Vec<ReloadStep> {
        let before = std::mem::replace(&mut self.settings, Arc::new(now));
        let now = &self.settings;
        let mut steps = Vec::new();
        let mut tell = !before.changed_at_once(now).is_empty();
        for profile in &now.profiles {
            let name = &profile.name;
            match self.stands.get(name) {
                None => {
                    self.stands.insert(name.clone(), Stand::Coming);
                    steps.extend([ReloadStep::Open(name.clone()), ReloadStep::Start(name.clone())]);
                    tell = true;
                }
                Some(Stand::Leaving(_)) => {
                    self.stands.insert(name.clone(), Stand::Served);
                    steps.push(ReloadStep::Change(name.clone()));
                    tell = true;
                }
                Some(Stand::Coming | Stand::Served) if before.differs_for(profile, now) => {
                    steps.push(ReloadStep::Change(name.clone()));
                }
                // It comes when the old one is gone.
                Some(Stand::Coming | Stand::Served | Stand::Going) => {}
            }
        }
        let wanted: BTreeSet<_> = now.profiles.iter().map(|profile| &profile.name).collect();
        for (name, stand) in &mut self.stands {
            if matches!(stand, Stand::Coming | Stand::Served) && !wanted.contains(name) {
                *stand = Stand::Leaving(0);
                tell = true;
            }
        }
        steps.extend(tell.then_some(ReloadStep::Tell));
        steps
    }

    /// What is left to be done: `busy` have turns running.
    pub(super) fn look(&mut self, busy: &BTreeSet<ProfileName>) -> Vec<ReloadStep> {
        let mut steps = Vec::new();
        for (name, stand) in &mut self.stands {
            match stand {
                Stand::Served => {}
                Stand::Coming => steps.push(ReloadStep::Start(name.clone())),
                Stand::Leaving(idle) if busy.contains(name) => *idle = 0,
                Stand::Leaving(idle) => {
                    *idle += 1;
                    if *idle >= IDLE_LOOKS {
                        *stand = Stand::Going;
                        steps.push(ReloadStep::Stop(name.clone()));
                    }
                }
                Stand::Going => steps.push(ReloadStep::Stop(name.clone())),
            }
        }
        steps
    }

    /// Whether [`ReloadPlan::look`] would have anything to say.
    pub(super) fn is_settled(&self) -> bool {
        self.stands.values().all(|stand| *stand == Stand::Served)
    }

    /// The actor of `name` is in the tree.
    pub(super) fn started(&mut self, name: &ProfileName) {
        if let Some(stand @ Stand::Coming) = self.stands.get_mut(name) {
            *stand = Stand::Served;
        }
    }

    /// The actor of `name` is no longer in the tree.
    pub(super) fn stopped(&mut self, name: &ProfileName) -> Vec<ReloadStep> {
        if self.stands.get(name) != Some(&Stand::Going) {
            return Vec::new();
        }
        self.stands.remove(name);
        let mut steps = vec![ReloadStep::Close(name.clone())];
        if self.settings.profiles.iter().any(|profile| profile.name == *name) {
            self.stands.insert(name.clone(), Stand::Coming);
            steps.extend([ReloadStep::Open(name.clone()), ReloadStep::Start(name.clone()), ReloadStep::Tell]);
        }
        steps
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
