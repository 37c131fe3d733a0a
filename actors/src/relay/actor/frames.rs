//! What a link does on a frame from the connector that carries no event.

use actix::prelude::*;
use tracing::{debug, warn};

use super::actor::RelayActor;
use caduceus_contract::messages::dispatch::StopSession;
use caduceus_contract::messages::turn::StopCause;
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_contract::wire::frame::FromConnector;
use caduceus_contract::wire::session::names_session_of;

impl RelayActor {
    /// Handles a frame that carries no event.
    pub(super) fn handle_frame(&mut self, generation: u64, frame: FromConnector, ctx: &mut Context<Self>) {
        match frame {
            FromConnector::Descriptor { descriptor } => self.described(generation, *descriptor, ctx),
            FromConnector::OutboundResult { request_id, result } => {
                if !self.pending.settle(&request_id, result) {
                    debug!(link = %self.link.0, "result without a pending send");
                }
            }
            FromConnector::InterruptInbound { session_key, .. } if !self.may_stop(&session_key) => {
                warn!(link = %self.link.0, "interrupt for another profile's session dropped");
            }
            FromConnector::InterruptInbound { session_key, .. } => {
                let stop = StopSession { session_key, cause: StopCause::Interrupt };
                if let Err(error) = self.ports.stop_session.tell(stop) {
                    warn!(link = %self.link.0, %error, "interrupt not delivered");
                }
            }
            FromConnector::GoingIdleAck => self.decide(ctx, |plan, at| plan.idle_acked(generation, at)),
            // They come as `SocketEvent::Arrived`, with a place in the queue of events.
            FromConnector::Inbound(_) | FromConnector::PassthroughForward(_) => {}
        }
    }

    /// The time for the descriptors of all identities has passed: the link counts as described.
    fn settle_descriptors(&mut self, generation: u64) {
        if generation == self.plan.generation() && self.plan.is_up() && self.described != Some(generation) {
            self.described = Some(generation);
            self.send_change();
        }
    }

    fn described(&mut self, generation: u64, descriptor: Descriptor, ctx: &mut Context<Self>) {
        let changed = !self.descriptors.all().iter().any(|known| **known == descriptor);
        if let Err(reason) = self.descriptors.keep(descriptor) {
            return self.skipped(&reason.to_string());
        }
        self.ports.status.report();
        let was_up = self.plan.is_up();
        self.decide(ctx, |plan, at| {
            plan.described(generation, at);
            Vec::new()
        });
        if was_up && changed {
            // The change of state reported the first descriptor; this is another, or one that changed.
            self.send_change();
        } else if !was_up && self.plan.is_up() {
            self.declare_policies(ctx);
            ctx.run_later(self.timings.handshake, move |link, _| link.settle_descriptors(generation));
        }
    }

    /// A link of a profile's own reaches only that profile's sessions.
    fn may_stop(&self, session_key: &str) -> bool {
        self.owner.as_ref().is_none_or(|owner| names_session_of(session_key, owner))
    }
}
