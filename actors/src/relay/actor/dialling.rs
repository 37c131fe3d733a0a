//! How a link dials: the profile's answer, the claim on the gateway, the socket, the hello.

use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use futures_util::stream;

use super::super::context::ParamsAnswer;
use super::super::declare::declare;
use super::super::descriptors::Descriptors;
use super::super::dial::DialError;
use super::super::link_socket::DialOutcome;
use super::super::plan::LinkPlan;
use super::super::steps::{Loss, plain};
use super::RelayActor;
use crate::http_client::UpgradeRefused;
use caduceus_contract::wire::frame::ToConnector;

/// Most events of the connection that are handled, and offered to the dispatcher, together.
const EVENTS_BATCH: usize = 64;

/// The profile has answered what to dial.
#[derive(Message)]
#[rtype(result = "()")]
struct ParamsReceived(ParamsAnswer);

/// Another link may have taken precedence.
#[derive(Message)]
#[rtype(result = "()")]
struct ClaimsChanged;

impl RelayActor {
    /// Asks the profile what to dial.
    pub(super) fn prepare(&mut self) {
        let answer = self.context.request_params();
        self.tasks.notify(async move { ParamsReceived(answer.await) });
    }

    /// Closes the link when another link takes precedence for the gateway that it has open.
    pub(super) fn watch_claims(&self, ctx: &mut Context<Self>) {
        ctx.add_message_stream(stream::unfold(self.params.claim_changes(), |mut changes| async move {
            changes.changed().await.ok().map(|()| (ClaimsChanged, changes))
        }));
    }

    /// Dials the address of the profile's last answer, once every older socket is closed.
    pub(super) fn start_dial(&mut self, generation: u64, ctx: &mut Context<Self>) {
        let Some((url, token)) = self.params.dialable() else { return };
        self.context.counts().dial();
        let dialled = self.socket.dial(self.context.client().clone(), url, token);
        let dialled = dialled.into_actor(self).map(move |outcome, link, ctx| link.dialled(generation, outcome, ctx));
        self.socket.dialling(ctx.spawn(dialled));
    }

    /// In the context and not in the tasks, because it can be cancelled.
    fn dialled(&mut self, generation: u64, outcome: DialOutcome, ctx: &mut Context<Self>) {
        if !self.socket.take_dial() {
            return;
        }
        let DialOutcome { socket, slot } = outcome;
        match socket {
            Ok(socket) => {
                let events = self.socket.open(generation, socket, slot, self.arrivals.places());
                ctx.add_stream(stream::unfold(events, move |mut events| async move {
                    let mut batch = Vec::new();
                    (events.recv_many(&mut batch, EVENTS_BATCH).await > 0).then_some(((generation, batch), events))
                }));
                self.decide(ctx, |plan, at| plan.dialled(generation, at));
            }
            Err(error) => {
                drop(slot);
                let loss = loss_of(&error);
                self.decide(ctx, |plan, at| plan.lost(generation, &loss, at));
            }
        }
    }

    /// Names the identities to the connector, which describes them.
    pub(super) fn send_hello(&mut self) {
        let identities = self.params.identities().to_vec();
        self.descriptors = Descriptors::named(identities.iter().map(|identity| identity.platform.as_str()));
        for identity in identities {
            let hello = ToConnector::Hello { platform: identity.platform, bot_id: identity.bot_id };
            self.send_frame(&hello, "hello", None);
        }
    }

    /// Declares the relevance policies, if there are any.
    pub(super) fn declare_policies(&mut self) {
        if let Some(declaration) = self.params.take_declaration() {
            let declared = declare(self.context.client().clone(), self.context.link().clone(), declaration);
            self.tasks.run(declared);
        }
    }
}

fn loss_of(error: &DialError) -> Loss {
    match error {
        DialError::Refused(refused) if matches!(refused.status.as_u16(), 401 | 403) => {
            Loss::Unauthorized { reason: error.to_string() }
        }
        DialError::Refused(UpgradeRefused { status, retry_after: Some(wait) })
            if matches!(status.as_u16(), 429 | 503) =>
        {
            Loss::WaitRequested { reason: error.to_string(), wait: *wait }
        }
        _ => Loss::Other(plain(&error.to_string())),
    }
}

impl Handler<ParamsReceived> for RelayActor {
    type Result = ();

    fn handle(&mut self, ParamsReceived(answer): ParamsReceived, ctx: &mut Self::Context) {
        let prepared = self.params.answered(answer, self.context.link());
        self.decide(ctx, |plan, at| plan.prepared(prepared, at));
    }
}

impl Handler<ClaimsChanged> for RelayActor {
    type Result = ();

    fn handle(&mut self, _: ClaimsChanged, ctx: &mut Self::Context) {
        if self.params.is_evicted() {
            self.decide(ctx, LinkPlan::evicted);
            self.params.release();
        }
    }
}
