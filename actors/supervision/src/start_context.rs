//! The argument of a child's factory.

use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::{Actor, Context, Handler, Message};

use crate::board::StatusCell;
use crate::context::SystemContext;
use crate::incarnation::Incarnation;
use crate::mailbox::Mailbox;
use crate::port::Port;

/// The argument of a child's factory, for one incarnation.
pub struct StartContext<A: Actor> {
    incarnation: Incarnation,
    mailbox: Mailbox<A>,
    pub(crate) system: SystemContext,
    pub(crate) cell: Arc<StatusCell>,
}

impl<A: Actor<Context = Context<A>>> StartContext<A> {
    pub(crate) fn new(
        incarnation: Incarnation,
        mailbox: Mailbox<A>,
        system: SystemContext,
        cell: Arc<StatusCell>,
    ) -> Self {
        Self { incarnation, mailbox, system, cell }
    }

    /// The incarnation that is being started.
    #[must_use]
    pub fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    /// A port into the child's own mailbox, for parts that outlive this incarnation, such as file watchers and peers.
    #[must_use]
    pub fn own<M>(&self) -> Port<M>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.mailbox.port()
    }
}

/// Builds one incarnation after another, on the thread where it runs.
pub(crate) trait Factory<A: Actor>: Send + Sync {
    fn build(&self, start: &StartContext<A>) -> A;
}
