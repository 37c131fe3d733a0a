//! One port to several actors, for messages that concern each of them.

use std::sync::Arc;

use actix::Message;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};

use crate::incarnation_future::spawn_outside;
use crate::port::{AskError, PendingAnswer, Port, PortTarget, TellError};

/// A port that sends each message to all of `ports`, which must not be empty.
///
/// A question has one answer: the first that arrives for which `settles` holds; the other actors get the question all the same. Without one it is the first error, since an actor that did
/// not answer might have had it, and otherwise the first answer. A notification that one of them did not receive counts as not sent: it may be sent
/// again, and the others then receive it twice.
///
/// ```
/// use std::time::Duration;
/// use actix::prelude::*;
/// use caduceus_supervision::{Port, port_to_all};
///
/// #[derive(Clone, Message)]
/// #[rtype(result = "bool")]
/// struct Owns(u64);
///
/// struct Owner(u64);
///
/// impl Actor for Owner {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<Owns> for Owner {
///     type Result = bool;
///     fn handle(&mut self, Owns(number): Owns, _: &mut Self::Context) -> bool {
///         number == self.0
///     }
/// }
///
/// # actix::System::new().block_on(async {
/// let owners: Vec<Port<Owns>> = vec![Owner(1).start().into(), Owner(2).start().into()];
/// let any = port_to_all(owners, |owns| *owns);
/// assert_eq!(any.ask(Owns(2), Duration::from_secs(1)).await, Ok(true));
/// assert_eq!(any.ask(Owns(3), Duration::from_secs(1)).await, Ok(false));
/// # });
/// ```
#[must_use]
pub fn port_to_all<M>(ports: Vec<Port<M>>, settles: fn(&M::Result) -> bool) -> Port<M>
where
    M: Message + Clone + Send + 'static,
    M::Result: Send + 'static,
{
    match <[Port<M>; 1]>::try_from(ports) {
        Ok([only]) => only,
        Err(ports) => Port::new(Arc::new(AllPorts { ports, settles })),
    }
}

struct AllPorts<M>
where
    M: Message + Send,
    M::Result: Send,
{
    ports: Vec<Port<M>>,
    /// Whether an answer settles the question.
    settles: fn(&M::Result) -> bool,
}

impl<M> PortTarget<M> for AllPorts<M>
where
    M: Message + Clone + Send + 'static,
    M::Result: Send + 'static,
{
    fn ask(&self, message: M) -> Result<PendingAnswer<M::Result>, TellError> {
        // Sent now, and not when the future is polled.
        let pending = self.ports.iter().map(|port| port.target().ask(message.clone()));
        let mut pending: FuturesUnordered<_> = pending.map(|answer| async move { answer?.await }).collect();
        let settles = self.settles;
        let answer = async move {
            let (mut first_answer, mut first_error) = (None, None);
            while let Some(answer) = pending.next().await {
                match answer {
                    Ok(answer) if settles(&answer) => {
                        // A question without a receiver is withdrawn, and is meant for all.
                        spawn_outside(async move { while pending.next().await.is_some() {} });
                        return Ok(answer);
                    }
                    Ok(answer) => first_answer = first_answer.or(Some(answer)),
                    Err(error) => first_error = first_error.or(Some(error)),
                }
            }
            match first_error {
                Some(error) => Err(error),
                None => first_answer.ok_or(AskError::Closed),
            }
        };
        Ok(PendingAnswer::Several(answer.boxed()))
    }

    fn tell(&self, message: M) -> Result<(), (TellError, M)> {
        let mut refused = None;
        for port in &self.ports {
            refused = refused.or(port.target().tell(message.clone()).err());
        }
        refused.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Message)]
    #[rtype(result = "bool")]
    struct Owns(u64);

    /// Owns one number; it has ended once it was asked for 0.
    struct NumberOwner(u64);

    impl Actor for NumberOwner {
        type Context = Context<Self>;
    }

    impl Handler<Owns> for NumberOwner {
        type Result = bool;

        fn handle(&mut self, Owns(number): Owns, ctx: &mut Self::Context) -> bool {
            if number == 0 {
                ctx.stop();
            }
            number == self.0
        }
    }

    async fn ended() -> Port<Owns> {
        let owner = NumberOwner(9).start();
        owner.send(Owns(0)).await.expect("it runs");
        while owner.connected() {
            tokio::task::yield_now().await;
        }
        owner.into()
    }

    fn owner(number: u64) -> Port<Owns> {
        NumberOwner(number).start().into()
    }

    #[actix::test]
    async fn an_answer_that_settles_the_question_counts_although_another_actor_has_ended() {
        let port = port_to_all(vec![ended().await, owner(1)], |owns| *owns);
        assert_eq!(port.ask(Owns(1), Duration::from_mins(1)).await, Ok(true));
        assert_eq!(port.ask(Owns(2), Duration::from_mins(1)).await, Err(AskError::Closed), "it might have had it");
    }

    #[actix::test]
    async fn a_notification_is_sent_to_all_and_counts_as_not_sent_if_one_did_not_receive_it() {
        let port = port_to_all(vec![owner(1), owner(2)], |owns| *owns);
        assert_eq!(port.tell(Owns(1)), Ok(()));
        let port = port_to_all(vec![ended().await, owner(1)], |owns| *owns);
        let refused = port.tell_or_return(Owns(1)).map_err(|(error, Owns(number))| (error, number));
        assert_eq!(refused, Err((TellError::Closed, 1)));
    }
}
