//! The dependencies that all children share.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::honcho::steps::StepHook;
use crate::profile::{GuardCommand, Redactor};
use crate::status::listener::SnapshotListener;
use caduceus_supervision::{Incarnation, RestartPolicy, StartContext};

/// Timeout of a child's readiness: enough for a slow disk, not for a failed one.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(30);

/// The dependencies of the tree besides its settings.
#[derive(Clone)]
pub struct GatewayDependencies {
    /// The command of an agent's guard.
    pub guard: GuardCommand,
    /// Keeps secrets out of the logs; filled by the profiles.
    pub redactor: Redactor,
    /// When the process started.
    pub started: Instant,
    /// Called at every step of every refresh, for tests that kill the process at one.
    pub refresh_steps: StepHook,
    /// Receives every snapshot of the status.
    pub listener: SnapshotListener,
}

pub(super) fn policy(policies: &BTreeMap<String, RestartPolicy>, kind: &str) -> RestartPolicy {
    policies.get(kind).copied().unwrap_or_default()
}

pub(super) fn incarnation<A: actix::Actor<Context = actix::Context<A>>>(start: &StartContext<A>) -> Incarnation {
    start.incarnation().clone()
}
