//! The links: that of the process, and one for each profile that had a link of its own at the start.

use std::collections::{BTreeMap, BTreeSet};

use crate::relay::actor::RelayActor;
use crate::relay::claims::Claims;
use crate::settings::Settings;
use caduceus_contract::link::LinkId;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::Mailbox;

/// The links that a gateway with `settings` has.
#[must_use]
pub fn configured_links(settings: &Settings) -> BTreeSet<LinkId> {
    RelayLinks::new(settings).all().map(|(id, _)| id).collect()
}

/// The mailboxes of all links. Clones share them.
#[derive(Clone)]
pub(super) struct RelayLinks {
    process: Mailbox<RelayActor>,
    own: BTreeMap<ProfileName, Mailbox<RelayActor>>,
    claims: Claims,
}

impl RelayLinks {
    /// The links in `settings`, up to the limit.
    pub(super) fn new(settings: &Settings) -> Self {
        let with_link =
            || settings.profiles.iter().filter(|profile| profile.own_link).map(|profile| profile.name.clone());
        let claims = Claims::new(with_link());
        let own =
            with_link().filter(|profile| claims.has_link(profile)).map(|profile| (profile, Mailbox::new())).collect();
        Self { process: Mailbox::new(), own, claims }
    }

    /// Which link serves which gateway.
    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The link of the process.
    pub(super) fn process(&self) -> &Mailbox<RelayActor> {
        &self.process
    }

    /// The link of a profile.
    pub(super) fn of(&self, profile: &ProfileName) -> Option<&Mailbox<RelayActor>> {
        self.own.get(profile)
    }

    /// The link with this id; for an unknown id, of a link removed since the event arrived, that of the process, which reports that it cannot send.
    pub(super) fn named(&self, link: &LinkId) -> &Mailbox<RelayActor> {
        self.all().find_map(|(id, mailbox)| (id == *link).then_some(mailbox)).unwrap_or(&self.process)
    }

    /// Every link, that of the process first.
    pub(super) fn all(&self) -> impl Iterator<Item = (LinkId, &Mailbox<RelayActor>)> {
        let own = self.own.iter().map(|(profile, mailbox)| (LinkId::of_profile(profile), mailbox));
        std::iter::once((LinkId::process(), &self.process)).chain(own)
    }
}
