//! Makes the specification of a child from the type of its actor.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context};

use crate::board::StatusCell;
use crate::children::Children;
use crate::context::SystemContext;
use crate::exit::ExitReason;
use crate::launch::IncarnationLaunch;
use crate::mailbox::{AnyMailbox, Mailbox};
use crate::restart::Readiness;
use crate::runner::Runner;
use crate::spec::{ChildSpec, ErasedChild, NestedSupervisor, SupervisorSpec};
use crate::start_context::{Factory, StartContext};
use crate::supervisor::Supervisor;
use crate::worker_thread::WorkerThread;

impl ChildSpec {
    /// An actor that runs on the root's thread, is permanent, has 5 s to stop and is ready once started.
    ///
    /// `factory` builds one incarnation after another, each on the thread where it runs. `id` must not be empty and must
    /// not contain a slash; that is checked when the child is started.
    ///
    /// ```
    /// use actix::prelude::*;
    /// use caduceus_supervision::{ChildSpec, Mailbox, Restart, WorkerThread};
    ///
    /// struct Counter(u64);
    ///
    /// impl Actor for Counter {
    ///     type Context = Context<Self>;
    /// }
    ///
    /// let mailbox = Mailbox::new();
    /// let child = ChildSpec::worker("counter", &mailbox, |_| Counter(0))
    ///     .on(&WorkerThread::new("work"))
    ///     .restart(Restart::Transient);
    /// assert_eq!(child.id(), "counter");
    /// ```
    #[must_use]
    pub fn worker<A: Actor<Context = Context<A>>>(
        id: impl Into<Arc<str>>,
        mailbox: &Mailbox<A>,
        factory: impl Fn(&StartContext<A>) -> A + Send + Sync + 'static,
    ) -> Self {
        Self::with(id.into(), Arc::new(TypedChild { mailbox: mailbox.clone(), factory }), None)
    }

    /// A supervisor with children of its own. It runs on the root's thread unless [`ChildSpec::on`] sets another, takes as long
    /// to stop as its children do, and is ready when the last of its children is. If its thread is replaced, its next incarnation
    /// reports the exits of the children that ran under the previous one.
    #[must_use]
    pub fn supervisor(id: impl Into<Arc<str>>, mailbox: &Mailbox<Supervisor>, spec: SupervisorSpec) -> Self {
        let nested = NestedSupervisor {
            operate: mailbox.port(),
            #[cfg(feature = "fault-injection")]
            inject_fault: mailbox.port(),
            spec: spec.clone(),
        };
        let children = Children::new(spec);
        let shared = children.clone();
        let factory = move |start: &StartContext<Supervisor>| Supervisor::new(shared.clone(), start);
        let actor = Arc::new(TypedChild { mailbox: mailbox.clone(), factory });
        let mut child = Self::with(id.into(), Arc::new(SupervisorChild { actor, children }), Some(nested));
        child.grace = None;
        child.readiness = Readiness::Reported { within: Duration::MAX };
        child
    }
}

/// The mailbox and the factory of one child. Its incarnations share it.
struct TypedChild<A: Actor, F> {
    mailbox: Mailbox<A>,
    factory: F,
}

impl<A, F> Factory<A> for TypedChild<A, F>
where
    A: Actor,
    F: Fn(&StartContext<A>) -> A + Send + Sync,
{
    fn build(&self, start: &StartContext<A>) -> A {
        (self.factory)(start)
    }
}

impl<A, F> ErasedChild for TypedChild<A, F>
where
    A: Actor<Context = Context<A>>,
    F: Fn(&StartContext<A>) -> A + Send + Sync + 'static,
{
    fn start(
        self: Arc<Self>,
        launch: IncarnationLaunch,
        system: &SystemContext,
        cell: &Arc<StatusCell>,
        thread: &WorkerThread,
    ) -> Result<u64, ExitReason> {
        let incarnation = launch.incarnation.clone();
        let start = StartContext::new(incarnation, self.mailbox.clone(), system.clone(), Arc::clone(cell));
        // Made here, where incarnations are launched and mailboxes closed in order: an incarnation whose factory hangs would
        // otherwise supersede its successor when it continues.
        let reader = self.mailbox.reader();
        thread
            .spawn(move || Runner::new(launch, start, reader, self))
            .map_err(|error| ExitReason::Error(format!("thread {} cannot be started: {error}", thread.name())))
    }

    fn close(&self) {
        self.mailbox.erased().close();
    }

    fn mailbox(&self) -> Arc<dyn AnyMailbox> {
        self.mailbox.erased()
    }
}

/// A supervisor that has stopped closes the mailboxes of its children as well.
struct SupervisorChild<T> {
    actor: Arc<T>,
    children: Children,
}

impl<T: ErasedChild> ErasedChild for SupervisorChild<T> {
    fn start(
        self: Arc<Self>,
        launch: IncarnationLaunch,
        system: &SystemContext,
        cell: &Arc<StatusCell>,
        thread: &WorkerThread,
    ) -> Result<u64, ExitReason> {
        Arc::clone(&self.actor).start(launch, system, cell, thread)
    }

    fn close(&self) {
        self.actor.close();
        for child in self.children.spec().children {
            child.actor.close();
        }
    }

    fn mailbox(&self) -> Arc<dyn AnyMailbox> {
        self.actor.mailbox()
    }
}
