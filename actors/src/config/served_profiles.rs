//! The state that outlives every incarnation of the config actor: its plan, and the ports of each profile.
//!
//! The config actor is the only writer. The factories of other actors read the settings in force here when they start a new
//! incarnation, so a restart loses no settings. New settings are stored here before they are sent: an actor that starts between
//! the two has them already, and receives them once more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use super::messages::{InForce, Served};
use super::plan::{ReloadPlan, ReloadStep, SettingsDiff};
use crate::locked::locked;
use crate::profile::messages::{ProfileConfig, ProfilePorts};
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
    /// The configuration of its next incarnation.
    pub config: SharedProfileConfig,
}

/// Makes a profile's actor. Passed in where the tree is wired, so that this module depends on the messages of profiles only.
pub type ProfileFactory = Arc<dyn Fn(SharedProfileConfig) -> ProfileChild + Send + Sync>;

/// The configuration of one profile, for its factory. Outlives every incarnation of its actor.
#[derive(Debug, Clone)]
pub struct SharedProfileConfig(Arc<Mutex<Arc<ProfileConfig>>>);

impl SharedProfileConfig {
    /// Stores this configuration.
    #[must_use]
    pub fn new(config: ProfileConfig) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(config))))
    }

    /// The current configuration.
    #[must_use]
    pub fn get(&self) -> Arc<ProfileConfig> {
        Arc::clone(&locked(&self.0))
    }

    pub(super) fn set(&self, config: Arc<ProfileConfig>) {
        *locked(&self.0) = config;
    }
}

/// The settings, the plan and the profiles. Cheap to clone; clones share one state.
#[derive(Clone)]
pub struct ServedProfiles(Arc<Mutex<ServedState>>);

pub(super) struct ServedState {
    pub(super) plan: ReloadPlan,
    /// The settings of the start of the process.
    first: Arc<Settings>,
    /// The settings of the last reload.
    settings: Arc<Settings>,
    pub(super) children: BTreeMap<ProfileName, ProfileChild>,
    factory: ProfileFactory,
}

impl ServedProfiles {
    /// The settings of the start, with an actor for each profile; the tree starts them.
    #[must_use]
    pub fn new(settings: Settings, factory: ProfileFactory) -> Self {
        let plan = ReloadPlan::new(&settings);
        let settings = Arc::new(settings);
        let mut state =
            ServedState { plan, first: Arc::clone(&settings), settings, children: BTreeMap::new(), factory };
        let settings = Arc::clone(&state.first);
        let by_name: BTreeMap<_, _> = settings.profiles.iter().map(|profile| (&profile.name, profile)).collect();
        for name in state.plan.served().cloned().collect::<Vec<_>>() {
            if let Some(profile) = by_name.get(&name) {
                state.open_with(ProfileConfig::of(profile, &settings), name);
            }
        }
        Self(Arc::new(Mutex::new(state)))
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.lock().settings)
    }

    /// The settings and the profiles in force, as other actors receive them.
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

    /// Held for microseconds, never across an await.
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

    /// Changed keys that apply at the next start only.
    pub(super) fn needs_restart(&self) -> Vec<&'static str> {
        self.first.needs_restart(&self.settings)
    }

    pub(super) fn in_force(&self) -> InForce {
        let settings = &self.settings;
        let by_name: BTreeMap<_, _> = settings.profiles.iter().map(|profile| (&profile.name, profile)).collect();
        let served = |name: &ProfileName| {
            let profile = by_name.get(name)?;
            let ports = self.children.get(name)?.ports.clone();
            let agent = Arc::new(profile.agent.clone());
            Some(Served { name: name.clone(), home: profile.home.clone(), agent, ports })
        };
        let profiles = self.plan.served().filter_map(served).collect();
        InForce { settings: Arc::new(settings.in_force(&self.first)), profiles }
    }

    pub(super) fn open(&mut self, name: &ProfileName) {
        if let Some(config) = self.profile_config(name) {
            self.open_with(config, name.clone());
        }
    }

    fn open_with(&mut self, config: ProfileConfig, name: ProfileName) {
        self.children.insert(name, (self.factory)(SharedProfileConfig::new(config)));
    }

    /// The configuration of a profile, by the settings in force.
    pub(super) fn profile_config(&self, name: &ProfileName) -> Option<ProfileConfig> {
        let settings = &self.settings;
        let profile = settings.profiles.iter().find(|profile| profile.name == *name)?;
        Some(ProfileConfig::of(profile, settings))
    }
}

impl fmt::Debug for ServedProfiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServedProfiles").field(&self.lock().plan).finish()
    }
}
