//! Signed deliveries over HTTP: completed with their media and offered to the dispatcher, as the events of frames are.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use tracing::warn;

use super::super::offers::OfferedAnswer;
use super::RelayActor;
use caduceus_contract::json::RawJson;
use caduceus_contract::messages::dispatch::{ArrivedAs, NotRecorded, OfferedEvent};
use caduceus_contract::messages::ledger::Receipt;
use caduceus_contract::messages::relay::Deliver;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::event::InboundEvent;
use caduceus_supervision::AskError;

type Media = (Arc<InboundEvent>, RawJson);

impl RelayActor {
    /// Offers a delivery with its media to the dispatcher.
    fn offer_delivery(
        &self,
        owner: Option<ProfileName>,
        signature: &str,
        digest: [u8; 32],
        receipt: Receipt,
        (event, raw_event): Media,
    ) -> impl Future<Output = OfferedAnswer> + use<> {
        self.context.counts().inbound(Instant::now());
        let offered = OfferedEvent {
            link: self.context.link().clone(),
            arrived_as: ArrivedAs::Delivery,
            receipt,
            bot_id: self.params.bot_of(&event),
            owner: owner.or_else(|| self.context.owner().cloned()),
            // The same name with the same content is the same event for the ledger, also after a restart.
            buffer_id: Some(format!("signed:{signature}")),
            digest,
            descriptor: self.descriptor_of(&event.source.platform),
            event,
            raw_event,
        };
        let answers = self.context.offer(vec![((), offered)]).pop();
        async move {
            match answers {
                Some((_, answer)) => answer.await,
                None => Err(AskError::Closed),
            }
        }
    }

    /// Whether a delivery was recorded.
    fn delivered(&self, answer: OfferedAnswer) -> Result<(), NotRecorded> {
        let unavailable = || Err(NotRecorded::LedgerUnavailable);
        match answer {
            Ok(mut answers) => answers.pop().unwrap_or_else(unavailable),
            Err(reason) => {
                warn!(link = %self.context.link().0, %reason, "dispatcher did not answer a delivery");
                unavailable()
            }
        }
    }
}

impl Handler<Deliver> for RelayActor {
    type Result = ResponseActFuture<Self, Result<(), NotRecorded>>;

    fn handle(&mut self, delivery: Deliver, _: &mut Self::Context) -> Self::Result {
        let Deliver { owner, signature, digest, read_at_ms, event, raw_event } = delivery;
        let receipt = Receipt { gateway: self.params.gateway_id(), arrived_at_ms: read_at_ms };
        let host = self.params.media_host(&event);
        let fetcher = self.fetcher.clone();
        let fetching = async move {
            match host {
                Some(url) => fetcher.with_media(url, event, raw_event).await,
                None => (event, raw_event),
            }
        };
        let offered = fetching.into_actor(self).then(move |media, link: &mut Self, _| {
            link.offer_delivery(owner, &signature, digest, receipt, media).into_actor(link)
        });
        Box::pin(offered.map(|answer, link: &mut Self, _| link.delivered(answer)))
    }
}
