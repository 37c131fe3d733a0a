//! `supervision.policies`: the restart policy of each kind of actor.

use std::collections::BTreeMap;
use std::time::Duration;

use super::form::{AtLeast, FloorAndCeiling, Seconds};
use super::key_table::{Form, KeyEntry, KeyRow, KeyTable, local};
use super::yaml::Section;
use caduceus_supervision::{Backoff, RestartPolicy};

/// The kind whose policy applies to every kind that is not named.
const DEFAULT: &str = "default";
/// The kinds of actor whose policy can be set; the first applies to those that are not named.
const KINDS: [&str; 10] =
    [DEFAULT, "ledger", "status", "profile", "drain", "honcho", "dispatch", "relay", "config", "http"];

/// A mapping of kinds to policies.
pub(super) struct PolicyPerKind;

key_table! {
    /// The keys of one kind.
    pub(super) struct PolicyValues {
        /// restarts within the window; one more exceeds the restart intensity
        max_restarts: u32 = "supervision.policies.KIND.max_restarts", AtLeast(0), RestartPolicy::default().max_restarts, AtStart;
        /// the window
        window: Duration = "supervision.policies.KIND.window_s", Seconds::FromZero, RestartPolicy::default().window, AtStart;
        /// upper bounds of the first backoff and of later ones, which double; the first restart is immediate
        backoff: Backoff = "supervision.policies.KIND.backoff_floor_ms",
            FloorAndCeiling("supervision.policies.KIND.backoff_ceiling_ms"), RestartPolicy::default().backoff, AtStart;
        /// an incarnation that ran this long resets the count
        healthy_after: Duration = "supervision.policies.KIND.healthy_after_s",
            Seconds::FromZero, RestartPolicy::default().healthy_after, AtStart;
    }
}

impl PolicyValues {
    fn policy(&self) -> RestartPolicy {
        let Self { max_restarts, window, backoff, healthy_after } = *self;
        RestartPolicy { max_restarts, window, backoff, healthy_after, ..RestartPolicy::default() }
    }
}

/// The default policies.
pub(super) fn default() -> BTreeMap<String, RestartPolicy> {
    KINDS.map(|kind| (kind.to_owned(), RestartPolicy::default())).into()
}

impl Form<BTreeMap<String, RestartPolicy>> for PolicyPerKind {
    fn read(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
        _: &BTreeMap<String, RestartPolicy>,
    ) -> Option<BTreeMap<String, RestartPolicy>> {
        let mut kinds = section.section(local(key));
        let mut read = |kind: &'static str, otherwise: &PolicyValues| {
            let mut section = kinds.section(kind);
            let values = PolicyValues::read(&mut section, otherwise);
            section.finish();
            values
        };
        let default = read(DEFAULT, &PolicyValues::default());
        let others = KINDS.into_iter().filter(|kind| *kind != DEFAULT);
        let mut policies: BTreeMap<_, _> =
            others.map(|kind| (kind.to_owned(), read(kind, &default).policy())).collect();
        policies.insert(DEFAULT.to_owned(), default.policy());
        kinds.finish();
        Some(policies)
    }

    fn rows(&self, _: &KeyEntry, _: &BTreeMap<String, RestartPolicy>) -> Vec<KeyRow> {
        PolicyValues::default().rows()
    }
}
