//! Answer of `GET /api/status`, as far as commands read it. The full status is [`Snapshot`].

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::messages::drain::DrainView;
use crate::status::readiness::ReadinessLevel;
use crate::status::snapshot::{PlatformView, Snapshot};

/// The public summary, and the parts of the full status that commands read. The public summary has no sentences, because they may
/// contain paths and addresses.
///
/// States and names are texts, so that a command shows one that its version does not have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusResponse {
    /// Version of the gateway.
    #[serde(default)]
    pub version: String,
    /// Always true in a live answer.
    #[serde(default)]
    pub gateway_running: bool,
    /// The state of the gateway.
    pub gateway_state: String,
    /// When the state last changed, RFC 3339 UTC.
    #[serde(default)]
    pub gateway_updated_at: String,
    /// Links by platform.
    #[serde(default)]
    pub gateway_platforms: BTreeMap<String, PlatformView>,
    /// Turns in flight.
    pub active_agents: usize,
    /// Running with at least one turn.
    #[serde(default)]
    pub gateway_busy: bool,
    /// Running, idle or not.
    #[serde(default)]
    pub gateway_drainable: bool,
    /// Seconds that a shutdown waits for turns.
    #[serde(default)]
    pub restart_drain_timeout: u64,
    /// Sessions with work queued or running.
    #[serde(default)]
    pub active_sessions: usize,
    /// The profiles served.
    #[serde(default)]
    pub profiles: Vec<String>,
    /// Whether a turn would be admitted, and whether all parts work; `None` from a version that reports it otherwise.
    #[serde(default, deserialize_with = "if_valid", skip_serializing_if = "Option::is_none")]
    pub readiness: Option<ReadinessLevel>,
    /// Why no turn would be admitted. In the full status only, as all that follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<String>,
    /// The issues, the worst first.
    #[serde(default, deserialize_with = "if_valid", skip_serializing_if = "Option::is_none")]
    pub issues: Option<Vec<IssueResponse>>,
    /// Parts that do not answer, by name, with the age of what is shown of them in milliseconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stale: BTreeMap<String, u64>,
    /// The gate.
    #[serde(default, deserialize_with = "if_valid", skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainView>,
}

/// An issue of the full status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IssueResponse {
    /// The kind of part.
    pub part: String,
    /// The name of the part; empty if there is only one.
    pub name: String,
    /// Its state, in a few words.
    pub state: String,
    /// Details, which may contain paths and addresses.
    pub detail: Option<String>,
}

impl StatusResponse {
    /// The public summary of `snapshot`.
    #[must_use]
    pub fn public(snapshot: &Snapshot) -> Self {
        let platforms = snapshot.gateway_platforms.iter().map(|(name, platform)| {
            let public = PlatformView {
                state: platform.state.clone(),
                error_code: None,
                error_message: None,
                updated_at: platform.updated_at.clone(),
            };
            (name.clone(), public)
        });
        Self {
            version: snapshot.version.to_owned(),
            gateway_running: snapshot.gateway_running,
            gateway_state: snapshot.gateway_state.to_string(),
            gateway_updated_at: snapshot.gateway_updated_at.clone(),
            gateway_platforms: platforms.collect(),
            active_agents: snapshot.active_agents,
            gateway_busy: snapshot.gateway_busy,
            gateway_drainable: snapshot.gateway_drainable,
            restart_drain_timeout: snapshot.restart_drain_timeout,
            active_sessions: snapshot.active_sessions,
            profiles: snapshot.profiles.iter().map(ToString::to_string).collect(),
            readiness: Some(snapshot.readiness),
            ..Self::default()
        }
    }
}

/// `None` for a value that is not a `T` of this version, so that the rest of the status remains readable.
fn if_valid<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_known_fields_of_a_status_of_another_version_are_read() {
        let status: StatusResponse = serde_json::from_value(json!({
            "gateway_state": "hibernating", "active_agents": 1, "readiness": "drowsy", "issues": [{"level": "dire", "name": "p", "mood": 1}],
            "drain": {"draining": true}, "mood": "good",
        }))
        .unwrap();
        let issue = IssueResponse { name: "p".to_owned(), ..Default::default() };
        let expected = StatusResponse {
            gateway_state: "hibernating".to_owned(),
            active_agents: 1,
            issues: Some(vec![issue]),
            ..Default::default()
        };
        assert_eq!(status, expected);
    }

    #[test]
    fn an_answer_without_state_or_count_of_turns_is_no_status() {
        for answer in [json!({}), json!({"gateway_state": "running"}), json!({"active_agents": 0})] {
            assert!(serde_json::from_value::<StatusResponse>(answer).is_err());
        }
    }
}
