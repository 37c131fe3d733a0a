//! What a link does beside its socket: declares policies, has media fetched, takes what came over HTTP.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use tracing::{info, warn};

use super::actor::RelayActor;
use super::arrival::{Arrival, Cargo};
use super::media;
use super::post;
use caduceus_contract::messages::dispatch::{Inbound, NotTaken, Receipt};
use caduceus_contract::messages::relay::Deliver;
use caduceus_contract::wire::event::InboundEvent;
use caduceus_contract::wire::url::RelayUrl;

impl RelayActor {
    /// Tells the connector which messages are worth waking us for. It keeps what it was told, so a failure is no trouble.
    pub(super) fn declare_policies(&mut self, ctx: &mut Context<Self>) {
        // The token that opened this connection is minutes from its end.
        let Some(params) = &mut self.params else { return };
        let Some(token) = params.token.take().filter(|_| !params.policies.is_empty()) else { return };
        let (url, policies) = (RelayUrl::new(&params.url).policy(), params.policies.clone());
        let (trust, link) = (self.trust.clone(), self.link.clone());
        let declaring = async move {
            for policy in policies {
                let platform = policy.platform.clone();
                match post::json(&trust, &url, &token, &policy).await {
                    Ok(answer) if answer.is_success() => info!(link = %link.0, platform, "relevance policy declared"),
                    Ok(answer) => {
                        let (status, reason) = (answer.status, answer.sentence());
                        warn!(link = %link.0, platform, status, reason, "relevance policy refused; the former one holds");
                    }
                    Err(reason) => {
                        warn!(link = %link.0, platform, %reason, "relevance policy not declared; the former one holds");
                    }
                }
            }
        };
        ctx.spawn(declaring.into_actor(self));
    }

    pub(super) fn arrived(&mut self, generation: u64, arrival: Arrival, ctx: &mut Context<Self>) {
        let keeper = match &arrival.cargo {
            Cargo::Event(event) => self.keeper_of(&event.event).map(|url| (url, event)),
            Cargo::Dead(_) => None,
        };
        let Some((url, event)) = keeper else {
            if let Some(arrival) = self.lineup.whole(arrival) {
                self.take_in(generation, arrival, ctx);
            }
            return;
        };
        let place = self.lineup.expect();
        let bringing = self.fetcher.clone().bring(url, Arc::clone(&event.event), Arc::clone(&event.raw_event));
        ctx.spawn(bringing.into_actor(self).map(move |(event, raw_event), link, ctx| {
            if link.connection.as_ref().is_none_or(|connection| connection.generation != generation) {
                return;
            }
            let mut arrival = arrival;
            if let Cargo::Event(brought) = &mut arrival.cargo {
                (brought.event, brought.raw_event) = (event, raw_event);
            }
            for arrival in link.lineup.came(place, arrival) {
                link.take_in(generation, arrival, ctx);
            }
        }));
    }

    /// The connector's address, if it keeps any of the event's media.
    fn keeper_of(&self, event: &InboundEvent) -> Option<String> {
        let url = &self.params.as_ref().filter(|_| !event.media_urls.is_empty())?.url;
        (!media::rehosted(event, url).is_empty()).then(|| url.clone())
    }
}

impl Handler<Deliver> for RelayActor {
    type Result = ResponseActFuture<Self, Result<Receipt, NotTaken>>;

    fn handle(&mut self, delivery: Deliver, _: &mut Self::Context) -> Self::Result {
        let Deliver { owner, signature, digest, event, raw_event } = delivery;
        let keeper = self.keeper_of(&event);
        let fetcher = self.fetcher.clone();
        let bringing = async move {
            match keeper {
                Some(url) => fetcher.bring(url, event, raw_event).await,
                None => (event, raw_event),
            }
        };
        let offered = bringing.into_actor(self).then(move |(event, raw_event), link: &mut Self, _| {
            link.counts.inbound(Instant::now());
            let inbound = Inbound {
                link: link.link.clone(),
                bot_id: link.bot_of(&event),
                owner: owner.or_else(|| link.owner.clone()),
                // The ledger takes the same name with the same content for the same event, also after a restart.
                buffer_id: Some(format!("signed:{signature}")),
                digest,
                descriptor: link.descriptor_of(&event.source.platform),
                event,
                raw_event,
            };
            link.ports.dispatch.ask(inbound, link.timings.take).into_actor(link)
        });
        Box::pin(offered.map(|answer, link: &mut Self, _| {
            answer.unwrap_or_else(|reason| {
                warn!(link = %link.link.0, %reason, "the dispatcher did not answer a delivery");
                Err(NotTaken::LedgerUnavailable)
            })
        }))
    }
}
