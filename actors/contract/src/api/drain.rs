//! Body and answers of `/api/gateway/drain`.

use serde::{Deserialize, Serialize};

use super::control::GatewayAction;
use crate::profile_name::ProfileName;

/// Body of `POST /api/gateway/drain`, as the command sends it. The route reads it field by field, so that an error names the field;
/// its tests parse what this type writes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrainRequest {
    /// [`GatewayAction::Drain`] or [`GatewayAction::Cancel`].
    pub action: GatewayAction,
    /// One profile; `None` is the whole gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// Suppresses the notice to the home channel at the shutdown that ends this drain.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suppress_notification: bool,
    /// Ends the drain automatically after this time, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_s: Option<f64>,
    /// The turn that makes the request, for whose end the drain does not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn_id: Option<String>,
}

impl DrainRequest {
    /// A request without options.
    #[must_use]
    pub fn new(action: GatewayAction, profile: Option<ProfileName>) -> Self {
        Self { action, profile, suppress_notification: false, deadline_s: None, turn_id: None }
    }
}

/// Answer to [`GatewayAction::Drain`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent properties, each a field of the answer")]
pub struct BeginDrainResponse {
    /// True.
    pub ok: bool,
    /// [`GatewayAction::Drain`].
    pub action: GatewayAction,
    /// RFC 3339 UTC, as in the marker.
    pub requested_at: String,
    /// True.
    pub draining: bool,
    /// As requested.
    pub suppress_notification: bool,
    /// Turns in flight at this moment.
    pub active_agents: usize,
    /// Whether the marker is on disk; if not, a restart ends the drain. Absent means true.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub durable: bool,
}

/// Answer to [`GatewayAction::Cancel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelDrainResponse {
    /// True.
    pub ok: bool,
    /// [`GatewayAction::Cancel`].
    pub action: GatewayAction,
    /// Whether there was a drain.
    pub was_draining: bool,
}

/// Answer of `GET /api/gateway/drain`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DrainProgress {
    /// Whether a drain or a shutdown is in progress.
    pub draining: bool,
    /// Turns in flight.
    pub active_agents: usize,
    /// Draining, and no turn is left that the drain waits for.
    pub drained: bool,
    /// Age of the oldest turn in seconds.
    pub oldest_turn_s: Option<f64>,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(flag: &bool) -> bool {
    *flag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn a_request_has_only_the_options_that_are_set() {
        let plain = DrainRequest::new(GatewayAction::Cancel, None);
        assert_eq!(text(&plain), r#"{"action":"cancel"}"#);
        let full = DrainRequest {
            suppress_notification: true,
            deadline_s: Some(60.0),
            turn_id: Some("t".to_owned()),
            ..DrainRequest::new(GatewayAction::Drain, ProfileName::parse("work").ok())
        };
        let expected =
            r#"{"action":"drain","profile":"work","suppress_notification":true,"deadline_s":60.0,"turn_id":"t"}"#;
        assert_eq!(text(&full), expected);
    }

    #[test]
    fn answers_have_these_bytes_and_are_read_back() {
        let begun = BeginDrainResponse {
            ok: true,
            action: GatewayAction::Drain,
            requested_at: "T".to_owned(),
            draining: true,
            suppress_notification: false,
            active_agents: 2,
            durable: true,
        };
        let expected = r#"{"ok":true,"action":"drain","requested_at":"T","draining":true,"suppress_notification":false,"active_agents":2}"#;
        assert_eq!(text(&begun), expected);
        assert_eq!(serde_json::from_str::<BeginDrainResponse>(expected).unwrap(), begun);
        let in_memory = BeginDrainResponse { durable: false, ..begun };
        assert!(text(&in_memory).ends_with(r#","active_agents":2,"durable":false}"#));
        assert_eq!(serde_json::from_str::<BeginDrainResponse>(&text(&in_memory)).unwrap(), in_memory);

        let cancelled = CancelDrainResponse { ok: true, action: GatewayAction::Cancel, was_draining: false };
        assert_eq!(text(&cancelled), r#"{"ok":true,"action":"cancel","was_draining":false}"#);
        let progress = DrainProgress { draining: true, active_agents: 0, drained: true, oldest_turn_s: None };
        assert_eq!(text(&progress), r#"{"draining":true,"active_agents":0,"drained":true,"oldest_turn_s":null}"#);
    }

    #[test]
    fn an_answer_of_a_later_version_is_read() {
        let later = r#"{"ok":true,"action":"cancel","was_draining":true,"since":7}"#;
        assert!(serde_json::from_str::<CancelDrainResponse>(later).unwrap().was_draining);
    }
}
