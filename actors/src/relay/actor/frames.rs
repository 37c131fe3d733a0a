//! What a link does on a frame from the connector that carries no event.

use actix::{AsyncContext, Context, Handler, Message};
use tracing::debug;

use super::RelayActor;
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_contract::wire::frame::FromConnector;

/// The time for the descriptors of all identities has passed.
#[derive(Message)]
#[rtype(result = "()")]
struct DescriptorsDue {
    generation: u64,
}

impl RelayActor {
    /// Handles a frame that carries no event.
    pub(super) fn handle_frame(&mut self, generation: u64, frame: FromConnector, ctx: &mut Context<Self>) {
        match frame {
            FromConnector::Descriptor { descriptor } => self.described(generation, *descriptor, ctx),
            FromConnector::OutboundResult { request_id, result } => {
                if !self.socket.settle(&request_id, result) {
                    debug!(link = %self.context.link().0, "result without a pending send");
                }
            }
            FromConnector::InterruptInbound { session_key, .. } => self.context.stop_session(session_key),
            FromConnector::GoingIdleAck => self.decide(ctx, |plan, at| plan.idle_acked(generation, at)),
            // They come as `SocketEvent::Arrived`, with a place in the queue of events.
            FromConnector::Inbound(_) | FromConnector::PassthroughForward(_) => {}
        }
    }

    fn described(&mut self, generation: u64, descriptor: Descriptor, ctx: &mut Context<Self>) {
        let changed = !self.descriptors.contains(&descriptor);
        if let Err(reason) = self.descriptors.keep(descriptor) {
            return self.context.skipped(&reason.to_string());
        }
        self.context.report();
        let was_up = self.driver.is_up();
        self.decide(ctx, |plan, at| {
            plan.described(generation, at);
            Vec::new()
        });
        if was_up && changed {
            // The change of state reported the first descriptor; this is another, or one that changed.
            self.send_change(None);
        } else if !was_up && self.driver.is_up() {
            self.declare_policies();
            ctx.notify_later(DescriptorsDue { generation }, self.context.timings().handshake);
        }
    }
}

impl Handler<DescriptorsDue> for RelayActor {
    type Result = ();

    /// The link counts as described.
    fn handle(&mut self, DescriptorsDue { generation }: DescriptorsDue, _: &mut Self::Context) {
        if self.driver.is_up_as(generation) && self.descriptors.settle() {
            self.send_change(None);
        }
    }
}
