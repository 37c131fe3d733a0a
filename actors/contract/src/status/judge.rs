//! The one function that decides whether the gateway is ready, degraded or not ready. All reports use it.

use super::readiness::{Issue, ReadinessLevel, Verdict};
use super::shown::{Shown, View, Word};
use super::snapshot::Snapshot;
use super::words::{self, GatewayState};
use crate::messages::drain::DrainView;
use crate::messages::honcho::GrantState;
use crate::messages::profile::{ProfileState, ProfileView};
use crate::messages::relay::LinkState;
use caduceus_supervision::{ChildState, TreeNode};

/// Actors without which no turn is admitted, or no reply is delivered.
const NEEDED: [&str; 6] = ["ledger", "drain", "dispatch", "status", "turns", "http"];

impl Snapshot {
    /// Decides from this snapshot and the current gate: right after the answer to a drain or a cancel, `gate` is newer.
    #[must_use]
    pub fn judged_by(&self, gate: &DrainView) -> Verdict {
        let state = words::state(self.phase, gate);
        let gateway = |state: String| issue(ReadinessLevel::NotReady, "gateway", "", state, None);
        match state {
            // Missing parts are expected while the process stops, and after that.
            GatewayState::Stopping | GatewayState::Stopped | GatewayState::StartupFailed => {
                return Verdict::of(vec![gateway(state.to_string())]);
            }
            GatewayState::Starting | GatewayState::Draining | GatewayState::Running => {}
        }
        let starting = state == GatewayState::Starting;
        let mut issues: Vec<Issue> =
            self.actors.children.iter().filter_map(|node| self.of_actor(node, starting)).collect();
        if let Some(write_error) = &self.ledger.write_error {
            issues.push(issue(ReadinessLevel::NotReady, "actor", "ledger", "unwritable", Some(write_error.clone())));
        }
        if starting || state == GatewayState::Draining {
            issues.push(gateway(state.to_string()));
        }
        if !starting && !self.secrets.iter().any(|profile| profile.actor == ChildState::Running) {
            issues.push(gateway("no profile is served".to_owned()));
        }
        let over = |state: &ChildState| !starting || *state == ChildState::Failed;
        for profile in self.secrets.iter().filter(|profile| over(&profile.actor)) {
            let wrong = |state| (state != ProfileState::Ready).then(|| profile_detail(&profile.view));
            issues.extend(self.of_part("profile", "profiles", profile.view.name.as_str(), profile, wrong));
        }
        for link in self.relay.iter().filter(|link| over(&link.actor)) {
            let wrong =
                |state| link_is_down(state, link.view.last_error.as_deref()).then(|| link.view.last_error.clone());
            issues.extend(self.of_part("link", "relays", &link.view.link.0, link, wrong));
        }
        for grant in self.honcho.iter().filter(|_| !starting) {
            if let Some(state) = grant.reported().filter(|state| is_wrong(*state)) {
                let detail = grant.view.last_error.clone().or(grant.view.remedy.map(str::to_owned));
                issues.push(issue(
                    ReadinessLevel::Degraded,
                    "grant",
                    grant.view.profile.as_str(),
                    text(&state),
                    detail,
                ));
            }
        }
        for error in &self.configuration.troubles {
            issues.push(issue(ReadinessLevel::Degraded, "configuration", "", "wrong", Some(error.clone())));
        }
        Verdict::of(issues)
    }

    /// Whether any link is connected.
    #[must_use]
    pub fn has_link(&self) -> bool {
        self.relay.iter().any(|link| link.reported() == Some(LinkState::Connected))
    }

    /// The issue of a child of the root.
    fn of_actor(&self, node: &TreeNode, starting: bool) -> Option<Issue> {
        let level =
            if NEEDED.contains(&node.id.as_str()) { ReadinessLevel::NotReady } else { ReadinessLevel::Degraded };
        let silent = self.stale.contains_key(node.id.as_str());
        let state = match node.state {
            ChildState::Running if silent => "unresponsive".to_owned(),
            ChildState::Running => return None,
            ChildState::Starting if starting => return None,
            other => text(&other),
        };
        Some(issue(level, "actor", &node.id, state, why(node)))
    }

    /// The issue of a child of one of the supervisors; `wrong` examines its own view.
    fn of_part<V: View>(
        &self,
        part: &'static str,
        supervisor: &str,
        name: &str,
        shown: &Shown<V>,
        wrong: impl FnOnce(V::State) -> Option<Option<String>>,
    ) -> Option<Issue> {
        let detail = match shown.state {
            Word::Reported(state) => wrong(state)?,
            Word::Actor(_) | Word::Unresponsive => self.actors.find(&format!("{supervisor}/{name}")).and_then(why),
        };
        Some(issue(ReadinessLevel::Degraded, part, name, text(&shown.state), detail))
    }
}

fn issue(
    level: ReadinessLevel,
    part: &'static str,
    name: &str,
    state: impl Into<String>,
    detail: Option<String>,
) -> Issue {
    Issue { level, part, name: name.to_owned(), state: state.into(), detail }
}

/// Why the last incarnation of an actor ended.
fn why(node: &TreeNode) -> Option<String> {
    node.last_exit.as_ref().map(|exit| exit.text.clone())
}

fn link_is_down(state: LinkState, last_error: Option<&str>) -> bool {
    match state {
        // Idle on purpose, or in service.
        LinkState::Connected | LinkState::Idle => false,
        // Without an address no link is down; with one that cannot be dialled the link is.
        LinkState::Disabled => last_error.is_some(),
        LinkState::Connecting | LinkState::Handshaking | LinkState::Waiting | LinkState::Revoked => true,
    }
}

fn is_wrong(grant: GrantState) -> bool {
    match grant {
        GrantState::None | GrantState::Fresh | GrantState::Refreshing => false,
        GrantState::Backoff | GrantState::Uncertain | GrantState::ReauthRequired | GrantState::Unreadable => true,
    }
}

fn profile_detail(view: &ProfileView) -> Option<String> {
    let missing = (!view.missing.is_empty()).then(|| format!("missing {}", view.missing.join(", ")));
    let parts: Vec<_> = missing.into_iter().chain(view.troubles.iter().cloned()).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The name of a state in the status.
fn text(state: &impl serde::Serialize) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "unknown".to_owned(),
    }
}
