//! Signed deliveries over HTTP: completed with their media and offered to the dispatcher, as the events of frames are.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use tracing::warn;

use super::super::offers::OfferedAnswers;
use super::RelayActor;
use crate::time::now_ms;
use caduceus_contract::json::RawJson;
use caduceus_contract::messages::dispatch::{NotRecorded, OfferedEvent};
use caduceus_contract::messages::relay::Deliver;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::event::InboundEvent;

type Media = (Arc<InboundEvent>, RawJson);

impl RelayActor {
    /// Offers a delivery with its media to the dispatcher.
    fn offer_delivery(
        &self,
        owner: Option<ProfileName>,
        signature: &str,
        digest: [u8; 32],
        read_at_ms: i64,
        (event, raw_event): Media,
    ) -> impl Future<Output = OfferedAnswers> + use<> {
        self.context.counts().inbound(Instant::now());
        self.context.offer(vec![OfferedEvent {
            link: self.context.link().clone(),
            receipt: self.params.receipt(read_at_ms),
            bot_id: self.params.bot_of(&event),
            owner: owner.or_else(|| self.context.owner().cloned()),
            // The same name with the same content is the same event for the ledger, also after a restart.
            buffer_id: Some(format!("signed:{signature}")),
            digest,
            descriptor: self.descriptor_of(&event.source.platform),
            event,
            raw_event,
        }])
    }

    /// Whether a delivery was recorded.
    fn delivered(&self, mut answers: OfferedAnswers) -> Result<(), NotRecorded> {
        match answers.pop() {
            Some(Ok(answer)) => answer,
            Some(Err(reason)) => {
                warn!(link = %self.context.link().0, %reason, "dispatcher did not answer a delivery");
                Err(NotRecorded::LedgerUnavailable)
            }
            None => Err(NotRecorded::LedgerUnavailable),
        }
    }
}

impl Handler<Deliver> for RelayActor {
    type Result = ResponseActFuture<Self, Result<(), NotRecorded>>;

    fn handle(&mut self, delivery: Deliver, _: &mut Self::Context) -> Self::Result {
        let Deliver { owner, signature, digest, event, raw_event } = delivery;
        let read_at_ms = now_ms();
        let host = self.params.media_host(&event);
        let fetcher = self.fetcher.clone();
        let fetching = async move {
            match host {
                Some(url) => fetcher.with_media(url, event, raw_event).await,
                None => (event, raw_event),
            }
        };
        let offered = fetching.into_actor(self).then(move |media, link: &mut Self, _| {
            link.offer_delivery(owner, &signature, digest, read_at_ms, media).into_actor(link)
        });
        Box::pin(offered.map(|answers, link: &mut Self, _| link.delivered(answers)))
    }
}
