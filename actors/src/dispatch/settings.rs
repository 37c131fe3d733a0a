//! The settings of the dispatcher.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::event::Rules;
use super::home::HomeNotices;
use crate::config::messages::{InForce, Served};
use crate::settings::{Interrupted, OpenSettings, Values};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::share::DispatchShare;

/// The settings of the dispatcher.
#[derive(Debug, Clone)]
pub struct DispatchSettings {
    /// The profiles served, and the rules of sessions.
    pub rules: Rules,
    /// The profiles served.
    pub profiles: BTreeMap<ProfileName, Served>,
    /// The settings of sessions, turns and drains.
    pub open: Arc<OpenSettings>,
    /// The process restarts repeatedly: interrupted turns are not run again, independent of `turns.interrupted`.
    pub in_crash_loop: bool,
    /// What no change of the settings changes.
    pub fixed: FixedSettings,
}

/// The settings that stay the same while the process runs.
#[derive(Debug, Clone)]
pub struct FixedSettings {
    /// The chats of this dispatcher. The first one also does what is done once for all chats: it sends replies again, reports what a
    /// drain refused, and announces start and shutdown.
    pub share: DispatchShare,
    /// Where start and shutdown are announced.
    pub home: Option<HomeNotices>,
    /// Milliseconds since 1970 at which the process started, the same for each dispatcher: a reply that was being sent before that was
    /// interrupted.
    pub process_started_ms: i64,
}

impl DispatchSettings {
    /// From the settings in force.
    #[must_use]
    pub fn of(in_force: &InForce, fixed: FixedSettings) -> Self {
        let InForce { settings, profiles } = in_force;
        Self {
            rules: Rules {
                multiplex: settings.multiplex,
                // There is at least one, and the default is the first.
                default: profiles.first().map_or_else(ProfileName::default_profile, |served| served.name.clone()),
                served: profiles.iter().map(|served| served.name.clone()).collect(),
                routes: settings.routes.clone(),
                sessions: settings.session_rules,
            },
            profiles: profiles.iter().map(|served| (served.name.clone(), served.clone())).collect(),
            open: Arc::clone(settings),
            in_crash_loop: false,
            fixed,
        }
    }

    /// The chats of this dispatcher.
    #[must_use]
    pub fn share(&self) -> DispatchShare {
        self.fixed.share
    }

    /// The values of `caduceus.yaml`.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.open.values
    }

    /// What happens with interrupted turns.
    #[must_use]
    pub fn interrupted(&self) -> Interrupted {
        if self.in_crash_loop { Interrupted::Ask } else { self.values().turns.interrupted }
    }
}
