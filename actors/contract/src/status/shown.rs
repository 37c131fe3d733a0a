//! The view of an actor in the status, beside the state of its node in the tree.
//!
//! The last view of an actor that is down is out of date. So the state in a view counts only while the actor answers; otherwise the
//! state of its node counts, and the rest of the view is shown with its age.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::messages::honcho::{GrantState, GrantView};
use crate::messages::profile::{ProfileState, ProfileView};
use crate::messages::relay::{LinkState, LinkView};
use crate::time::millis;
use caduceus_supervision::ChildState;

/// The state of one link.
pub type ShownLink = Shown<LinkView>;
/// The state of one profile.
pub type ShownProfile = Shown<ProfileView>;
/// The state of one grant.
pub type ShownGrant = Shown<GrantView>;

/// The view of an actor.
pub trait View {
    /// The type of its state.
    type State: Copy + PartialEq + Serialize;

    /// The state in the view.
    fn state(&self) -> Self::State;

    /// The view is shown `by` later, and its actor is not running: ages grow, and values of a running actor are removed.
    fn age(&mut self, by: Duration);
}

/// One view with the state of its actor in the tree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown<V: View> {
    /// The state of its actor in the supervision tree.
    pub actor: ChildState,
    /// The state: from the view while its actor answers, else from the tree.
    pub state: ShownState<V::State>,
    /// Age of the rest in milliseconds, if the actor does not answer; `None` while it does.
    pub stale_ms: Option<u64>,
    /// The rest.
    #[serde(flatten)]
    pub view: V,
}

/// A state, by its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownState<S> {
    /// Its actor runs and reported this.
    Reported(S),
    /// Its actor does not run; this is the state of its node.
    Actor(ChildState),
    /// Its actor runs and does not answer.
    Unresponsive,
}

impl<V: View> Shown<V> {
    /// `view` was reported `since` ago by the current incarnation, if `answered`.
    pub fn new(mut view: V, actor: ChildState, answered: bool, since: Duration) -> Self {
        let state = match actor {
            ChildState::Running if answered => ShownState::Reported(view.state()),
            ChildState::Running => ShownState::Unresponsive,
            other => ShownState::Actor(other),
        };
        let current = matches!(state, ShownState::Reported(_));
        if !current {
            view.age(since);
        }
        let stale_ms = (!current).then(|| millis(since));
        Self { actor, state, stale_ms, view }
    }

    /// The state in the view, if it is current.
    #[must_use]
    pub fn reported(&self) -> Option<V::State> {
        match self.state {
            ShownState::Reported(state) => Some(state),
            ShownState::Actor(_) | ShownState::Unresponsive => None,
        }
    }
}

impl<S: Serialize> Serialize for ShownState<S> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        match self {
            Self::Reported(state) => state.serialize(serializer),
            Self::Actor(state) => state.serialize(serializer),
            Self::Unresponsive => serializer.serialize_str("unresponsive"),
        }
    }
}

impl View for LinkView {
    type State = LinkState;

    fn state(&self) -> LinkState {
        self.state
    }

    fn age(&mut self, by: Duration) {
        let by = millis(by);
        let later = |age: Option<u64>| age.map(|age| age.saturating_add(by));
        self.state_age_ms = self.state_age_ms.saturating_add(by);
        self.last_inbound_age_ms = later(self.last_inbound_age_ms);
        self.last_ack_age_ms = later(self.last_ack_age_ms);
        self.next_dial_ms = None;
        self.waiting = 0;
    }
}

impl View for ProfileView {
    type State = ProfileState;

    fn state(&self) -> ProfileState {
        self.state
    }

    fn age(&mut self, _: Duration) {}
}

impl View for GrantView {
    type State = GrantState;

    fn state(&self) -> GrantState {
        self.state
    }

    fn age(&mut self, by: Duration) {
        self.expires_in_s =
            self.expires_in_s.map(|left| left.saturating_sub(i64::try_from(by.as_secs()).unwrap_or(i64::MAX)));
        self.last_refresh_age_s = self.last_refresh_age_s.map(|age| age.saturating_add(by.as_secs()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;
    use crate::link::LinkId;

    fn link() -> LinkView {
        LinkView {
            state: LinkState::Connected,
            last_inbound_age_ms: Some(500),
            waiting: 2,
            ..LinkView::not_reported(LinkId::process())
        }
    }

    #[test]
    fn the_state_in_a_view_counts_only_while_its_actor_answers() {
        let age = Duration::from_secs(3);
        let shown = |actor, answered| to_value(Shown::new(link(), actor, answered, age)).unwrap();
        let live = shown(ChildState::Running, true);
        assert_eq!(
            (&live["state"], &live["stale_ms"], &live["waiting"]),
            (&json!("connected"), &json!(null), &json!(2))
        );
        for (actor, answered, state) in [
            (ChildState::Failed, true, "failed"),
            (ChildState::Failed, false, "failed"),
            (ChildState::Backoff, true, "backoff"),
            (ChildState::Starting, true, "starting"),
            (ChildState::Running, false, "unresponsive"),
        ] {
            let stale = shown(actor, answered);
            assert_eq!((&stale["state"], &stale["stale_ms"]), (&json!(state), &json!(3_000)), "{stale}");
            assert_eq!((&stale["last_inbound_age_ms"], &stale["waiting"]), (&json!(3_500), &json!(0)), "{stale}");
        }
    }
}
