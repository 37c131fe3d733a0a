//! The profiles of a status. A profile that has not changed is the same allocation in the next status, with its JSON, and what is
//! counted over all profiles is changed with each of them: a change of one copies the list of pointers and looks at no other profile.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::readiness::{Issue, ReadinessLevel};
use super::shown::{ShownProfile, ShownState};
use crate::messages::profile::{ProfileState, ProfileView};
use caduceus_supervision::{ChildState, RenderedJson};

/// One profile of a status.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfilePart {
    shown: ShownProfile,
    /// Its issue while the process runs.
    issue: Option<Arc<Issue>>,
    json: RenderedJson,
}

/// The profiles in the order in which they are served.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShownProfiles {
    parts: Vec<Arc<ProfilePart>>,
    /// Profiles by state; no count is 0.
    states: Vec<(ShownState<ProfileState>, usize)>,
    /// Profiles whose actor runs.
    running: usize,
    /// Secrets that profiles lack.
    missing: usize,
    /// The places of those with an issue.
    issues: BTreeSet<usize>,
}

impl ProfilePart {
    /// `last_exit`: why the last incarnation of its actor ended.
    #[must_use]
    pub fn new(shown: ShownProfile, last_exit: Option<String>) -> Self {
        let detail = match shown.state {
            ShownState::Reported(ProfileState::Ready) => None,
            ShownState::Reported(ProfileState::Degraded) => Some(degraded_detail(&shown.view)),
            ShownState::Actor(_) | ShownState::Unresponsive => Some(last_exit),
        };
        let issue = detail.map(|detail| {
            Arc::new(Issue::new(ReadinessLevel::Degraded, "profile", shown.view.name.as_str(), &shown.state, detail))
        });
        Self { shown, issue, json: RenderedJson::default() }
    }

    /// The profile.
    #[must_use]
    pub fn shown(&self) -> &ShownProfile {
        &self.shown
    }

    /// Whether the JSON of the profile was rendered.
    #[must_use]
    pub fn is_rendered(&self) -> bool {
        self.json.is_rendered()
    }
}

impl ShownProfiles {
    /// These profiles, in this order.
    #[must_use]
    pub fn new(parts: Vec<Arc<ProfilePart>>) -> Self {
        let mut all = Self { parts, ..Self::default() };
        for place in 0..all.parts.len() {
            all.count(place);
        }
        all
    }

    /// The profiles.
    #[must_use]
    pub fn parts(&self) -> &[Arc<ProfilePart>] {
        &self.parts
    }

    /// Replaces the profile at `place`, which has to exist.
    pub fn replace(&mut self, place: usize, part: Arc<ProfilePart>) {
        let before = &self.parts[place].shown;
        self.running -= usize::from(before.actor == ChildState::Running);
        self.missing -= before.view.missing.len();
        if let Some(at) = self.states.iter().position(|(state, _)| *state == before.state) {
            self.states[at].1 -= 1;
            if self.states[at].1 == 0 {
                self.states.swap_remove(at);
            }
        }
        self.issues.remove(&place);
        self.parts[place] = part;
        self.count(place);
    }

    /// Profiles by state.
    #[must_use]
    pub fn states(&self) -> &[(ShownState<ProfileState>, usize)] {
        &self.states
    }

    /// Whether the actor of any profile runs.
    #[must_use]
    pub fn is_any_running(&self) -> bool {
        self.running > 0
    }

    /// Number of secrets that profiles lack.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// The issues of the profiles. While the process starts, only a failed actor is one.
    pub(super) fn issues(&self, starting: bool) -> impl Iterator<Item = Arc<Issue>> {
        let counts = move |part: &&Arc<ProfilePart>| !starting || part.shown.actor == ChildState::Failed;
        let parts = self.issues.iter().map(|place| &self.parts[*place]);
        parts.filter(counts).filter_map(|part| part.issue.clone())
    }

    /// Appends the list as JSON. Renders the profiles that were not rendered before, and copies the text of the others.
    ///
    /// # Errors
    /// If a profile has no JSON form, a bug.
    pub fn write_json(&self, to: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        to.push(b'[');
        for (place, part) in self.parts.iter().enumerate() {
            if place > 0 {
                to.push(b',');
            }
            to.extend_from_slice(part.json.of(&part.shown)?.as_bytes());
        }
        to.push(b']');
        Ok(())
    }

    /// Counts the profile at `place`.
    fn count(&mut self, place: usize) {
        let part = &self.parts[place];
        self.running += usize::from(part.shown.actor == ChildState::Running);
        self.missing += part.shown.view.missing.len();
        if part.issue.is_some() {
            self.issues.insert(place);
        }
        match self.states.iter_mut().find(|(state, _)| *state == part.shown.state) {
            Some((_, profiles)) => *profiles += 1,
            None => self.states.push((part.shown.state, 1)),
        }
    }
}

fn degraded_detail(view: &ProfileView) -> Option<String> {
    let missing = (!view.missing.is_empty()).then(|| format!("missing {}", view.missing.join(", ")));
    let parts: Vec<_> = missing.into_iter().chain(view.troubles.iter().cloned()).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::profile_name::ProfileName;

    fn part(name: &str, actor: ChildState, missing: &[&str]) -> Arc<ProfilePart> {
        let state = if missing.is_empty() { ProfileState::Ready } else { ProfileState::Degraded };
        let missing = missing.iter().map(ToString::to_string).collect();
        let name = ProfileName::parse(name).unwrap();
        let view = ProfileView { state, missing, ..ProfileView::not_reported(name) };
        Arc::new(ProfilePart::new(ShownProfile::new(view, actor, true, Duration::ZERO), Some("panic: boom".into())))
    }

    /// The states sorted: their order is that in which they were counted.
    fn counted(profiles: &ShownProfiles) -> (Vec<String>, bool, usize, Vec<String>) {
        let mut states: Vec<_> = profiles.states().iter().map(|state| format!("{state:?}")).collect();
        states.sort();
        let issues = profiles.issues(false).map(|issue| issue.to_string()).collect();
        (states, profiles.is_any_running(), profiles.missing(), issues)
    }

    #[test]
    fn replaced_profiles_are_counted_as_if_all_were_counted_anew() {
        let next = [
            (0, part("a", ChildState::Running, &["KEY"])),
            (2, part("c", ChildState::Failed, &["KEY", "OTHER"])),
            (0, part("a", ChildState::Backoff, &[])),
            (1, part("b", ChildState::Stopped, &[])),
            (0, part("a", ChildState::Running, &[])),
            (2, part("c", ChildState::Running, &[])),
        ];
        let mut profiles = ShownProfiles::new(["a", "b", "c"].map(|name| part(name, ChildState::Running, &[])).into());
        assert_eq!(counted(&profiles).3, [""; 0]);
        for (place, part) in next {
            profiles.replace(place, part);
            assert_eq!(counted(&profiles), counted(&ShownProfiles::new(profiles.parts().to_vec())));
        }
        assert_eq!(counted(&profiles).3, ["profile b: stopped (panic: boom)"]);
    }

    #[test]
    fn only_a_failed_profile_is_an_issue_while_the_process_starts() {
        let parts = [part("a", ChildState::Starting, &[]), part("b", ChildState::Failed, &[])];
        let profiles = ShownProfiles::new(parts.into());
        assert_eq!((profiles.issues(true).count(), profiles.issues(false).count()), (1, 2));
    }

    #[test]
    fn the_list_is_rendered_once_for_each_profile_that_changed() {
        let mut profiles = ShownProfiles::new(["a", "b"].map(|name| part(name, ChildState::Running, &[])).into());
        let render = |profiles: &ShownProfiles| {
            let mut json = Vec::new();
            profiles.write_json(&mut json).unwrap();
            serde_json::from_slice::<serde_json::Value>(&json).unwrap()
        };
        assert_eq!(render(&profiles)[1]["name"], "b");
        profiles.replace(0, part("a", ChildState::Failed, &[]));
        let rendered =
            |profiles: &ShownProfiles| profiles.parts().iter().map(|part| part.is_rendered()).collect::<Vec<_>>();
        assert_eq!(rendered(&profiles), [false, true]);
        assert_eq!(render(&profiles)[0]["state"], "failed");
        assert_eq!(rendered(&profiles), [true, true]);
    }
}
