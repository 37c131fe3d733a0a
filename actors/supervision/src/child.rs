//! Makes the specification of a child from the type of its actor.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context};

use crate::board::StatusCell;
use crate::children::Children;
use crate::context::SystemContext;
use crate::exit::ExitReason;
use crate::gauge::Gauge;
use crate::incarnation_future::spawn_outside;
use crate::launch::IncarnationLaunch;
use crate::mailbox::Mailbox;
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
        id: impl Into<String>,
        mailbox: &Mailbox<A>,
        factory: impl Fn(&StartContext<A>) -> A + Send + Sync + 'static,
    ) -> Self {
        Self::with(id.into(), Arc::new(TypedChild { mailbox: mailbox.clone(), factory: Arc::new(factory) }), None)
    }

    /// A supervisor with children of its own. It runs on the root's thread unless [`ChildSpec::on`] sets another, takes as long
    /// to stop as its children do, and is ready when the last of its children is. If its thread is replaced, its next incarnation
    /// reports the exits of the children that ran under the previous one.
    #[must_use]
    pub fn supervisor(id: impl Into<String>, mailbox: &Mailbox<Supervisor>, spec: SupervisorSpec) -> Self {
        let nested = NestedSupervisor {
            operate: mailbox.port(),
            #[cfg(feature = "fault-injection")]
            inject_fault: mailbox.port(),
            spec: spec.clone(),
        };
        let children = Children::new(spec);
        let shared = children.clone();
        let actor = TypedChild {
            mailbox: mailbox.clone(),
            factory: Arc::new(move |start: &StartContext<Supervisor>| Supervisor::new(shared.clone(), start)),
        };
        let mut child = Self::with(id.into(), Arc::new(SupervisorChild { actor, children }), Some(nested));
        child.grace = None;
        child.readiness = Readiness::Reported { within: Duration::MAX };
        child
    }
}

struct TypedChild<A: Actor> {
    mailbox: Mailbox<A>,
    factory: Arc<Factory<A>>,
}

impl<A: Actor<Context = Context<A>>> ErasedChild for TypedChild<A> {
    fn start(
        &self,
        launch: IncarnationLaunch,
        system: &SystemContext,
        cell: &Arc<StatusCell>,
        thread: &WorkerThread,
    ) -> Result<u64, ExitReason> {
        let incarnation = launch.incarnation.clone();
        let start = StartContext::new(incarnation, self.mailbox.clone(), system.clone(), Arc::clone(cell));
        let factory = Arc::clone(&self.factory);
        thread
            .run(system.beat_every(), move || {
                spawn_outside(Runner::new(launch, start, factory));
            })
            .map_err(|error| ExitReason::Error(format!("thread {} cannot be started: {error}", thread.name())))
    }

    fn drain(&self) {
        spawn_outside(self.mailbox.reader().drain());
    }

    fn gauge(&self) -> &Arc<Gauge> {
        self.mailbox.gauge()
    }
}

/// A supervisor that has stopped drains the mailboxes of its children as well.
struct SupervisorChild {
    actor: TypedChild<Supervisor>,
    children: Children,
}

impl ErasedChild for SupervisorChild {
    fn start(
        &self,
        launch: IncarnationLaunch,
        system: &SystemContext,
        cell: &Arc<StatusCell>,
        thread: &WorkerThread,
    ) -> Result<u64, ExitReason> {
        self.actor.start(launch, system, cell, thread)
    }

    fn drain(&self) {
        self.actor.drain();
        for child in self.children.spec().children {
            child.actor.drain();
        }
    }

    fn gauge(&self) -> &Arc<Gauge> {
        self.actor.gauge()
    }
}
