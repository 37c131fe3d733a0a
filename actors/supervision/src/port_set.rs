//! Several ports to one actor, as one value.

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Context, Handler, Message};

use crate::mailbox::Mailbox;
use crate::port::Port;

/// Ports to one actor, made from `S`: the [`Mailbox`] of a child, or the address of an actor outside any tree.
///
/// A [`Port`] implements it, and so does every struct that [`port_set!`](crate::port_set!) declares.
pub trait PortsTo<S> {
    /// The ports to `actor`.
    fn ports_to(actor: &S) -> Self;
}

impl<A, M> PortsTo<Mailbox<A>> for Port<M>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn ports_to(actor: &Mailbox<A>) -> Self {
        actor.port()
    }
}

impl<A, M> PortsTo<Addr<A>> for Port<M>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn ports_to(actor: &Addr<A>) -> Self {
        actor.clone().into()
    }
}

/// Declares a struct of ports to one actor: each message is listed once, and the holder can send no other. A field is a
/// [`Port`] or another such struct.
///
/// The generated `of` makes the set from the actor's [`Mailbox`], or in a test from the address of a stub.
///
/// ```
/// use actix::prelude::*;
/// use caduceus_supervision::{Mailbox, Port, port_set};
///
/// #[derive(Message)]
/// #[rtype(result = "()")]
/// pub struct Open;
///
/// #[derive(Message)]
/// #[rtype(result = "()")]
/// pub struct Close;
///
/// port_set! {
///     /// The ports to a door.
///     pub struct DoorPorts {
///         /// Opens it.
///         pub open: Port<Open>,
///         /// Closes it.
///         pub close: Port<Close>,
///     }
/// }
///
/// struct Door;
///
/// impl Actor for Door {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<Open> for Door {
///     type Result = ();
///     fn handle(&mut self, _: Open, _: &mut Self::Context) {}
/// }
///
/// impl Handler<Close> for Door {
///     type Result = ();
///     fn handle(&mut self, _: Close, _: &mut Self::Context) {}
/// }
///
/// let mailbox: Mailbox<Door> = Mailbox::new();
/// let ports = DoorPorts::of(&mailbox);
/// assert_eq!(ports.open.tell(Open), Ok(()));
/// ```
#[macro_export]
macro_rules! port_set {
    (
        $(#[$set_doc:meta])*
        $visibility:vis struct $set:ident {
            $($(#[$port_doc:meta])* $port_visibility:vis $port:ident: $ports:ty,)+
        }
    ) => {
        $(#[$set_doc])*
        #[derive(Debug, Clone)]
        $visibility struct $set {
            $($(#[$port_doc])* $port_visibility $port: $ports,)+
        }

        impl $set {
            /// The ports to `actor`: a mailbox, or the address of an actor outside any tree.
            #[must_use]
            $visibility fn of<S>(actor: &S) -> Self
            where
                Self: $crate::PortsTo<S>,
            {
                $crate::PortsTo::ports_to(actor)
            }
        }

        impl<S> $crate::PortsTo<S> for $set
        where
            $($ports: $crate::PortsTo<S>,)+
        {
            fn ports_to(actor: &S) -> Self {
                Self { $($port: $crate::PortsTo::ports_to(actor),)+ }
            }
        }
    };
}
