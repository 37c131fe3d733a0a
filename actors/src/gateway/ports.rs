//! The ways into the gateway that come in lists.

use super::links::Links;
use crate::config::ServedProfiles;
use crate::config::messages::Served;
use crate::profile::messages::VerifyDelivery;
use crate::profile::name::ProfileName;
use crate::relay::actor::RelayActor;
use crate::relay::inbound::messages::Deliver;
use crate::relay::messages::{GoDormant, GoIdle, LinkId, Wake};
use caduceus_supervision::{Mailbox, Port};

/// The ways into one link.
#[derive(Debug, Clone)]
pub struct LinkPort {
    /// Which.
    pub link: LinkId,
    /// Sends it to sleep for good.
    pub go_idle: Port<GoIdle>,
    /// Sends it to sleep until it is poked.
    pub go_dormant: Port<GoDormant>,
    /// Pokes it.
    pub wake: Port<Wake>,
}

/// The ways of signed deliveries: to whoever is served at the moment.
#[derive(Clone)]
pub struct DeliveryPorts {
    present: ServedProfiles,
    links: Links,
}

/// The way of a signed delivery into one profile.
#[derive(Debug, Clone)]
pub struct DeliveryPort {
    /// The profile that owns what its key verifies; `None` for the default one, whose events say where they belong.
    pub owner: Option<ProfileName>,
    /// Knows the key.
    pub verify: Port<VerifyDelivery>,
    /// The link by which the replies leave.
    pub deliver: Port<Deliver>,
}

impl LinkPort {
    /// The ways into the link behind `mailbox`.
    pub(super) fn new(link: LinkId, mailbox: &Mailbox<RelayActor>) -> Self {
        Self { link, go_idle: mailbox.port(), go_dormant: mailbox.port(), wake: mailbox.port() }
    }
}

impl DeliveryPorts {
    pub(super) fn new(present: ServedProfiles, links: Links) -> Self {
        Self { present, links }
    }

    /// Who may deliver now, the default profile first. A reply leaves by the profile's own link, if there was one at the start.
    #[must_use]
    pub fn now(&self) -> Vec<DeliveryPort> {
        let in_force = self.present.in_force();
        let port = |served: &Served| {
            let owner = (served.home != in_force.home).then(|| served.name.clone());
            let link = owner.as_ref().and_then(|owner| self.links.of(owner)).unwrap_or(self.links.process());
            DeliveryPort { owner, verify: served.ports.verify.clone(), deliver: link.port() }
        };
        in_force.profiles.iter().map(port).collect()
    }
}
