//! Which link fronts which gateway: one gateway id at one connector has one link, or each would supersede the other and take its
//! messages.
//!
//! The table outlives its actors, as the gate's permits do. Profiles declare what their settings name, links ask before they dial
//! and let go after. The process's own link comes before those of profiles, and these by name, so that a start has one outcome. A
//! restart of an actor loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::url::RelayUrl;

/// Most links of a process, that of the process among them. Each takes a socket, an actor and its buffers.
pub const MAX_LINKS: usize = 256;

/// Whose link: `None` for the process's own. Earlier ones come first.
pub type Owner = Option<ProfileName>;

/// A gateway as a connector knows it. Two that differ only in spelling are the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayKey {
    connector: String,
    gateway_id: String,
}

impl GatewayKey {
    /// The gateway `gateway_id` at the connector of the configured address `url`.
    #[must_use]
    pub fn new(url: &str, gateway_id: &str) -> Self {
        Self { connector: connector(url), gateway_id: gateway_id.trim().to_lowercase() }
    }
}

/// One spelling of a connector's address: what is dialled, without what does not tell connectors apart.
fn connector(url: &str) -> String {
    let url = RelayUrl::new(url);
    let dial = url.dial();
    let (scheme, rest) = dial.split_once("://").unwrap_or(("", dial));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let default = if scheme == "wss" { "443" } else { "80" };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    let port = if port.is_empty() { default } else { port };
    let port = port.trim_start_matches('0');
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_lowercase();
    let near = host.parse::<IpAddr>().map(|address| address.to_canonical());
    let host = match near {
        Ok(address) if address.is_loopback() || address.is_unspecified() => "localhost".to_owned(),
        Ok(address) => address.to_string(),
        Err(_) => host,
    };
    let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    format!("{host}:{port}/{}", path.join("/"))
}

/// Why a link may not dial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotYours {
    /// Another link is the one of this gateway.
    #[error(
        "GATEWAY_RELAY_ID names the gateway that {} fronts already at this connector; no second link is dialled",
        shown(.0)
    )]
    Taken(Owner),
    /// Another link is giving it up; worth asking again in a moment.
    #[error("{} still holds the link of this gateway and gives it up", shown(.0))]
    GivenUp(Owner),
    /// The process has as many links as it can have.
    #[error("the process has {MAX_LINKS} links already, the most there can be; this profile gets none of its own")]
    TooMany,
}

/// An owner as people read it.
fn shown(owner: &Owner) -> String {
    owner.as_ref().map_or_else(|| "the link of the gateway itself".to_owned(), |name| format!("profile {name}"))
}

/// The table. Clones are the same.
#[derive(Clone)]
pub struct Claims(Arc<Shared>);

struct Shared {
    table: Mutex<Table>,
    /// Rung at every change that a link may have to follow.
    changed: watch::Sender<u64>,
}

/// Who wants what, and who has it. Plain.
#[derive(Debug, Default)]
struct Table {
    /// Those that have a link in this process.
    links: BTreeSet<Owner>,
    /// Those that would have one if there were room.
    surplus: BTreeSet<Owner>,
    /// What the settings name.
    wanted: BTreeMap<Owner, GatewayKey>,
    /// What a link dials or has open, and which of its claims that is.
    held: BTreeMap<Owner, (GatewayKey, u64)>,
    /// Numbers the claims.
    last: u64,
    /// Those that have to let go.
    evicted: BTreeSet<Owner>,
}

impl Claims {
    /// A table for the links of these profiles beside the process's own, as far as there is room for them.
    #[must_use]
    pub fn new(profiles: impl IntoIterator<Item = ProfileName>) -> Self {
        let mut table = Table { links: BTreeSet::from([None]), ..Table::default() };
        for profile in profiles.into_iter().collect::<BTreeSet<_>>() {
            let room = table.links.len() < MAX_LINKS;
            let place = if room { &mut table.links } else { &mut table.surplus };
            place.insert(Some(profile));
        }
        Self(Arc::new(Shared { table: Mutex::new(table), changed: watch::Sender::new(0) }))
    }

    /// Whether this profile has a link of its own in this process.
    #[must_use]
    pub fn has_link(&self, profile: &ProfileName) -> bool {
        self.table().links.contains(&Some(profile.clone()))
    }

    /// The settings of `owner` name this gateway; `None` if they make no link.
    pub fn declare(&self, owner: &Owner, wanted: Option<GatewayKey>) {
        let mut table = self.table();
        match wanted {
            Some(key) => drop(table.wanted.insert(owner.clone(), key)),
            None => drop(table.wanted.remove(owner)),
        }
    }

    /// Why the settings of `owner` make no link at the moment, if something stands against it.
    #[must_use]
    pub fn objection(&self, owner: &Owner) -> Option<NotYours> {
        self.table().objection(owner)
    }

    /// The link of `owner` is about to dial as `key`. The claim stands until it is dropped or the link takes another.
    ///
    /// # Errors
    /// [`NotYours`]: it must not dial.
    pub fn take(&self, owner: &Owner, key: GatewayKey) -> Result<Claim, NotYours> {
        let taken = self.table().take(owner, key);
        if matches!(taken, Err(NotYours::GivenUp(_))) {
            self.0.changed.send_modify(|count| *count += 1);
        }
        taken.map(|number| Claim { claims: self.clone(), owner: owner.clone(), number })
    }

    /// Whether the link of `owner` has to close, for another comes before it.
    #[must_use]
    pub fn is_evicted(&self, owner: &Owner) -> bool {
        self.table().evicted.contains(owner)
    }

    /// Rung when a link may have been evicted.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    // Every critical section leaves the table whole, so a poisoned lock is still a good one.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right of one link to dial as one gateway. Dropping it gives it up.
#[derive(Debug)]
pub struct Claim {
    claims: Claims,
    owner: Owner,
    number: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.table().let_go(&self.owner, self.number);
    }
}

impl Table {
    fn objection(&self, owner: &Owner) -> Option<NotYours> {
        let wanted = self.wanted.get(owner)?;
        if self.surplus.contains(owner) {
            return Some(NotYours::TooMany);
        }
        self.before(owner, wanted).map(NotYours::Taken)
    }

    /// The link that comes before `owner` for this gateway. One without a link of its own comes last.
    fn before(&self, owner: &Owner, key: &GatewayKey) -> Option<Owner> {
        let has_link = self.links.contains(owner);
        let rivals = self.wanted.iter().filter(|(rival, wanted)| *rival != owner && *wanted == key);
        let mut rivals = rivals.map(|(rival, _)| rival).filter(|rival| self.links.contains(*rival));
        rivals.find(|rival| !has_link || *rival < owner).cloned()
    }

    fn take(&mut self, owner: &Owner, key: GatewayKey) -> Result<u64, NotYours> {
        if let Some(before) = self.before(owner, &key) {
            return Err(NotYours::Taken(before));
        }
        let other = self.held.iter().find(|(other, (held, _))| *other != owner && *held == key);
        if let Some(other) = other.map(|(other, _)| other.clone()) {
            self.evicted.insert(other.clone());
            return Err(NotYours::GivenUp(other));
        }
        self.last += 1;
        self.held.insert(owner.clone(), (key, self.last));
        self.evicted.remove(owner);
        Ok(self.last)
    }

    /// A claim that a later one has replaced lets nothing go.
    fn let_go(&mut self, owner: &Owner, number: u64) {
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
    fn profile(name: &str) -> Owner {
        Some(ProfileName::parse(name).unwrap())
    }

    fn claims(profiles: &[&str]) -> Claims {
        Claims::new(profiles.iter().map(|name| ProfileName::parse(name).unwrap()))
    }

    fn key(id: &str) -> GatewayKey {
        GatewayKey::new("wss://c.example", id)
    }

    #[test]
    fn one_gateway_is_one_in_every_spelling_of_it() {
        let same = |a: (&str, &str), b: (&str, &str)| GatewayKey::new(a.0, a.1) == GatewayKey::new(b.0, b.1);
        let plain = ("wss://c.example", "gw-1");
        for other in [
            ("https://c.example/relay", "gw-1"),
            ("wss://C.Example:443/relay/", " GW-1\t"),
            ("wss://c.example.//relay", "gw-1"),
            (" wss://c.example:0443 ", "gw-1"),
        ] {
            assert!(same(plain, other), "{other:?}");
        }
        for other in [
            ("wss://d.example", "gw-1"),
            ("wss://c.example:444", "gw-1"),
            ("ws://c.example", "gw-1"),
            ("wss://c.example/a", "gw-1"),
            ("wss://c.example", "gw-2"),
            ("wss://c.example", "gw 1"),
        ] {
            assert!(!same(plain, other), "{other:?}");
        }
        for near in ["http://localhost:9", "ws://[::1]:9/", "ws://127.0.0.1:9/relay", "ws://0.0.0.0:9"] {
            assert!(same((near, "g"), ("ws://127.0.0.1:9", "g")), "{near}");
        }
        assert!(same(("ws://[2001:DB8::1]:9", "g"), ("ws://[2001:db8:0::1]:9/relay", "g")));
    }

    fn refused(claims: &Claims, owner: &Owner, id: &str) -> Option<NotYours> {
        claims.take(owner, key(id)).err()
    }

    #[test]
    fn a_clone_is_refused_for_as_long_as_its_settings_name_the_same_gateway() {
        let (claims, work) = (claims(&["work"]), profile("work"));
        claims.declare(&None, Some(key("gw")));
        claims.declare(&work, Some(key("gw")));
        // Even where it dials first.
        assert_eq!(refused(&claims, &work, "gw"), Some(NotYours::Taken(None)));
        assert_eq!(refused(&claims, &None, "gw"), None);
        assert_eq!((claims.objection(&work), claims.objection(&None)), (Some(NotYours::Taken(None)), None));
        claims.declare(&work, Some(key("own")));
        assert_eq!((claims.objection(&work), refused(&claims, &work, "own")), (None, None));
    }

    #[test]
    fn two_profiles_with_one_gateway_get_one_link_and_it_is_the_first_by_name() {
        let claims = claims(&["b", "a"]);
        for name in ["b", "a"] {
            claims.declare(&profile(name), Some(key("gw")));
        }
        assert_eq!(refused(&claims, &profile("b"), "gw"), Some(NotYours::Taken(profile("a"))));
        assert_eq!(refused(&claims, &profile("a"), "gw"), None);
    }

    #[test]
    fn a_link_that_comes_first_waits_until_the_one_that_held_its_gateway_has_let_go() {
        let (claims, work) = (claims(&["work"]), profile("work"));
        claims.declare(&work, Some(key("given")));
        let held = claims.take(&work, key("given")).unwrap();
        let changes = claims.changes();
        // A connector gave the process that id.
        claims.declare(&None, Some(key("given")));
        assert!(!claims.is_evicted(&work), "until it is dialled the link stays");
        assert_eq!(refused(&claims, &None, "given"), Some(NotYours::GivenUp(work.clone())));
        assert!(claims.is_evicted(&work) && changes.has_changed().unwrap());
        drop(held);
        assert!(!claims.is_evicted(&work));
        let _held = claims.take(&None, key("given")).unwrap();
        assert_eq!(refused(&claims, &work, "given"), Some(NotYours::Taken(None)));
    }

    #[test]
    fn the_claim_of_an_incarnation_that_was_replaced_lets_nothing_go() {
        let (claims, work) = (claims(&["work"]), profile("work"));
        let former = claims.take(&work, key("gw")).unwrap();
        let _held = claims.take(&work, key("gw")).unwrap();
        drop(former);
        assert_eq!(refused(&claims, &None, "gw"), Some(NotYours::GivenUp(work)));
    }

    #[test]
    fn a_profile_that_came_later_and_has_no_link_takes_nothing_from_one_that_has() {
        let (claims, work, clone) = (claims(&["work"]), profile("work"), profile("a-clone"));
        claims.declare(&work, Some(key("gw")));
        claims.declare(&clone, Some(key("gw")));
        assert_eq!(refused(&claims, &work, "gw"), None);
        assert_eq!(claims.objection(&clone), Some(NotYours::Taken(work)));
        claims.declare(&clone, None);
        assert_eq!(claims.objection(&clone), None);
    }

    #[test]
    fn a_profile_that_is_gone_gives_its_gateway_up() {
        let (claims, a, b) = (claims(&["a", "b"]), profile("a"), profile("b"));
        for owner in [&a, &b] {
            claims.declare(owner, Some(key("gw")));
        }
        let held = claims.take(&a, key("gw")).unwrap();
        claims.declare(&a, None);
        assert_eq!(refused(&claims, &b, "gw"), Some(NotYours::GivenUp(a)));
        drop(held);
        assert_eq!(refused(&claims, &b, "gw"), None);
    }

    #[test]
    fn there_is_room_for_so_many_links_and_the_others_are_told() {
        let names: Vec<String> = (0..MAX_LINKS + 2).map(|n| format!("p{n:04}")).collect();
        let claims = Claims::new(names.iter().map(|name| ProfileName::parse(name).unwrap()));
        let objection = |n: usize| {
            let owner = profile(&names[n]);
            claims.declare(&owner, Some(key(&names[n])));
            claims.objection(&owner)
        };
        assert_eq!((objection(MAX_LINKS - 2), objection(MAX_LINKS - 1)), (None, Some(NotYours::TooMany)));
        assert!(claims.has_link(&profile(&names[0]).unwrap()));
        assert!(!claims.has_link(&profile(&names[MAX_LINKS]).unwrap()));
    }
}
