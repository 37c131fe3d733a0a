//! What outlives every incarnation of the keeper: its plan, and the ports of each profile.
//!
//! One owner, the keeper, writes; the others' factories read what is in force when one of them is born anew, so that no
//! restart forgets what its actor was told. What is in force is put here before anyone is told of it: whoever is born
//! between the two knows it, and hears it once more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use super::messages::{InForce, Served};
use super::plan::{ReloadPlan, ReloadStep, SettingsDiff};
use crate::locked::locked;
use crate::profile::messages::{ProfilePorts, ProfileTerms};
use crate::settings::Settings;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::ChildSpec;

/// A profile's actor that can be started, and its ports.
#[derive(Clone)]
pub struct ProfileChild {
    /// For the `profiles` supervisor.
    pub spec: ChildSpec,
    /// Its ports.
    pub ports: ProfilePorts,
    /// By which its next incarnation is run.
    pub terms: TermsMemory,
}

/// Makes a profile's actor; given by whoever wires the tree, so that the keeper knows profiles by their messages only.
pub type ProfileMaker = Arc<dyn Fn(TermsMemory) -> ProfileChild + Send + Sync>;

/// The terms of one profile, for its factory.
#[derive(Debug, Clone)]
pub struct TermsMemory(Arc<Mutex<Arc<ProfileTerms>>>);

impl TermsMemory {
    /// A memory of these terms.
    #[must_use]
    pub fn new(terms: ProfileTerms) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(terms))))
    }

    /// The terms by now.
    #[must_use]
    pub fn get(&self) -> Arc<ProfileTerms> {
        Arc::clone(&locked(&self.0))
    }

    pub(super) fn set(&self, terms: Arc<ProfileTerms>) {
        *locked(&self.0) = terms;
    }
}

/// What is present. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct ServedProfiles(Arc<Mutex<ServedState>>);

pub(super) struct ServedState {
    pub(super) plan: ReloadPlan,
    /// Those that the process was started with.
    first: Arc<Settings>,
    /// Those in force.
    settings: Arc<Settings>,
    pub(super) children: BTreeMap<ProfileName, ProfileChild>,
    maker: ProfileMaker,
}

impl ServedProfiles {
    /// The settings of the start, with an actor for each profile, which the tree is to start.
    #[must_use]
    pub fn new(settings: Settings, maker: ProfileMaker) -> Self {
        let plan = ReloadPlan::new(&settings);
        let settings = Arc::new(settings);
        let mut state = ServedState { plan, first: Arc::clone(&settings), settings, children: BTreeMap::new(), maker };
        for name in state.plan.served().cloned().collect::<Vec<_>>() {
            state.open(&name);
        }
        Self(Arc::new(Mutex::new(state)))
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.lock().settings)
    }

    /// What others need to know of them.
    #[must_use]
    pub fn in_force(&self) -> Arc<InForce> {
        Arc::new(self.lock().in_force())
    }

    /// The actors of the profiles served, the one of the gateway's own home first.
    #[must_use]
    pub fn children(&self) -> Vec<ProfileChild> {
        let state = self.lock();
        state.plan.served().filter_map(|name| state.children.get(name)).cloned().collect()
    }

    /// Held for microseconds, never across a wait.
    pub(super) fn lock(&self) -> MutexGuard<'_, ServedState> {
        locked(&self.0)
    }
}

impl ServedState {
    /// The files were read again.
    pub(super) fn read(&mut self, now: Settings) -> Vec<ReloadStep> {
        let diff = SettingsDiff::between(&self.settings, &now);
        self.settings = Arc::new(now);
        self.plan.read(diff)
    }

    /// Keys that hold from the next start only, and read otherwise now.
    pub(super) fn needs_restart(&self) -> Vec<&'static str> {
        self.first.needs_restart(&self.settings)
    }

    pub(super) fn in_force(&self) -> InForce {
        let settings = &self.settings;
        let served = |name: &ProfileName| {
            let profile = settings.profiles.iter().find(|profile| profile.name == *name)?;
            let ports = self.children.get(name)?.ports.clone();
            Some(Served { name: name.clone(), home: profile.home.clone(), ports })
        };
        let profiles = self.plan.served().filter_map(served).collect();
        InForce { settings: Arc::new(settings.in_force(&self.first)), profiles }
    }

    pub(super) fn open(&mut self, name: &ProfileName) {
        if let Some(terms) = self.terms(name) {
            self.children.insert(name.clone(), (self.maker)(TermsMemory::new(terms)));
        }
    }

    /// The terms of a profile by the settings in force.
    pub(super) fn terms(&self, name: &ProfileName) -> Option<ProfileTerms> {
        let settings = &self.settings;
        let profile = settings.profiles.iter().find(|profile| profile.name == *name)?;
        Some(ProfileTerms::of(profile, settings))
    }
}

impl fmt::Debug for ServedProfiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServedProfiles").field(&self.lock().plan).finish()
    }
}
