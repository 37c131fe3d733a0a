//! The description of the actor of one profile.

use std::sync::Arc;

use super::dependencies::{GatewayDependencies, READY_WITHIN, incarnation};
use crate::config::{ProfileChild, ProfileFactory, SharedProfileConfig};
use crate::profile::messages::ProfilePorts;
use crate::profile::{ProfileActor, ProfileDependencies};
use caduceus_supervision::{ChildSpec, Mailbox, Readiness, RestartPolicy, WhenExceeded, WorkerThread};

/// Describes profiles that run on `thread`.
pub(super) fn profile_factory(
    profile_dependencies: ProfileDependencies,
    dependencies: &GatewayDependencies,
    policy: RestartPolicy,
    thread: &WorkerThread,
) -> ProfileFactory {
    // One bad profile never ends the process.
    let policy = RestartPolicy { when_exceeded: WhenExceeded::Fail, ..policy };
    let (guard, redactor, thread) = (dependencies.guard.clone(), dependencies.redactor.clone(), thread.clone());
    Arc::new(move |config: SharedProfileConfig| {
        let mailbox: Mailbox<ProfileActor> = Mailbox::new();
        let name = config.get().profile.name.to_string();
        let (given, guard, redactor, profile_dependencies) =
            (config.clone(), guard.clone(), redactor.clone(), profile_dependencies.clone());
        let factory = move |start: &_| {
            ProfileActor::new(
                given.get(),
                guard.clone(),
                redactor.clone(),
                profile_dependencies.clone(),
                incarnation(start),
            )
        };
        let spec = ChildSpec::worker(name, &mailbox, factory)
            .on(&thread)
            .policy(policy)
            .readiness(Readiness::Reported { within: READY_WITHIN });
        let ports = ProfilePorts::of(&mailbox);
        ProfileChild { spec, ports, config }
    })
}
