//! Fetches the media of an event before the event is passed on: for events in frames, and for signed deliveries over HTTP.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use tracing::warn;

use super::actor::RelayActor;
use super::arrival::{Arrival, ArrivalContent};
use super::media;
use crate::in_order::Place;
use caduceus_contract::messages::dispatch::{NotRecorded, OfferEvents, OfferedEvent};
use caduceus_contract::messages::relay::Deliver;
use caduceus_contract::wire::event::InboundEvent;

impl RelayActor {
    pub(super) fn arrived(&mut self, generation: u64, arrival: Arrival, ctx: &mut Context<Self>) {
        let host = match &arrival.content {
            ArrivalContent::Event(event) => self.media_host(&event.event).map(|url| (url, event)),
            ArrivalContent::Dead(_) => None,
        };
        let place = self.arrivals.reserve();
        let Some((url, event)) = host else {
            return self.complete(place, arrival);
        };
        let fetching = self.fetcher.clone().with_media(url, Arc::clone(&event.event), event.raw_event.clone());
        ctx.spawn(fetching.into_actor(self).map(move |(event, raw_event), link, _| {
            if link.connection.as_ref().is_none_or(|connection| connection.generation != generation) {
                return;
            }
            let mut arrival = arrival;
            if let ArrivalContent::Event(fetched) = &mut arrival.content {
                (fetched.event, fetched.raw_event) = (event, raw_event);
            }
            link.complete(place, arrival);
            link.send_offers(generation);
        }));
    }

    /// An event with its media is offered once all before it are complete.
    fn complete(&mut self, place: Place, arrival: Arrival) {
        for arrival in self.arrivals.complete(place, arrival) {
            self.accept(arrival);
        }
    }

    /// The connector's address, if it hosts any of the event's media.
    fn media_host(&self, event: &InboundEvent) -> Option<String> {
        let url = &self.params.as_ref().filter(|_| !event.media_urls.is_empty())?.url;
        (!media::hosted(event, url).is_empty()).then(|| url.clone())
    }
}

impl Handler<Deliver> for RelayActor {
    type Result = ResponseActFuture<Self, Result<(), NotRecorded>>;

    fn handle(&mut self, delivery: Deliver, _: &mut Self::Context) -> Self::Result {
        let Deliver { owner, signature, digest, event, raw_event } = delivery;
        let host = self.media_host(&event);
        let fetcher = self.fetcher.clone();
        let fetching = async move {
            match host {
                Some(url) => fetcher.with_media(url, event, raw_event).await,
                None => (event, raw_event),
            }
        };
        let offered = fetching.into_actor(self).then(move |(event, raw_event), link: &mut Self, _| {
            link.counts.inbound(Instant::now());
            let offered = OfferedEvent {
                link: link.link.clone(),
                bot_id: link.bot_of(&event),
                owner: owner.or_else(|| link.owner.clone()),
                // The same name with the same content is the same event for the ledger, also after a restart.
                buffer_id: Some(format!("signed:{signature}")),
                digest,
                descriptor: link.descriptor_of(&event.source.platform),
                event,
                raw_event,
            };
            link.ports.dispatch.ask(OfferEvents(vec![offered]), link.timings.take).into_actor(link)
        });
        Box::pin(offered.map(|answer, link: &mut Self, _| {
            let unavailable = || Err(NotRecorded::LedgerUnavailable);
            match answer {
                Ok(mut answers) => answers.pop().unwrap_or_else(unavailable),
                Err(reason) => {
                    warn!(link = %link.link.0, %reason, "dispatcher did not answer a delivery");
                    unavailable()
                }
            }
        }))
    }
}
