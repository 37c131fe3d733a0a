//! The grants by the place of each, and the place of each profile's grant. Without actix; a restart of the actor reads the files again.

use std::collections::{BTreeMap, HashSet};

use secrecy::SecretString;
use tokio::sync::oneshot;
use tracing::warn;

use super::held::Now;
use super::plan::{FileReading, GrantPlan, RefreshOrder, Waits};
use super::profile_check::GrantLocation;
use super::wiring::RefreshId;
use caduceus_contract::messages::honcho::{GrantState, GrantView};
use caduceus_contract::profile_name::ProfileName;

/// All grants. Profiles may share one.
#[derive(Default)]
pub(super) struct GrantEntries {
    /// The place of each profile's grant, once checked.
    places: BTreeMap<ProfileName, GrantLocation>,
    grants: BTreeMap<GrantLocation, GrantEntry>,
}

/// One grant: its plan, and the callers of the current refresh.
pub(super) struct GrantEntry {
    pub(super) plan: GrantPlan,
    /// The refresh in flight.
    pub(super) job: Option<RefreshId>,
    /// Callers that wait for the current refresh; answered when this is dropped.
    pub(super) waiting: Vec<oneshot::Sender<()>>,
}

impl GrantEntries {
    /// The place of the profile's grant; `None` before its first check.
    pub(super) fn place(&self, profile: &ProfileName) -> Option<&GrantLocation> {
        self.places.get(profile)
    }

    /// The grant at `place`.
    pub(super) fn at(&mut self, place: &GrantLocation) -> Option<&mut GrantEntry> {
        self.grants.get_mut(place)
    }

    /// The profile's grant, and its place.
    pub(super) fn of(&mut self, profile: &ProfileName) -> Option<(&GrantLocation, &mut GrantEntry)> {
        let place = self.places.get(profile)?;
        let entry = self.grants.get_mut(place)?;
        Some((place, entry))
    }

    /// The profile's token, if it has one.
    pub(super) fn token(&self, profile: &ProfileName) -> Option<&SecretString> {
        self.grants.get(self.places.get(profile)?)?.plan.token()
    }

    /// Whether a refresh of any grant is in flight.
    pub(super) fn any_in_flight(&self) -> bool {
        self.grants.values().any(|entry| entry.job.is_some())
    }

    /// The refreshes that are due now.
    pub(super) fn due(&mut self, now: Now) -> Vec<(GrantLocation, RefreshOrder)> {
        self.grants.iter_mut().filter_map(|(place, entry)| Some((place.clone(), entry.plan.tick(now)?))).collect()
    }

    /// The file was read; `overlapped`: a refresh began or ended meanwhile.
    pub(super) fn seen(&mut self, place: &GrantLocation, seen: FileReading, overlapped: bool, waits: Waits, now: Now) {
        let new = || GrantEntry { plan: GrantPlan::new(waits), job: None, waiting: Vec::new() };
        let entry = self.grants.entry(place.clone()).or_insert_with(new);
        // A refresh reads the file under the lock, which takes precedence; a check that overlapped with one is repeated.
        let overlaps = overlapped && entry.plan.token().is_some();
        if !entry.plan.is_refreshing() && !overlaps {
            if let (FileReading::Unreadable(why), true) = (&seen, entry.plan.state() != GrantState::Unreadable) {
                warn!(host = place.host, why, "grant file cannot be used; the current token stays in use");
            }
            entry.plan.seen(seen, now);
        }
    }

    /// Records the place of the profile's grant.
    pub(super) fn locate(&mut self, profile: ProfileName, place: GrantLocation) {
        self.places.insert(profile, place);
    }

    /// Removes the places of the profiles that are no longer `served`. Their grants stay until [`Self::remove_unused`].
    pub(super) fn retain_places(&mut self, served: impl Fn(&ProfileName) -> bool) {
        self.places.retain(|profile, _| served(profile));
    }

    /// Removes every grant that no profile uses, unless a refresh of it is in flight.
    pub(super) fn remove_unused(&mut self) {
        let used: HashSet<_> = self.places.values().collect();
        self.grants.retain(|place, entry| entry.plan.is_refreshing() || used.contains(place));
    }

    /// Whether there is a grant. Most homes have none; then no profile has to be looked up.
    pub(super) fn any(&self) -> bool {
        self.grants.values().any(|entry| entry.plan.state() != GrantState::None)
    }

    /// The view of the profile's grant; `None` if it has none. `exchanges` counts those of a place.
    pub(super) fn view(
        &self,
        profile: &ProfileName,
        exchanges: impl FnOnce(&GrantLocation) -> u64,
        now: Now,
    ) -> Option<GrantView> {
        let place = self.places.get(profile)?;
        let plan = &self.grants.get(place)?.plan;
        (plan.state() != GrantState::None).then(|| GrantView {
            profile: profile.clone(),
            host: place.host.clone(),
            state: plan.state(),
            expires_in_s: plan.expires_in_s(now),
            last_refresh_age_s: plan.last_refresh_age(now).map(|age| age.as_secs()),
            last_error: plan.last_error().map(str::to_owned),
            remedy: plan.state().remedy(),
            exchanges: exchanges(place),
        })
    }
}
