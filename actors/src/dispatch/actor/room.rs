//! Counts what waits over each link, and whether more may.

use tracing::{info, warn};

use super::super::counts::Dropped;
use super::super::notice::Notice;
use super::super::room::WaitAdmission;
use super::DispatchActor;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::ledger::InboundId;

impl DispatchActor {
    /// Counts the events that wait, for the limit of their link over all dispatchers.
    pub(super) fn count_waiting(&mut self) {
        let changed = self.plan.take_changed_links();
        // A successor has counted what waits since then.
        if self.incarnation.is_fenced() {
            return;
        }
        let (dispatcher, limit) = (self.settings.share().number(), self.settings.values().turns.max_waiting);
        for link in changed {
            let waiting = self.plan.waiting_over(&link) + self.offers.deferred_over(&link);
            if self.ports.backlogs.set(&link, dispatcher, waiting, limit) {
                info!(link = %link.0, limit, "events of the link may wait again");
            }
        }
    }

    /// Whether events may wait over `link`: those that the plan has, and so many more.
    pub(super) fn has_room(&mut self, link: &LinkId, more: usize) -> bool {
        self.count_waiting();
        let limit = self.settings.values().turns.max_waiting;
        match self.ports.backlogs.admit(link, more, limit) {
            WaitAdmission::Waits => true,
            WaitAdmission::Refused { is_first } => {
                if is_first {
                    warn!(link = %link.0, limit, "too many events of the link wait: further ones that have to wait are refused");
                }
                false
            }
        }
    }

    /// An event is refused, for the reason of its notice.
    pub(super) fn count_refused(&self, event: InboundId, notice: &Notice) {
        self.ports.counts.refused();
        if *notice == Notice::LinkFull {
            self.ports.counts.dropped(Dropped::Event);
        }
        info!(row = event.0, reason = notice.reason(), "event refused");
    }
}
