//! The only function that decides whether the gateway is ready, degraded or not ready. All reports use it.

use std::sync::Arc;

use super::lifecycle::{self, GatewayState};
use super::readiness::{Issue, ReadinessLevel, Verdict};
use super::shown::{ShownLink, ShownState};
use super::snapshot::Snapshot;
use crate::messages::drain::DrainView;
use crate::messages::honcho::GrantState;
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
        let gateway = |state: &str| issue(ReadinessLevel::NotReady, "gateway", "", &state, None);
        match state {
            // Missing parts are expected while the process stops, and after that.
            GatewayState::Stopping | GatewayState::Stopped | GatewayState::StartupFailed => {
                return Verdict::of(vec![gateway(state.as_str())]);
            }
            GatewayState::Starting | GatewayState::Draining | GatewayState::Running => {}
        }
        let starting = state == GatewayState::Starting;
        let mut issues: Vec<Arc<Issue>> =
            self.actors.children.iter().filter_map(|node| self.actor_issue(node, starting)).collect();
        if let Some(error) = &self.ledger.write_error {
            issues.push(issue(ReadinessLevel::NotReady, "actor", "ledger", &"unwritable", Some(error.clone())));
        }
        if !self.ledger.damage.is_empty() {
            let damage = self.ledger.damage.join("; ");
            issues.push(issue(ReadinessLevel::Degraded, "actor", "ledger", &"damaged", Some(damage)));
        }
        if starting || state == GatewayState::Draining {
            issues.push(gateway(state.as_str()));
        }
        if !starting && !self.secrets.is_any_running() {
            issues.push(gateway("no profile is served"));
        }
        issues.extend(self.secrets.issues(starting));
        let counts = |state: &ChildState| !starting || *state == ChildState::Failed;
        for link in self.relay.iter().filter(|link| counts(&link.actor)) {
            let detail =
                |state| link_is_down(state, link.view.last_error.as_deref()).then(|| link.view.last_error.clone());
            issues.extend(self.link_issue(link, detail));
        }
        for grant in self.honcho.iter().filter(|_| !starting) {
            if let Some(state) = grant.reported().filter(|state| is_issue(*state)) {
                let detail = grant.view.last_error.clone().or(grant.view.remedy.map(str::to_owned));
                issues.push(issue(ReadinessLevel::Degraded, "grant", grant.view.profile.as_str(), &state, detail));
            }
        }
        for error in &self.configuration.troubles {
            issues.push(issue(ReadinessLevel::Degraded, "configuration", "", &"wrong", Some(error.clone())));
        }
        Verdict::of(issues)
    }

    /// Whether any link is connected.
    #[must_use]
    pub fn has_link(&self) -> bool {
        self.relay.iter().any(|link| link.reported() == Some(LinkState::Connected))
    }

    /// The issue of a child of the root.
    fn actor_issue(&self, node: &TreeNode, starting: bool) -> Option<Arc<Issue>> {
        let is_needed = NEEDED.contains(&base_name(&node.id));
        let level = if is_needed { ReadinessLevel::NotReady } else { ReadinessLevel::Degraded };
        let unresponsive = self.stale.contains_key(node.id.as_str());
        let state = match node.state {
            ChildState::Running if unresponsive => ShownState::Unresponsive,
            ChildState::Running => return None,
            ChildState::Starting if starting => return None,
            other => ShownState::<()>::Actor(other),
        };
        Some(issue(level, "actor", &node.id, &state, last_exit_text(node)))
    }

    /// The issue of a link. `detail_of` returns `None` for a state that is no issue, else its detail.
    fn link_issue(
        &self,
        link: &ShownLink,
        detail_of: impl FnOnce(LinkState) -> Option<Option<String>>,
    ) -> Option<Arc<Issue>> {
        let name: &str = &link.view.link.0;
        let detail = match link.state {
            ShownState::Reported(state) => detail_of(state)?,
            ShownState::Actor(_) | ShownState::Unresponsive => {
                self.actors.find(&format!("relays/{name}")).and_then(last_exit_text)
            }
        };
        Some(issue(ReadinessLevel::Degraded, "link", name, &link.state, detail))
    }
}

fn issue(
    level: ReadinessLevel,
    part: &'static str,
    name: &str,
    state: &impl serde::Serialize,
    detail: Option<String>,
) -> Arc<Issue> {
    Arc::new(Issue::new(level, part, name, state, detail))
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
