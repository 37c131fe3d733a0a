//! Answers to requests that change something outside the drain, and of the probes.

use serde::{Deserialize, Serialize, Serializer};

use crate::status::readiness::ReadinessLevel;
use crate::turn_id::TurnId;

/// What a request does to the whole gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayAction {
    /// Begins a drain.
    Drain,
    /// Cancels a drain.
    Cancel,
    /// Restarts the process.
    Restart,
}

/// Answer of `POST /api/gateway/restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartResponse {
    /// True.
    pub ok: bool,
    /// [`GatewayAction::Restart`].
    pub action: GatewayAction,
    /// Whether the shutdown does not wait for turns.
    pub force: bool,
    /// Turns in flight at the time of the request.
    pub active_agents: usize,
}

/// Answer of the requests for one actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorResponse {
    /// True.
    pub ok: bool,
    /// The path of the actor.
    pub actor: String,
}

/// Answer of `POST /api/turns/{id}/stop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopTurnResponse {
    /// True.
    pub ok: bool,
    /// The turn that is stopped.
    pub turn_id: TurnId,
}

/// Answer of `POST /api/relay/idle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RelayIdleResponse {
    /// True.
    pub ok: bool,
    /// The result of each link, by its name; an object, in this order.
    #[serde(serialize_with = "as_object")]
    pub links: Vec<(String, IdleResult)>,
}

/// Whether the connector of a link buffers events while the link is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdleResult {
    /// The connector acknowledged: it buffers.
    Acknowledged,
    /// The connector did not acknowledge in time.
    NotAcknowledged,
    /// The link was down.
    NotConnected,
    /// The actor of the link did not answer.
    Unavailable,
}

/// Answer of `GET /readyz` with status 200.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyResponse {
    /// True.
    pub ready: bool,
    /// Ready or degraded.
    pub readiness: ReadinessLevel,
    /// The parts that are failed or down, by name and state.
    pub issues: Vec<String>,
}

fn as_object<S: Serializer>(links: &[(String, IdleResult)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(links.iter().map(|(link, result)| (link, result)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(answer: &impl Serialize) -> String {
        serde_json::to_string(answer).unwrap()
    }

    #[test]
    fn answers_have_these_bytes() {
        let restart = RestartResponse { ok: true, action: GatewayAction::Restart, force: false, active_agents: 2 };
        assert_eq!(text(&restart), r#"{"ok":true,"action":"restart","force":false,"active_agents":2}"#);
        let actor = ActorResponse { ok: true, actor: "profiles/work".to_owned() };
        assert_eq!(text(&actor), r#"{"ok":true,"actor":"profiles/work"}"#);
        let turn_id = "019ab000-0000-7000-8000-000000000000".parse().unwrap();
        let stop = StopTurnResponse { ok: true, turn_id };
        assert_eq!(text(&stop), r#"{"ok":true,"turn_id":"019ab000-0000-7000-8000-000000000000"}"#);
        let ready = ReadyResponse {
            ready: true,
            readiness: ReadinessLevel::Degraded,
            issues: vec!["profile work: failed".to_owned()],
        };
        assert_eq!(text(&ready), r#"{"ready":true,"readiness":"degraded","issues":["profile work: failed"]}"#);
    }

    #[test]
    fn links_are_an_object_in_the_order_of_the_links() {
        let links = [
            ("relay", IdleResult::NotAcknowledged),
            ("play", IdleResult::Acknowledged),
            ("work", IdleResult::NotConnected),
            ("z", IdleResult::Unavailable),
        ];
        let answer =
            RelayIdleResponse { ok: true, links: links.map(|(link, result)| (link.to_owned(), result)).into() };
        assert_eq!(
            text(&answer),
            r#"{"ok":true,"links":{"relay":"not_acknowledged","play":"acknowledged","work":"not_connected","z":"unavailable"}}"#
        );
    }
}
