//! The public summary of the status.

use std::collections::BTreeMap;

use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::status::lifecycle::GatewayState;
use caduceus_contract::status::readiness::ReadinessLevel;
use caduceus_contract::status::snapshot::Snapshot;
use serde::Serialize;

/// The public summary: liveness, counts and names. It has no sentences, because they may contain paths and addresses.
#[derive(Debug, Serialize)]
pub(super) struct OpenStatus<'a> {
    version: &'static str,
    gateway_running: bool,
    gateway_state: GatewayState,
    gateway_updated_at: &'a str,
    gateway_platforms: BTreeMap<&'a str, OpenPlatform<'a>>,
    active_agents: usize,
    gateway_busy: bool,
    gateway_drainable: bool,
    restart_drain_timeout: u64,
    active_sessions: usize,
    profiles: &'a [ProfileName],
    readiness: ReadinessLevel,
}

#[derive(Debug, Serialize)]
struct OpenPlatform<'a> {
    state: &'a str,
    updated_at: &'a str,
}

impl<'a> OpenStatus<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let platforms = snapshot.gateway_platforms.iter().map(|(name, platform)| {
            (name.as_str(), OpenPlatform { state: &platform.state, updated_at: &platform.updated_at })
        });
        Self {
            version: snapshot.version,
            gateway_running: snapshot.gateway_running,
            gateway_state: snapshot.gateway_state,
            gateway_updated_at: &snapshot.gateway_updated_at,
            gateway_platforms: platforms.collect(),
            active_agents: snapshot.active_agents,
            gateway_busy: snapshot.gateway_busy,
            gateway_drainable: snapshot.gateway_drainable,
            restart_drain_timeout: snapshot.restart_drain_timeout,
            active_sessions: snapshot.active_sessions,
            profiles: &snapshot.profiles,
            readiness: snapshot.readiness,
        }
    }
}
