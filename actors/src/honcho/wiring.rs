//! What the keeper of the grants is built with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Message;

use super::location::HonchoProfile;
use super::refresh::{Limits, Report};
use super::steps::StepHook;
use super::survey::GrantPlace;
use super::watch::GrantFileTouched;
use crate::config::messages::{InForce, Served};
use crate::counts::CountBy;
use crate::files::FileEvents;
use crate::http_client::HttpClient;
use crate::profile::messages::TokenChanged;
use crate::profile::name::ProfileName;
use crate::profile::redact::Redactor;
use crate::settings::Environment;
use crate::status::messages::StatusTouched;
use caduceus_supervision::Port;

/// What the keeper is built with.
#[derive(Debug, Clone)]
pub struct HonchoSettings {
    /// The profiles served.
    pub profiles: Vec<HonchoProfile>,
    /// How long a refresh may take.
    pub limits: Limits,
    /// Longest wait of a caller for a refresh; then it gets the old token.
    pub caller_wait: Duration,
    /// How often the files are looked at without any event, for file systems that give none.
    pub poll: Duration,
    /// What the profiles served are made of, when they change.
    pub surroundings: HonchoSurroundings,
    /// Told of every step of every refresh, for tests that die on one.
    pub steps: StepHook,
    /// Tells that a file may have changed.
    pub events: FileEvents,
    /// Exchanges made, by file and host; they outlive the actor.
    pub exchanges: CountBy<(PathBuf, String)>,
}

impl HonchoSettings {
    /// The usual waits for these profiles.
    #[must_use]
    pub fn new(profiles: Vec<HonchoProfile>) -> Self {
        Self {
            profiles,
            limits: Limits::default(),
            caller_wait: Duration::from_secs(15),
            poll: Duration::from_secs(10),
            surroundings: HonchoSurroundings::default(),
            steps: StepHook::default(),
            events: FileEvents::default(),
            exchanges: CountBy::default(),
        }
    }
}

/// What is the same for all profiles, or for the one whose environment is the process's.
#[derive(Debug, Clone, Default)]
pub struct HonchoSurroundings {
    /// What the process was started with.
    pub environment: Arc<Environment>,
    /// Makes the exchanges.
    pub client: HttpClient,
    /// Takes every token of every file out of what is logged.
    pub redactor: Redactor,
}

impl HonchoSurroundings {
    /// The profiles served, as far as their grants go.
    #[must_use]
    pub fn profiles(&self, in_force: &InForce) -> Vec<HonchoProfile> {
        let profile =
            |served: &Served| HonchoProfile::new(served.name.clone(), &served.home, &in_force.home, &self.environment);
        in_force.profiles.iter().map(profile).collect()
    }
}

/// Whom the keeper tells.
#[derive(Debug, Clone)]
pub struct HonchoPorts {
    /// Each profile hears of its own token, and of no other.
    pub profiles: BTreeMap<ProfileName, Port<TokenChanged>>,
    /// Something shown changed.
    pub status: Port<StatusTouched>,
}

/// The keeper's own mailbox, for what outlives one incarnation.
#[derive(Debug, Clone)]
pub struct HonchoOwn {
    /// For the threads that refresh.
    pub done: Port<RefreshDone>,
    /// For the watch on the files.
    pub touched: Port<GrantFileTouched>,
}

impl HonchoPorts {
    /// Each profile's own way in.
    #[must_use]
    pub fn profiles(in_force: &InForce) -> BTreeMap<ProfileName, Port<TokenChanged>> {
        in_force.profiles.iter().map(|served| (served.name.clone(), served.ports.token.clone())).collect()
    }
}

/// News from a refreshing thread: it has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RefreshDone {
    pub(super) place: GrantPlace,
    pub(super) job: RefreshId,
    pub(super) report: Report,
}

/// Which refresh: of which incarnation, and which of its.
pub(super) type RefreshId = (u64, u64);
