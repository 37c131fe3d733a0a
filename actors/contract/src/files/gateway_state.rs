//! The record of a gateway's state for the original's tools, and for Caduceus's commands: `gateway_state.json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use super::process_identity::{ProcessIdentity, RecordedProcess};
use crate::profile_name::ProfileName;
use crate::status::lifecycle::GatewayState;
use crate::status::snapshot::{PlatformView, Snapshot};

/// Name of the record in the home.
pub const FILE_NAME: &str = "gateway_state.json";
/// Longest record that is read, in bytes; real ones have a few kilobytes.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// The record without the time of writing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateRecord {
    #[serde(flatten)]
    identity: ProcessIdentity,
    hermes_home: String,
    /// The URL of the gateway; a field that the original ignores.
    http: Option<String>,
    /// The process with that address: the original keeps unknown fields when it writes itself into our record.
    http_of: Option<RecordedProcess>,
    gateway_state: GatewayState,
    exit_reason: Option<String>,
    restart_requested: bool,
    active_agents: usize,
    platforms: BTreeMap<String, PlatformView>,
    /// As in the original, only if there are several.
    #[serde(skip_serializing_if = "<[ProfileName]>::is_empty")]
    served_profiles: Arc<[ProfileName]>,
}

/// The fields of a record on disk that our commands use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRecord {
    /// Its process.
    pub written: RecordedProcess,
    /// The address of that gateway.
    pub http: Option<String>,
    /// Its last state.
    pub state: Option<GatewayState>,
    /// Turns in flight at that time.
    pub active_agents: u64,
    /// The reason of its end.
    pub exit_reason: Option<String>,
    /// Time of writing, RFC 3339.
    pub updated_at: Option<String>,
}

#[derive(Serialize)]
struct Stamped<'a> {
    #[serde(flatten)]
    record: &'a StateRecord,
    updated_at: String,
}

impl StateRecord {
    /// The record of a gateway that is about to start.
    #[must_use]
    pub fn starting(identity: ProcessIdentity, home: &Path) -> Self {
        Self {
            identity,
            hermes_home: home.to_string_lossy().into_owned(),
            http: None,
            http_of: None,
            gateway_state: GatewayState::Starting,
            exit_reason: None,
            restart_requested: false,
            active_agents: 0,
            platforms: BTreeMap::new(),
            served_profiles: Arc::default(),
        }
    }

    /// Sets the URL of the gateway.
    pub fn set_address(&mut self, address: String) {
        self.http = Some(address);
        self.http_of = Some(self.identity.recorded());
    }

    /// Records whether the gateway is to be started again after its end.
    pub fn set_restart_requested(&mut self, restart: bool) {
        self.restart_requested = restart;
    }

    /// Copies the state from `snapshot`.
    pub fn update_from(&mut self, snapshot: &Snapshot) {
        self.gateway_state = snapshot.gateway_state;
        self.exit_reason.clone_from(&snapshot.gateway_exit_reason);
        self.active_agents = snapshot.active_agents;
        self.platforms.clone_from(&snapshot.gateway_platforms);
        self.served_profiles =
            if snapshot.profiles.len() > 1 { Arc::clone(&snapshot.profiles) } else { Arc::default() };
    }

    /// Records that the process has ended at `now`: no turn runs and no link is connected.
    pub fn set_ended(&mut self, state: GatewayState, reason: Option<String>, now: Timestamp) {
        self.gateway_state = state;
        self.exit_reason = reason;
        self.active_agents = 0;
        let now = now.to_string();
        for platform in self.platforms.values_mut() {
            *platform = PlatformView {
                state: "disconnected".to_owned(),
                error_code: None,
                error_message: None,
                updated_at: now.clone(),
            };
        }
    }

    /// The bytes of `gateway_state.json`, written at `now`.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "texts and numbers always have a JSON form")]
    pub fn to_json(&self, now: Timestamp) -> Vec<u8> {
        let stamped = Stamped { record: self, updated_at: now.to_string() };
        serde_json::to_vec(&stamped).expect("texts and numbers always have a JSON form")
    }
}

impl FoundRecord {
    /// Reads a record, of Caduceus or of the original; `None` for anything else.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let written = RecordedProcess::parse(bytes)?;
        let fields: Value = serde_json::from_slice(bytes).ok()?;
        let http_of = fields.get("http_of").and_then(|of| RecordedProcess::deserialize(of).ok());
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            written,
            http: text("http").filter(|_| http_of == Some(written)),
            state: fields.get("gateway_state").and_then(Value::as_str).and_then(GatewayState::from_name),
            active_agents: fields.get("active_agents").and_then(Value::as_u64).unwrap_or(0),
            exit_reason: text("exit_reason"),
            updated_at: text("updated_at"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> StateRecord {
        let mut record = StateRecord::starting(
            ProcessIdentity::new(7, vec!["hermes-gateway".to_owned()], Some(42)),
            Path::new("/home"),
        );
        record.set_address("http://127.0.0.1:1".to_owned());
        record
    }

    #[test]
    fn a_record_reads_back() {
        let found = FoundRecord::parse(&record().to_json(Timestamp::UNIX_EPOCH)).unwrap();
        assert_eq!(found.written, RecordedProcess { pid: 7, start_time: Some(42) });
        assert_eq!(found.http.as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!((found.state, found.active_agents), (Some(GatewayState::Starting), 0));
        assert_eq!(found.updated_at.as_deref(), Some("1970-01-01T00:00:00Z"));
    }

    #[test]
    fn an_address_inherited_from_another_process_is_ignored() {
        let mut fields: Value = serde_json::from_slice(&record().to_json(Timestamp::UNIX_EPOCH)).unwrap();
        fields["pid"] = 1.into();
        let found = FoundRecord::parse(fields.to_string().as_bytes()).unwrap();
        assert_eq!((found.written.pid, found.http), (1, None));
    }

    #[test]
    fn unknown_values_of_a_later_version_are_ignored() {
        let mut fields: Value = serde_json::from_slice(&record().to_json(Timestamp::UNIX_EPOCH)).unwrap();
        fields["gateway_state"] = "unknown".into();
        fields["active_agents"] = "two".into();
        let found = FoundRecord::parse(fields.to_string().as_bytes()).unwrap();
        assert_eq!((found.state, found.active_agents), (None, 0));
    }
}
