//! Which link serves which gateway: one gateway id at one connector has one link, because two would supersede each other and
//! receive each other's messages.
//!
//! The table outlives its actors, as the gate's permits do. Profiles declare the gateway in their settings; links take a claim
//! before they dial and release it afterwards. The process's own link takes precedence over those of profiles, and these are ordered by
//! name, so that the outcome of a start does not depend on timing. A restart of an actor loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};

use super::gateway_key::GatewayKey;
use crate::locked::locked;
use caduceus_contract::profile_name::ProfileName;

/// Most links of a process, including its own. Each takes a socket, an actor and its buffers.
pub const MAX_LINKS: usize = 256;

/// The owner of a link: `None` for the process itself. Smaller values take precedence.
pub type LinkOwner = Option<ProfileName>;

/// Why a link may not dial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRefused {
    /// Another link serves this gateway.
    #[error(
        "GATEWAY_RELAY_ID names the gateway that {} already serves at this connector; no second link is dialled",
        shown(.0)
    )]
    Taken(LinkOwner),
    /// Another link is releasing it; try again in a moment.
    #[error("{} is closing its link of this gateway", shown(.0))]
    BeingReleased(LinkOwner),
    /// The process has reached the limit of links.
    #[error("the limit of {MAX_LINKS} links is reached; this profile has no link of its own")]
    TooMany,
}

/// The owner as text for people.
fn shown(owner: &LinkOwner) -> String {
    owner.as_ref().map_or_else(|| "the link of the gateway itself".to_owned(), |name| format!("profile {name}"))
}

/// The table. Clones share it.
#[derive(Clone)]
pub struct Claims(Arc<SharedClaims>);

struct SharedClaims {
    table: Mutex<ClaimTable>,
    /// Changes whenever a link may have to react.
    changed: watch::Sender<u64>,
}

/// Which gateways are wanted, and which are held. Without locks or I/O.
#[derive(Debug, Default)]
struct ClaimTable {
    /// The owners that have a link in this process.
    links: BTreeSet<LinkOwner>,
    /// The owners that have no link because the limit is reached.
    over_limit: BTreeSet<LinkOwner>,
    /// The gateways in the settings.
    wanted: BTreeMap<LinkOwner, GatewayKey>,
    /// The gateway that a link dials or has open, and the number of its claim.
    held: BTreeMap<LinkOwner, (GatewayKey, u64)>,
    /// The last number of a claim.
    last: u64,
    /// The owners that must release their claim.
    evicted: BTreeSet<LinkOwner>,
    /// Notified when the settings of another owner may have changed the refusal of this one.
    notified: BTreeMap<LinkOwner, Arc<Notify>>,
}

impl Claims {
    /// A table for the links of these profiles and of the process, up to the limit.
    #[must_use]
    pub fn new(profiles: impl IntoIterator<Item = ProfileName>) -> Self {
        let mut table = ClaimTable { links: BTreeSet::from([None]), ..ClaimTable::default() };
        for profile in profiles.into_iter().collect::<BTreeSet<_>>() {
            let room = table.links.len() < MAX_LINKS;
            let place = if room { &mut table.links } else { &mut table.over_limit };
            place.insert(Some(profile));
        }
        Self(Arc::new(SharedClaims { table: Mutex::new(table), changed: watch::Sender::new(0) }))
    }

    /// Whether this profile has a link of its own in this process.
    #[must_use]
    pub fn has_link(&self, profile: &ProfileName) -> bool {
        self.table().links.contains(&Some(profile.clone()))
    }

    /// The settings of `owner` name this gateway; `None` if they make no link.
    pub fn declare(&self, owner: &LinkOwner, wanted: Option<GatewayKey>) {
        let mut table = self.table();
        let before = table.wanted.remove(owner);
        let changed = before != wanted;
        if let Some(key) = wanted {
            table.wanted.insert(owner.clone(), key);
        }
        if changed {
            let now = table.wanted.get(owner);
            let same = |key: &GatewayKey| before.as_ref() == Some(key) || now == Some(key);
            let others = table.wanted.iter().filter(|(other, key)| *other != owner && same(key));
            others.filter_map(|(other, _)| table.notified.get(other)).for_each(|notify| notify.notify_one());
        }
    }

    /// Notifies `changed` when the settings of another owner may have changed the refusal of `owner`.
    pub fn notify(&self, owner: &LinkOwner, changed: Arc<Notify>) {
        self.table().notified.insert(owner.clone(), changed);
    }

    /// Why the settings of `owner` currently make no link, if there is a reason.
    #[must_use]
    pub fn refusal(&self, owner: &LinkOwner) -> Option<ClaimRefused> {
        self.table().refusal(owner)
    }

    /// The link of `owner` is about to dial as `key`. The claim holds until it is dropped or the link takes another.
    ///
    /// # Errors
    /// [`ClaimRefused`]: it must not dial.
    pub fn take(&self, owner: &LinkOwner, key: GatewayKey) -> Result<GatewayClaim, ClaimRefused> {
        let taken = self.table().take(owner, key);
        if matches!(taken, Err(ClaimRefused::BeingReleased(_))) {
            self.0.changed.send_modify(|count| *count += 1);
        }
        taken.map(|number| GatewayClaim { claims: self.clone(), owner: owner.clone(), number })
    }

    /// Whether the link of `owner` has to close because another takes precedence.
    #[must_use]
    pub fn is_evicted(&self, owner: &LinkOwner) -> bool {
        self.table().evicted.contains(owner)
    }

    /// Changes when a link may have been evicted.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    // Every critical section leaves the table consistent, so a poisoned lock can be used.
    fn table(&self) -> MutexGuard<'_, ClaimTable> {
        locked(&self.0.table)
    }
}

/// The right of one link to dial as one gateway. Dropping it releases the gateway.
#[derive(Debug)]
pub struct GatewayClaim {
    claims: Claims,
    owner: LinkOwner,
    number: u64,
}

impl Drop for GatewayClaim {
    fn drop(&mut self) {
        self.claims.table().release(&self.owner, self.number);
    }
}

impl ClaimTable {
    fn refusal(&self, owner: &LinkOwner) -> Option<ClaimRefused> {
        let wanted = self.wanted.get(owner)?;
        if self.over_limit.contains(owner) {
            return Some(ClaimRefused::TooMany);
        }
        self.preceding(owner, wanted).map(ClaimRefused::Taken)
    }

    /// The link that takes precedence over `owner` for this gateway. An owner without a link of its own has the lowest precedence.
    fn preceding(&self, owner: &LinkOwner, key: &GatewayKey) -> Option<LinkOwner> {
        let has_link = self.links.contains(owner);
        let competitors = self.wanted.iter().filter(|(competitor, wanted)| *competitor != owner && *wanted == key);
        let mut competitors =
            competitors.map(|(competitor, _)| competitor).filter(|competitor| self.links.contains(*competitor));
        competitors.find(|competitor| !has_link || *competitor < owner).cloned()
    }

    fn take(&mut self, owner: &LinkOwner, key: GatewayKey) -> Result<u64, ClaimRefused> {
        if let Some(preceding) = self.preceding(owner, &key) {
            return Err(ClaimRefused::Taken(preceding));
        }
        let other = self.held.iter().find(|(other, (held, _))| *other != owner && *held == key);
        if let Some(other) = other.map(|(other, _)| other.clone()) {
            self.evicted.insert(other.clone());
            return Err(ClaimRefused::BeingReleased(other));
        }
        self.last += 1;
        self.held.insert(owner.clone(), (key, self.last));
        self.evicted.remove(owner);
        Ok(self.last)
    }

    /// A claim that a later one has replaced releases nothing.
    fn release(&mut self, owner: &LinkOwner, number: u64) {
        if self.held.get(owner).is_some_and(|(_, held)| *held == number) {
            self.held.remove(owner);
            self.evicted.remove(owner);
        }
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claims").field(&*self.table()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "it is the owner of a link")]
    fn profile(name: &str) -> LinkOwner {
        Some(ProfileName::parse(name).unwrap())
    }

    fn claims(profiles: &[&str]) -> Claims {
        Claims::new(profiles.iter().map(|name| ProfileName::parse(name).unwrap()))
    }

    fn key(id: &str) -> GatewayKey {
        GatewayKey::new("wss://c.example", id)
    }

    #[test]
    fn an_owner_is_notified_when_another_names_its_gateway_or_no_longer_does() {
        use futures_util::FutureExt as _;

        let (claims, work, changed) = (claims(&["work"]), profile("work"), Arc::new(Notify::new()));
        claims.notify(&work, Arc::clone(&changed));
        let notified = || changed.notified().now_or_never().is_some();
        claims.declare(&work, Some(key("gw")));
        claims.declare(&None, Some(key("other")));
        assert!(!notified());
        claims.declare(&None, Some(key("gw")));
        assert!(notified());
        claims.declare(&None, Some(key("gw")));
        assert!(!notified(), "nothing changed");
        claims.declare(&None, None);
        assert!(notified());
    }

    fn refused(claims: &Claims, owner: &LinkOwner, id: &str) -> Option<ClaimRefused> {
        claims.take(owner, key(id)).err()
    }

    #[test]
    fn a_clone_is_refused_for_as_long_as_its_settings_name_the_same_gateway() {
        let (claims, work) = (claims(&["work"]), profile("work"));
        claims.declare(&None, Some(key("gw")));
        claims.declare(&work, Some(key("gw")));
        // Also if it dials first.
        assert_eq!(refused(&claims, &work, "gw"), Some(ClaimRefused::Taken(None)));
        assert_eq!(refused(&claims, &None, "gw"), None);
        assert_eq!((claims.refusal(&work), claims.refusal(&None)), (Some(ClaimRefused::Taken(None)), None));
        claims.declare(&work, Some(key("own")));
        assert_eq!((claims.refusal(&work), refused(&claims, &work, "own")), (None, None));
    }

    #[test]
    fn of_two_profiles_with_one_gateway_the_first_by_name_has_the_link() {
        let claims = claims(&["b", "a"]);
        for name in ["b", "a"] {
            claims.declare(&profile(name), Some(key("gw")));
        }
        assert_eq!(refused(&claims, &profile("b"), "gw"), Some(ClaimRefused::Taken(profile("a"))));
        assert_eq!(refused(&claims, &profile("a"), "gw"), None);
    }

    #[test]
    fn a_link_with_precedence_waits_until_the_former_holder_has_released_the_gateway() {
        let (claims, work) = (claims(&["work"]), profile("work"));
        claims.declare(&work, Some(key("given")));
        let held = claims.take(&work, key("given")).unwrap();
        let changes = claims.changes();
        // A connector provisioned this id for the process.
        claims.declare(&None, Some(key("given")));
        assert!(!claims.is_evicted(&work), "until it is dialled the link stays");
        assert_eq!(refused(&claims, &None, "given"), Some(ClaimRefused::BeingReleased(work.clone())));
        assert!(claims.is_evicted(&work) && changes.has_changed().unwrap());
        drop(held);
        assert!(!claims.is_evicted(&work));
        let _held = claims.take(&None, key("given")).unwrap();
        assert_eq!(refused(&claims, &work, "given"), Some(ClaimRefused::Taken(None)));
    }

    #[test]
    fn the_claim_of_a_replaced_incarnation_releases_nothing() {
        let (claims, work) = (claims(&["work"]), profile("work"));
        let former = claims.take(&work, key("gw")).unwrap();
        let _held = claims.take(&work, key("gw")).unwrap();
        drop(former);
        assert_eq!(refused(&claims, &None, "gw"), Some(ClaimRefused::BeingReleased(work)));
    }

    #[test]
    fn a_later_profile_without_a_link_takes_nothing_from_one_with_a_link() {
        let (claims, work, clone) = (claims(&["work"]), profile("work"), profile("a-clone"));
        claims.declare(&work, Some(key("gw")));
        claims.declare(&clone, Some(key("gw")));
        assert_eq!(refused(&claims, &work, "gw"), None);
        assert_eq!(claims.refusal(&clone), Some(ClaimRefused::Taken(work)));
        claims.declare(&clone, None);
        assert_eq!(claims.refusal(&clone), None);
    }

    #[test]
    fn a_removed_profile_releases_its_gateway() {
        let (claims, a, b) = (claims(&["a", "b"]), profile("a"), profile("b"));
        for owner in [&a, &b] {
            claims.declare(owner, Some(key("gw")));
        }
        let held = claims.take(&a, key("gw")).unwrap();
        claims.declare(&a, None);
        assert_eq!(refused(&claims, &b, "gw"), Some(ClaimRefused::BeingReleased(a)));
        drop(held);
        assert_eq!(refused(&claims, &b, "gw"), None);
    }

    #[test]
    fn links_above_the_limit_are_refused_with_the_reason() {
        let names: Vec<String> = (0..MAX_LINKS + 2).map(|n| format!("p{n:04}")).collect();
        let claims = Claims::new(names.iter().map(|name| ProfileName::parse(name).unwrap()));
        let refusal = |n: usize| {
            let owner = profile(&names[n]);
            claims.declare(&owner, Some(key(&names[n])));
            claims.refusal(&owner)
        };
        assert_eq!((refusal(MAX_LINKS - 2), refusal(MAX_LINKS - 1)), (None, Some(ClaimRefused::TooMany)));
        assert!(claims.has_link(&profile(&names[0]).unwrap()));
        assert!(!claims.has_link(&profile(&names[MAX_LINKS]).unwrap()));
    }
}
