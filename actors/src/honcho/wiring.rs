//! The arguments of the grants' actor.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Message;

use super::location::HonchoProfile;
use super::profile_check::GrantLocation;
use super::refresh::{RefreshReport, RefreshTimeouts};
use super::steps::StepHook;
use super::watch::GrantFileTouched;
use crate::config::messages::{InForce, Served};
use crate::counts::CountBy;
use crate::files::FileEvents;
use crate::http_client::HttpClient;
use crate::profile::redact::Redactor;
use crate::settings::Environment;
use crate::status::changes::StatusChanges;
use caduceus_contract::messages::profile::TokenChanged;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::Port;

/// The settings of the grants' actor.
#[derive(Debug, Clone)]
pub struct HonchoSettings {
    /// The profiles served.
    pub profiles: Vec<HonchoProfile>,
    /// The timeouts of a refresh.
    pub timeouts: RefreshTimeouts,
    /// Timeout of a caller for a refresh; then it receives the old token.
    pub caller_wait: Duration,
    /// Interval of the checks of files with a grant, and of directories that do not exist.
    pub poll: Duration,
    /// The inputs of the served profiles, for changes of the settings.
    pub context: HonchoContext,
    /// Called at every step of every refresh, for tests that kill the process at one.
    pub steps: StepHook,
    /// Notifies of possible changes of a file.
    pub events: FileEvents,
    /// Exchanges made, by file and host; they outlive the actor.
    pub exchanges: CountBy<(PathBuf, String)>,
}

impl HonchoSettings {
    /// The default waits for these profiles.
    #[must_use]
    pub fn new(profiles: Vec<HonchoProfile>) -> Self {
        Self {
            profiles,
            timeouts: RefreshTimeouts::default(),
            caller_wait: Duration::from_secs(15),
            poll: Duration::from_secs(10),
            context: HonchoContext::default(),
            steps: StepHook::default(),
            events: FileEvents::default(),
            exchanges: CountBy::default(),
        }
    }
}

/// The inputs that are common to all profiles, or belong to the owner of the environment.
#[derive(Debug, Clone, Default)]
pub struct HonchoContext {
    /// The environment of the process at its start.
    pub environment: Arc<Environment>,
    /// The client for the exchanges.
    pub client: HttpClient,
    /// Removes every token of every file from the log.
    pub redactor: Redactor,
}

impl HonchoContext {
    /// The served profiles, as far as their grants are concerned.
    #[must_use]
    pub fn profiles(&self, in_force: &InForce) -> Vec<HonchoProfile> {
        let home = &in_force.settings.home;
        let profile = |served: &Served| HonchoProfile::new(served.name.clone(), &served.home, home, &self.environment);
        in_force.profiles.iter().map(profile).collect()
    }
}

/// Where the grants' actor sends its messages.
#[derive(Debug, Clone)]
pub struct HonchoPorts {
    /// Each profile receives its own token, and no other.
    pub profiles: BTreeMap<ProfileName, Port<TokenChanged>>,
    /// Notified when the status has changed.
    pub status: StatusChanges,
}

/// The actor's own ports, for what outlives one incarnation.
#[derive(Debug, Clone)]
pub struct HonchoOwnPorts {
    /// For the refreshing threads.
    pub done: Port<RefreshDone>,
    /// For the watch of the files.
    pub touched: Port<GrantFileTouched>,
}

impl HonchoPorts {
    /// Each profile's port.
    #[must_use]
    pub fn profiles(in_force: &InForce) -> BTreeMap<ProfileName, Port<TokenChanged>> {
        in_force.profiles.iter().map(|served| (served.name.clone(), served.ports.token.clone())).collect()
    }
}

/// A refreshing thread has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RefreshDone {
    pub(super) place: GrantLocation,
    pub(super) job: RefreshId,
    pub(super) report: RefreshReport,
}

/// The id of a refresh: the incarnation, and its number there.
pub(super) type RefreshId = (u64, u64);
