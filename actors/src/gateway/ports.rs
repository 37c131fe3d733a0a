//! The ports into the gateway.

use super::links::RelayLinks;
use crate::config::ServedProfiles;
use crate::config::messages::Served;
use crate::drain::permit::messages::ListTurns;
use crate::relay::actor::RelayActor;
use crate::status::changes::StatusChanges;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::config::ReloadConfig;
use caduceus_contract::messages::dispatch::{AnnounceStop, DropRow, RetryRow, StopSession, StopTurnById};
use caduceus_contract::messages::drain::{BeginShutdown, DrainControlPorts};
use caduceus_contract::messages::ledger_control::LedgerControlPorts;
use caduceus_contract::messages::profile::VerifyDelivery;
use caduceus_contract::messages::relay::{Deliver, DormancyPorts, GoIdle};
use caduceus_contract::messages::status::{GetSnapshot, Phase, RefreshSnapshot, Subscribe};
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::{Mailbox, Port};

/// The ports into the gateway for the layers above.
#[derive(Clone)]
pub struct GatewayPorts {
    /// The last snapshot.
    pub snapshot: Port<GetSnapshot>,
    /// A snapshot of now.
    pub refresh: Port<RefreshSnapshot>,
    /// The changes that the next snapshot includes.
    pub changes: StatusChanges,
    /// Every snapshot from now on.
    pub subscribe: Port<Subscribe>,
    /// The process enters its next phase.
    pub phase: Port<Phase>,
    /// Drains.
    pub drain: DrainControlPorts,
    /// Closes the gate until the process ends.
    pub begin_shutdown: Port<BeginShutdown>,
    /// The turns in flight.
    pub turns: Port<ListTurns>,
    /// Stops one turn.
    pub stop_turn: Port<StopTurnById>,
    /// What operators can do with the ledger.
    pub ledger: LedgerControlPorts,
    /// Has a row of the ledger sent again.
    pub retry_row: Port<RetryRow>,
    /// Drops a row of the ledger.
    pub drop_row: Port<DropRow>,
    /// The links, that of the process first.
    pub links: Vec<LinkPort>,
    /// The profiles that accept signed deliveries over HTTP.
    pub deliveries: DeliveryPorts,
    /// Reads every file again.
    pub reload: Port<ReloadConfig>,
    /// Stops the turn of a session.
    pub stop_session: Port<StopSession>,
    /// Announces the shutdown in the home channel.
    pub announce_stop: Port<AnnounceStop>,
}

/// The ports into one link.
#[derive(Debug, Clone)]
pub struct LinkPort {
    /// The link.
    pub link: LinkId,
    /// Closes it until the process ends.
    pub go_idle: Port<GoIdle>,
    /// Closes it until it is woken, and wakes it.
    pub dormancy: DormancyPorts,
}

/// The ports of signed deliveries, to the profiles that are served now.
#[derive(Clone)]
pub struct DeliveryPorts {
    served_profiles: ServedProfiles,
    links: RelayLinks,
}

/// The ports of a signed delivery to one profile.
#[derive(Debug, Clone)]
pub struct DeliveryPort {
    /// The profile that owns the deliveries verified by its key; `None` for the default one, whose events name their profile.
    pub owner: Option<ProfileName>,
    /// Verifies the signature.
    pub verify: Port<VerifyDelivery>,
    /// The link over which the replies leave.
    pub deliver: Port<Deliver>,
}

impl LinkPort {
    /// The ports into the link behind `mailbox`.
    pub(super) fn new(link: LinkId, mailbox: &Mailbox<RelayActor>) -> Self {
        Self { link, go_idle: mailbox.port(), dormancy: DormancyPorts::of(mailbox) }
    }
}

impl DeliveryPorts {
    pub(super) fn new(served_profiles: ServedProfiles, links: RelayLinks) -> Self {
        Self { served_profiles, links }
    }

    /// The profiles that accept deliveries now, the default profile first. A reply leaves over the profile's own link, if there was one at the start.
    #[must_use]
    pub fn now(&self) -> Vec<DeliveryPort> {
        let in_force = self.served_profiles.in_force();
        let port = |served: &Served| {
            let owner = (served.home != in_force.settings.home).then(|| served.name.clone());
            let link = owner.as_ref().and_then(|owner| self.links.of(owner)).unwrap_or(self.links.process());
            DeliveryPort { owner, verify: served.ports.verify.clone(), deliver: link.port() }
        };
        in_force.profiles.iter().map(port).collect()
    }
}
