//! What the status has of the profiles: their last views, their nodes in the tree, and their parts of the status.
//!
//! A snapshot costs what has changed: only profiles that reported a change, whose node changed, or whose view may not be current are
//! queried and shown anew. All others keep their part, and their views count as reported now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::answer::{LastAnswer, is_down, is_late};
use caduceus_contract::messages::profile::{GetProfile, ProfileView};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::status::profiles::{ProfilePart, ShownProfiles};
use caduceus_supervision::{AskError, Port, Tree, TreeNode};

/// The id of the supervisor of the profiles.
const SUPERVISOR: &str = "profiles";

/// The profiles, as far as the status has them.
#[derive(Debug, Default)]
pub(super) struct ProfileViews {
    entries: BTreeMap<ProfileName, ProfileEntry>,
    /// The names in the order in which the profiles are served.
    names: Arc<[ProfileName]>,
    shown: Arc<ShownProfiles>,
    /// The profiles or their order changed, and `shown` has the previous ones.
    is_reordered: bool,
    /// The node of their supervisor as last read.
    supervisor: Option<Arc<TreeNode>>,
    /// Those whose view or node changed since they were shown.
    changed: BTreeSet<ProfileName>,
    /// Those whose view may not be current. Each snapshot queries them.
    unsettled: BTreeSet<ProfileName>,
    /// The views of all others count as reported at this time.
    confirmed: Option<Instant>,
}

#[derive(Debug, Default)]
struct ProfileEntry {
    place: usize,
    last: LastAnswer<Option<ProfileView>>,
    /// The answer to a query is missing that was not made yet, or was lost.
    is_unanswered: bool,
    node: Option<Arc<TreeNode>>,
    part: Option<Arc<ProfilePart>>,
}

/// The question to one profile.
pub(super) struct ProfileQuery {
    pub(super) profile: ProfileName,
    pub(super) generation: u64,
    /// `None` if its actor is down.
    pub(super) port: Option<Port<GetProfile>>,
}

impl ProfileViews {
    /// These profiles are served from now on, in this order.
    pub(super) fn serve<'a>(&mut self, served: impl IntoIterator<Item = &'a ProfileName>) {
        let mut before = std::mem::take(&mut self.entries);
        self.names = served.into_iter().cloned().collect();
        for (place, name) in self.names.iter().enumerate() {
            let known = before.remove(name);
            if known.is_none() {
                self.unsettled.insert(name.clone());
            }
            let entry = ProfileEntry { place, node: None, ..known.unwrap_or_default() };
            self.entries.insert(name.clone(), entry);
        }
        self.unsettled.retain(|name| self.entries.contains_key(name));
        self.is_reordered = true;
        // The next reading finds the nodes of all.
        self.supervisor = None;
    }

    /// A previous incarnation of the status may have lost the answers to its queries: all profiles are queried.
    pub(super) fn unsettle_all(&mut self) {
        for name in &*Arc::clone(&self.names) {
            self.unsettle(name);
        }
    }

    /// Finds the nodes that have changed since the last reading.
    pub(super) fn read(&mut self, tree: &Tree) {
        let present = tree.child(SUPERVISOR).cloned();
        let before = std::mem::replace(&mut self.supervisor, present.clone());
        let is_same = |before: Option<&Arc<TreeNode>>, present: Option<&Arc<TreeNode>>| match (before, present) {
            (Some(before), Some(present)) => Arc::ptr_eq(before, present),
            (None, None) => true,
            _ => false,
        };
        if is_same(before.as_ref(), present.as_ref()) {
            return;
        }
        let before = before.as_ref().map_or(&[][..], |node| &node.children);
        let present = present.as_ref().map_or(&[][..], |node| &node.children);
        let places = 0..before.len().max(present.len());
        let differing: Vec<_> = places.filter(|place| !is_same(before.get(*place), present.get(*place))).collect();
        let differing = |nodes: &'_ [Arc<TreeNode>]| {
            differing.iter().filter_map(|place| nodes.get(*place)).cloned().collect::<Vec<_>>()
        };
        let (before, present) = (differing(before), differing(present));
        // One that is in another place is in both.
        let mut nodes: BTreeMap<&str, Option<&Arc<TreeNode>>> = before.iter().map(|node| (&*node.id, None)).collect();
        nodes.extend(present.iter().map(|node| (&*node.id, Some(node))));
        for (id, node) in nodes {
            let Some((name, _)) = self.entries.get_key_value(id) else { continue };
            let name = name.clone();
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.node = node.cloned();
                self.changed.insert(name);
            }
        }
    }

    /// The profiles to query: those that were touched, and those whose view may not be current. The views of all others count as
    /// reported at `now`. `port_of`: the port of the profile in a place.
    pub(super) fn queries(
        &mut self,
        touched: BTreeSet<ProfileName>,
        port_of: impl Fn(usize) -> Option<Port<GetProfile>>,
        tree: &Tree,
        now: Instant,
    ) -> Vec<ProfileQuery> {
        let mut due = touched;
        due.extend(self.changed.iter().filter(|name| !self.is_settled(name, tree)).cloned());
        // All profiles on a thread that may hang.
        if tree.threads.iter().any(|(_, age)| is_late(*age)) {
            due.extend(self.names.iter().filter(|name| !self.is_settled(name, tree)).cloned());
        }
        for name in due {
            self.unsettle(&name);
        }
        for name in &self.unsettled {
            if let Some(entry) = self.entries.get_mut(name) {
                entry.is_unanswered = true;
            }
        }
        self.confirmed = Some(now);
        let query = |name: &ProfileName| {
            let ProfileEntry { place, node, .. } = self.entries.get(name)?;
            let is_up = node.as_ref().is_none_or(|node| !is_down(node));
            let port = port_of(*place).filter(|_| is_up);
            let generation = node.as_ref().map_or(0, |node| node.generation);
            Some(ProfileQuery { profile: name.clone(), generation, port })
        };
        self.unsettled.iter().filter_map(query).collect()
    }

    /// Stores the answer of the incarnation `generation`.
    pub(super) fn store(&mut self, name: &ProfileName, answer: Result<ProfileView, AskError>, generation: u64) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.last.store(answer.map(Some), generation);
            entry.is_unanswered = false;
            self.changed.insert(name.clone());
        }
    }

    /// The names in the order in which the profiles are served.
    pub(super) fn names(&self) -> &Arc<[ProfileName]> {
        &self.names
    }

    /// The profiles at `now`, beside the nodes of the last reading, which was that of `tree`. A profile that is shown as before keeps
    /// its part.
    pub(super) fn show(&mut self, tree: &Tree, now: Instant, started: Instant) -> Arc<ShownProfiles> {
        let mut due = std::mem::take(&mut self.changed);
        // Their ages grow.
        due.extend(self.unsettled.iter().cloned());
        if self.is_reordered {
            due.extend(self.names.iter().cloned());
        }
        for name in &due {
            if self.is_settled(name, tree) {
                self.unsettled.remove(name);
            } else {
                self.unsettle(name);
            }
            let Some(entry) = self.entries.get_mut(name) else { continue };
            let part = entry.part(name, now, started);
            if entry.part.as_deref() != Some(&part) {
                let part = Arc::new(part);
                entry.part = Some(Arc::clone(&part));
                if !self.is_reordered {
                    Arc::make_mut(&mut self.shown).replace(entry.place, part);
                }
            }
        }
        if std::mem::take(&mut self.is_reordered) {
            let parts = self.names.iter().filter_map(|name| self.entries.get(name)?.part.clone());
            self.shown = Arc::new(ShownProfiles::new(parts.collect()));
        }
        Arc::clone(&self.shown)
    }

    /// Whether the running incarnation reported the view and has run since.
    fn is_settled(&self, name: &ProfileName, tree: &Tree) -> bool {
        let Some(ProfileEntry { last, is_unanswered, node: Some(node), .. }) = self.entries.get(name) else {
            return false;
        };
        !is_unanswered && last.needs_no_query(node, tree.heartbeat_age_ms(node))
    }

    /// The view may not be current from now on. Until now it was, and it counts as reported when that was last found.
    fn unsettle(&mut self, name: &ProfileName) {
        if let Some(entry) = self.entries.get_mut(name)
            && self.unsettled.insert(name.clone())
        {
            entry.last.confirm(self.confirmed);
            entry.is_unanswered = true;
        }
    }
}

impl ProfileEntry {
    fn part(&self, name: &ProfileName, now: Instant, started: Instant) -> ProfilePart {
        let view = self.last.value().clone().unwrap_or_else(|| ProfileView::not_reported(name.clone()));
        let last_exit = self.node.as_ref().and_then(|node| node.last_exit.as_ref());
        let shown = self.last.shown(view, self.node.as_deref(), now, started);
        ProfilePart::new(shown, last_exit.map(|exit| exit.text.clone()))
    }
}

#[cfg(test)]
#[path = "profiles_tests.rs"]
mod tests;
