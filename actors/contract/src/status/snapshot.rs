//! The status of the whole gateway at one moment, as `/api/status` answers it.
//!
//! The first group of fields keeps the original's names and meaning, so that its tools can read it; fields of Caduceus follow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::lifecycle::{GatewayState, ProcessPhase};
use super::profiles::ShownProfiles;
use super::readiness::{Issue, ReadinessLevel};
use super::shown::{ShownGrant, ShownLink};
use crate::messages::config::ConfigView;
use crate::messages::dispatch::DispatchView;
use crate::messages::drain::DrainView;
use crate::messages::ledger::LedgerView;
use crate::profile_name::ProfileName;
use caduceus_supervision::Tree;

/// Everything for operators: names, counts and ages, never a secret or a message.
///
/// What there is for each profile and each actor is shared with the status before it, as far as it has not changed. `Serialize` leaves
/// these parts out; [`Snapshot::to_json`] has them.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// Number of reported changes that it includes, since the start of the process.
    #[serde(skip)]
    pub changes: u64,
    /// When it was built: its ages are of that time.
    #[serde(skip)]
    pub made: Instant,
    /// Version of this program.
    pub version: &'static str,
    /// Whether the gateway runs; always true in a live answer.
    pub gateway_running: bool,
    /// The state of the gateway.
    pub gateway_state: GatewayState,
    /// When the state last changed, RFC 3339 UTC.
    pub gateway_updated_at: String,
    /// The reason of its end.
    pub gateway_exit_reason: Option<String>,
    /// Links by platform.
    pub gateway_platforms: BTreeMap<String, PlatformView>,
    /// Turns in flight.
    pub active_agents: usize,
    /// Running with at least one turn.
    pub gateway_busy: bool,
    /// Running, idle or not.
    pub gateway_drainable: bool,
    /// Seconds that a shutdown waits for turns.
    pub restart_drain_timeout: u64,
    /// Sessions with work queued or running.
    pub active_sessions: usize,
    /// The profiles served.
    pub profiles: Arc<[ProfileName]>,

    /// Whether a turn would be admitted, and whether all parts work.
    pub readiness: ReadinessLevel,
    /// Why no turn would be admitted at present, if so.
    pub not_ready: Option<String>,
    /// The issues, the worst first.
    pub issues: Vec<Arc<Issue>>,
    /// Parts that do not answer, by name, with the age of what is shown of them in milliseconds.
    pub stale: BTreeMap<String, u64>,
    /// The configuration: its problems, and the changes that wait for the next start.
    pub configuration: ConfigView,
    /// The gate.
    pub drain: DrainView,
    /// The links.
    pub relay: Vec<ShownLink>,
    /// The grants.
    pub honcho: Vec<ShownGrant>,
    /// The dispatcher.
    pub turns: DispatchView,
    /// The ledger.
    pub ledger: LedgerView,
    /// The profiles: missing names, never values.
    #[serde(skip)]
    pub secrets: Arc<ShownProfiles>,
    /// The supervision tree.
    #[serde(skip)]
    pub actors: Tree,
    /// The process.
    pub process: ProcessView,

    /// The phase of the process, which is independent of the gate.
    #[serde(skip)]
    pub phase: ProcessPhase,
    /// Totals over parts that are added and removed.
    #[serde(skip)]
    pub totals: Totals,
}

impl Snapshot {
    /// All of it as JSON, as `/api/status` answers it. Renders the profiles and actors that were not rendered before, and copies the
    /// text of the others.
    ///
    /// # Errors
    /// If a field has no JSON form, a bug.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = serde_json::to_vec(self)?;
        // The brace that ends the object.
        json.pop();
        json.extend_from_slice(b",\"secrets\":");
        self.secrets.write_json(&mut json)?;
        json.extend_from_slice(b",\"actors\":");
        self.actors.write_json(&mut json)?;
        json.push(b'}');
        Ok(json)
    }
}

/// Counts since the process started, including removed parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Processes of agents started.
    pub agents_started: u64,
    /// Tokens exchanged.
    pub exchanges: u64,
}

/// One platform as the original's tools expect it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformView {
    /// For example `connected`.
    #[serde(default)]
    pub state: String,
    /// A stable code, if there is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// One sentence, if there is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// RFC 3339 UTC.
    #[serde(default)]
    pub updated_at: String,
}

/// The process itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ProcessView {
    /// Its process id.
    pub pid: u32,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Resident memory, if the system reports it.
    pub resident_bytes: Option<u64>,
    /// Open descriptors, if the system reports them.
    pub open_fds: Option<usize>,
}
