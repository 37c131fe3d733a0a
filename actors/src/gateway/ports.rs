//! The ways into the gateway that come in lists.

use crate::profile::messages::VerifyDelivery;
use crate::profile::name::ProfileName;
use crate::relay::actor::RelayActor;
use crate::relay::inbound::messages::Deliver;
use crate::relay::messages::{GoDormant, GoIdle, LinkId, Wake};
use crate::supervision::{Mailbox, Port};

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
