//! What every child is made with.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::honcho::steps::StepHook;
use crate::profile::{GuardCommand, Redactor};
use crate::status::listener::Listener;
use caduceus_supervision::{Incarnation, RestartPolicy, StartContext};

/// How long a child may take to say that it is ready: a slow disk, not a dead one.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(30);
/// What the tree needs beside its settings.
#[derive(Clone)]
pub struct Surroundings {
    /// How the guard of an agent is run.
    pub guard: GuardCommand,
    /// Keeps secrets out of the logs; fed by the profiles.
    pub redactor: Redactor,
    /// When the process started.
    pub started: Instant,
    /// Told of every step of every refresh, for tests that kill us on one.
    pub refresh_steps: StepHook,
    /// Hears of every status.
    pub listener: Listener,
}

pub(super) fn policy(policies: &BTreeMap<String, RestartPolicy>, kind: &str) -> RestartPolicy {
    policies.get(kind).copied().unwrap_or_default()
}

pub(super) fn incarnation<A: actix::Actor<Context = actix::Context<A>>>(start: &StartContext<A>) -> Incarnation {
    start.incarnation().clone()
}
