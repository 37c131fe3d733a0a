//! Offers events to their dispatchers: those of one read are one message to each, and have one answer together.

use std::iter::repeat_n;
use std::time::Duration;
use std::vec;

use futures_util::future::join_all;

use caduceus_contract::messages::dispatch::{NotRecorded, OfferEvents, OfferedEvent};
use caduceus_contract::share::DispatchShare;
use caduceus_supervision::{AskError, Port};

/// For each event, in the order in which they were offered: what its dispatcher answered, or why it did not.
pub(super) type OfferedAnswers = Vec<Result<Result<(), NotRecorded>, AskError>>;

/// The events of one offer by dispatcher.
struct DividedEvents {
    /// By number of the dispatcher, each in order.
    events: Vec<Vec<OfferedEvent>>,
    /// The dispatcher of each event, in order.
    dispatchers: Vec<usize>,
}

/// Sends `events` to the dispatchers, in order to each of them. Resolves when all have answered, each within `timeout`: acknowledgements keep the
/// order of arrival, so most of them would wait for each other anyway.
pub(super) fn offer(
    dispatchers: &[Port<OfferEvents>],
    events: Vec<OfferedEvent>,
    timeout: Duration,
) -> impl Future<Output = OfferedAnswers> + use<> {
    let divided = divide(events, dispatchers.len());
    // Sent now, so that two offers arrive in order.
    let ask = |(port, events): (&Port<OfferEvents>, Vec<OfferedEvent>)| {
        let number = events.len();
        let answer = (number > 0).then(|| port.ask(OfferEvents(events), timeout));
        async move {
            match answer {
                Some(answer) => answers_of(answer.await, number),
                None => Vec::new().into_iter(),
            }
        }
    };
    let asked: Vec<_> = dispatchers.iter().zip(divided.events).map(ask).collect();
    async move {
        let mut answers = join_all(asked).await;
        let next = |dispatcher: usize| answers[dispatcher].next().unwrap_or(Err(AskError::Closed));
        divided.dispatchers.into_iter().map(next).collect()
    }
}

fn divide(events: Vec<OfferedEvent>, dispatchers: usize) -> DividedEvents {
    if dispatchers == 1 {
        return DividedEvents { dispatchers: vec![0; events.len()], events: vec![events] };
    }
    let mut divided = DividedEvents { dispatchers: Vec::with_capacity(events.len()), events: Vec::new() };
    divided.events.resize_with(dispatchers, Vec::new);
    for event in events {
        let number = DispatchShare::number_of(&event.event.source, dispatchers);
        divided.dispatchers.push(number);
        divided.events[number].push(event);
    }
    divided
}

/// The answer of one dispatcher, for each of its events.
fn answers_of(
    answer: Result<Vec<Result<(), NotRecorded>>, AskError>,
    number: usize,
) -> vec::IntoIter<Result<Result<(), NotRecorded>, AskError>> {
    let answers: OfferedAnswers = match answer {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) => repeat_n(Err(error), number).collect(),
    };
    answers.into_iter()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actix::{Actor, Context, Handler, MessageResult};
    use serde_json::json;

    use super::*;
    use caduceus_contract::json::RawJson;
    use caduceus_contract::link::LinkId;
    use caduceus_contract::messages::ledger::Receipt;
    use caduceus_contract::wire::event::InboundEvent;

    fn event(chat: usize) -> OfferedEvent {
        let raw = json!({"text": "hi", "source": {"platform": "discord", "chat_id": chat.to_string()}});
        OfferedEvent {
            link: LinkId::process(),
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

    #[actix::test]
    async fn the_events_of_a_read_are_one_message_to_each_dispatcher_and_each_has_its_own_answer() {
        for dispatchers in 1..=3 {
            let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
            let ports: Vec<_> = (0..dispatchers).map(|_| Port::from(StubDispatch(sender.clone()).start())).collect();
            let events: Vec<_> = (0..40).map(event).collect();
            let answers = offer(&ports, events.clone(), Duration::from_mins(1)).await;
            let expected =
                |chat: usize| Ok(if chat.is_multiple_of(2) { Ok(()) } else { Err(NotRecorded::LedgerUnavailable) });
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
    async fn events_of_a_dispatcher_that_does_not_run_have_an_error_and_the_others_their_answers() {
        let (sender, _received) = tokio::sync::mpsc::unbounded_channel();
        let lost: caduceus_supervision::Mailbox<StubDispatch> = caduceus_supervision::Mailbox::new();
        let ports = vec![StubDispatch(sender).start().into(), lost.port()];
        let events: Vec<_> = (0..40).map(|number| event(2 * number)).collect();
        let numbers: Vec<_> = events.iter().map(|event| DispatchShare::number_of(&event.event.source, 2)).collect();
        drop(lost);
        let answers = offer(&ports, events, Duration::from_millis(50)).await;
        let are_taken: Vec<_> = answers.iter().map(|answer| *answer == Ok(Ok(()))).collect();
        assert_eq!(are_taken, numbers.iter().map(|number| *number == 0).collect::<Vec<_>>());
        assert!(numbers.contains(&0) && numbers.contains(&1));
    }
}
