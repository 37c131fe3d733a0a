//! The only function that decides whether the gateway is ready, degraded or not ready. All reports use it.

use super::lifecycle::{self, GatewayState};
use super::readiness::{Issue, ReadinessLevel, Verdict};
use super::shown::{Shown, ShownState, View};
use super::snapshot::Snapshot;
use crate::messages::drain::DrainView;
use crate::messages::honcho::GrantState;
use crate::messages::profile::{ProfileState, ProfileView};
use crate::messages::relay::LinkState;
use crate::share::base_name;
use caduceus_supervision::{ChildState, TreeNode};

/// Actors without which no turn is admitted, or no reply is delivered; of those with a number, each.
const NEEDED: [&str; 6] = ["ledger", "drain", "dispatch", "status", "turns", "http"];

impl Snapshot {
    /// Decides from this snapshot and `gate`, which is newer than the snapshot right after a drain or a cancel was answered.
    #[must_use]
    pub fn verdict(&self, gate: &DrainView) -> Verdict {
        let state = lifecycle::state(self.phase, gate);
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
            self.actors.children.iter().filter_map(|node| self.actor_issue(node, starting)).collect();
        if let Some(error) = &self.ledger.write_error {
            issues.push(issue(ReadinessLevel::NotReady, "actor", "ledger", "unwritable", Some(error.clone())));
        }
        if starting || state == GatewayState::Draining {
            issues.push(gateway(state.to_string()));
        }
        if !starting && !self.secrets.iter().any(|profile| profile.actor == ChildState::Running) {
            issues.push(gateway("no profile is served".to_owned()));
        }
        let counts = |state: &ChildState| !starting || *state == ChildState::Failed;
        for profile in self.secrets.iter().filter(|profile| counts(&profile.actor)) {
            let detail = |state| (state != ProfileState::Ready).then(|| profile_detail(&profile.view));
            issues.extend(self.part_issue("profile", "profiles", profile.view.name.as_str(), profile, detail));
        }
        for link in self.relay.iter().filter(|link| counts(&link.actor)) {
            let detail =
                |state| link_is_down(state, link.view.last_error.as_deref()).then(|| link.view.last_error.clone());
            issues.extend(self.part_issue("link", "relays", &link.view.link.0, link, detail));
        }
        for grant in self.honcho.iter().filter(|_| !starting) {
            if let Some(state) = grant.reported().filter(|state| is_issue(*state)) {
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
    fn actor_issue(&self, node: &TreeNode, starting: bool) -> Option<Issue> {
        let is_needed = NEEDED.contains(&base_name(&node.id));
        let level = if is_needed { ReadinessLevel::NotReady } else { ReadinessLevel::Degraded };
        let unresponsive = self.stale.contains_key(node.id.as_str());
        let state = match node.state {
            ChildState::Running if unresponsive => "unresponsive".to_owned(),
            ChildState::Running => return None,
            ChildState::Starting if starting => return None,
            other => text(&other),
        };
        Some(issue(level, "actor", &node.id, state, last_exit_text(node)))
    }

    /// The issue of a child of one of the supervisors. `detail_of` returns `None` for a state that is no issue, else its detail.
    fn part_issue<V: View>(
        &self,
        part: &'static str,
        supervisor: &str,
        name: &str,
        shown: &Shown<V>,
        detail_of: impl FnOnce(V::State) -> Option<Option<String>>,
    ) -> Option<Issue> {
        let detail = match shown.state {
            ShownState::Reported(state) => detail_of(state)?,
            ShownState::Actor(_) | ShownState::Unresponsive => {
                self.actors.find(&format!("{supervisor}/{name}")).and_then(last_exit_text)
            }
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
    Issue { level, part: part.into(), name: name.to_owned(), state: state.into(), detail }
}

/// Why the last incarnation of an actor ended.
fn last_exit_text(node: &TreeNode) -> Option<String> {
    node.last_exit.as_ref().map(|exit| exit.text.clone())
}

fn link_is_down(state: LinkState, last_error: Option<&str>) -> bool {
    match state {
        // In service, or idle because it was requested.
        LinkState::Connected | LinkState::Idle => false,
        // A link without an address is not down; one whose address cannot be dialled is.
        LinkState::Disabled => last_error.is_some(),
        LinkState::Connecting | LinkState::Handshaking | LinkState::Waiting | LinkState::Revoked => true,
    }
}

fn is_issue(grant: GrantState) -> bool {
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
