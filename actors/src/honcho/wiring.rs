//! What the keeper of the grants is built with.

use std::collections::BTreeMap;
use std::time::Duration;

use super::actor::{HonchoRefreshActor, RefreshDone};
use super::location::HonchoProfile;
use super::refresh::{Limits, StepHook};
use super::watch::GrantFileTouched;
use crate::profile::messages::TokenChanged;
use crate::profile::name::ProfileName;
use crate::status::messages::StatusTouched;
use crate::supervision::{Birth, Port};

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
    /// Told of every step of every refresh, for tests that die on one.
    pub steps: StepHook,
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
            steps: StepHook::default(),
        }
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

impl HonchoOwn {
    /// The ports of a child of a tree.
    #[must_use]
    pub fn of(birth: &Birth<HonchoRefreshActor>) -> Self {
        Self { done: birth.own(), touched: birth.own() }
    }
}
