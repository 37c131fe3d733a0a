//! Offers events to their dispatchers: those of one read are one message to each.

use std::time::Duration;

use caduceus_contract::messages::dispatch::{NotRecorded, OfferEvents, OfferedEvent};
use caduceus_contract::share::DispatchShare;
use caduceus_supervision::{AskError, Port};

/// The answer of a dispatcher, for each of the events that it was offered.
pub(super) type OfferedAnswer = Result<Vec<Result<(), NotRecorded>>, AskError>;

/// Sends `events`, each with what belongs to it, to the dispatchers, in order to each of them. For each dispatcher that gets some: what
/// belongs to its events, and its answer, within `timeout`. A refusal by one is not delayed by another, because the link must offer nothing new
/// behind it.
pub(super) fn offer<T>(
    dispatchers: &[Port<OfferEvents>],
    events: Vec<(T, OfferedEvent)>,
    timeout: Duration,
) -> Vec<(Vec<T>, impl Future<Output = OfferedAnswer> + use<T>)> {
    let mut offers: Vec<(Vec<T>, Vec<OfferedEvent>)> = dispatchers.iter().map(|_| (Vec::new(), Vec::new())).collect();
    for (belongs, event) in events {
        let number = DispatchShare::number_of(&event.event.source, dispatchers.len());
        let (all_belong, events) = &mut offers[number];
        all_belong.push(belongs);
        events.push(event);
    }
    let of_dispatcher = offers.into_iter().zip(dispatchers).filter(|((belongs, _), _)| !belongs.is_empty());
    // Sent now, so that two offers arrive in order.
    of_dispatcher.map(|((belongs, events), port)| (belongs, port.ask(OfferEvents(events), timeout))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actix::{Actor, Context, Handler, MessageResult};
    use futures_util::FutureExt as _;
    use serde_json::json;

    use super::*;
    use caduceus_contract::json::RawJson;
    use caduceus_contract::link::LinkId;
    use caduceus_contract::messages::dispatch::ArrivedAs;
    use caduceus_contract::messages::ledger::Receipt;
    use caduceus_contract::wire::event::InboundEvent;

    fn event(chat: usize) -> OfferedEvent {
        let raw = json!({"text": "hi", "source": {"platform": "discord", "chat_id": chat.to_string()}});
        OfferedEvent {
            link: LinkId::process(),
            arrived_as: ArrivedAs::Frame,
            receipt: Receipt { gateway: None, arrived_at_ms: 0 },
            bot_id: None,
            owner: None,
            buffer_id: Some(chat.to_string()),
            digest: [0; 32],
            event: Arc::new(InboundEvent::parse(&raw).unwrap()),
            raw_event: RawJson::of(&raw),
            descriptor: None,
        }
    }

    /// Takes the events of even chats, and reports each message.
    struct StubDispatch(tokio::sync::mpsc::UnboundedSender<Vec<String>>);

    impl Actor for StubDispatch {
        type Context = Context<Self>;
    }

    impl Handler<OfferEvents> for StubDispatch {
        type Result = MessageResult<OfferEvents>;

        fn handle(&mut self, OfferEvents(events): OfferEvents, _: &mut Self::Context) -> Self::Result {
            let chats: Vec<_> = events.iter().map(|event| event.event.source.chat_id.clone()).collect();
            let is_even = |chat: &String| chat.parse::<usize>().unwrap().is_multiple_of(2);
            let answer = |chat| if is_even(chat) { Ok(()) } else { Err(NotRecorded::LedgerUnavailable) };
            let answers = chats.iter().map(answer).collect();
            self.0.send(chats).unwrap();
            MessageResult(answers)
        }
    }

    /// What each event got, by its number.
    async fn answers(ports: &[Port<OfferEvents>], events: Vec<OfferedEvent>, timeout: Duration) -> Vec<OfferedAnswer> {
        let number = events.len();
        let mut all: Vec<OfferedAnswer> = (0..number).map(|_| Ok(Vec::new())).collect();
        for (numbers, answer) in offer(ports, events.into_iter().enumerate().collect(), timeout) {
            let answer = answer.await;
            for (place, number) in numbers.into_iter().enumerate() {
                all[number] = answer.clone().map(|answers| vec![answers[place]]);
            }
        }
        all
    }

    #[actix::test]
    async fn the_events_of_a_read_are_one_message_to_each_dispatcher_and_each_has_its_own_answer() {
        for dispatchers in 1..=3 {
            let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
            let ports: Vec<_> = (0..dispatchers).map(|_| Port::from(StubDispatch(sender.clone()).start())).collect();
            let answers = answers(&ports, (0..40).map(event).collect(), Duration::from_mins(1)).await;
            let expected = |chat: usize| {
                Ok(vec![if chat.is_multiple_of(2) { Ok(()) } else { Err(NotRecorded::LedgerUnavailable) }])
            };
            assert_eq!(answers, (0..40).map(expected).collect::<Vec<_>>());
            let mut messages = Vec::new();
            while let Ok(chats) = received.try_recv() {
                assert!(chats.is_sorted_by_key(|chat| chat.parse::<usize>().unwrap()), "{chats:?}");
                messages.push(chats.len());
            }
            assert_eq!((messages.len(), messages.iter().sum::<usize>()), (dispatchers, 40));
        }
    }

    #[actix::test]
    async fn a_dispatcher_that_does_not_run_delays_no_answer_of_another() {
        let (sender, _received) = tokio::sync::mpsc::unbounded_channel();
        let lost: caduceus_supervision::Mailbox<StubDispatch> = caduceus_supervision::Mailbox::new();
        // Its mailbox takes the message, and nothing answers.
        let ports = vec![StubDispatch(sender).start().into(), lost.port()];
        let events = (0..40).map(|number| (number, event(2 * number))).collect();
        let mut offers = offer(&ports, events, Duration::from_mins(1));
        let (second, unanswered) = offers.pop().unwrap();
        let (first, answered) = offers.pop().unwrap();
        assert_eq!((first.len() + second.len(), offers.len()), (40, 0));
        assert_eq!(answered.await, Ok(vec![Ok(()); first.len()]));
        let unanswered = std::pin::pin!(unanswered);
        assert!(unanswered.now_or_never().is_none(), "the other one still waits");
        for (number, of) in [(first, 0), (second, 1)] {
            assert!(number.iter().all(|number| DispatchShare::number_of(&event(2 * number).event.source, 2) == of));
        }
    }
}
