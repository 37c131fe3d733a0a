//! Handles the reports of runners, many at a time, and reports exits.

use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use actix::fut::ActorFuture;
use actix::{AsyncContext, Context};
use tokio::sync::mpsc::UnboundedReceiver;

use super::Supervisor;
use crate::child_event::ChildEvent;
use crate::plan::SupervisorEvent;
use crate::restart::Readiness;

/// Reports handled in one poll, before the thread's other actors are polled.
const BATCH: usize = 64;

/// Time until an exit is reported again that did not fit into the mailbox of the receiver.
const EXIT_RETRY: Duration = Duration::from_millis(20);

/// The future in the supervisor's context that handles the reports. What is done about all reports of one poll together is done
/// once: the board's subscribers are notified and the exits reported.
struct HandleEvents(UnboundedReceiver<ChildEvent>);

impl ActorFuture<Supervisor> for HandleEvents {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        supervisor: &mut Supervisor,
        ctx: &mut Context<Supervisor>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        let (mut handled, mut more) = (0, true);
        while more && handled < BATCH {
            // The supervisor holds a sender, so the channel stays open.
            match self.0.poll_recv(task) {
                Poll::Ready(Some(event)) => {
                    supervisor.on_child_event(event, ctx);
                    handled += 1;
                }
                Poll::Ready(None) | Poll::Pending => more = false,
            }
        }
        if handled > 0 {
            supervisor.publish();
            supervisor.report_new_exits(ctx);
        }
        if more {
            task.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Supervisor {
    /// Handles the reports from now on. Called when the supervisor starts.
    pub(super) fn receive_events(&mut self, ctx: &mut Context<Self>) {
        if let Some(received) = self.received.take() {
            ctx.spawn(HandleEvents(received));
        }
    }

    fn on_child_event(&mut self, event: ChildEvent, ctx: &mut Context<Self>) {
        match event {
            ChildEvent::Started { run } => {
                let Some(child) = self.plan.key_of(run).and_then(|key| self.running.get(key)) else { return };
                if child.spec.readiness == Readiness::Started {
                    self.decide(SupervisorEvent::Ready { run }, ctx);
                }
            }
            ChildEvent::Ready { run } => self.decide(SupervisorEvent::Ready { run }, ctx),
            ChildEvent::Ended { run, reason } => {
                // Reports of a superseded run are ignored.
                let Some(key) = self.plan.key_of(run) else { return };
                let reason = self.plan.counted_reason(run, reason);
                self.on_exit(key, reason.clone());
                self.decide(SupervisorEvent::Ended { run, reason }, ctx);
            }
        }
    }

    /// Reports the exits, unless earlier ones wait to be reported again: the order is kept.
    pub(super) fn report_new_exits(&mut self, ctx: &mut Context<Self>) {
        if !self.report_due {
            self.report_exits(ctx);
        }
    }

    pub(super) fn report_exits(&mut self, ctx: &mut Context<Self>) {
        self.report_due = self.exits.as_ref().is_some_and(|port| self.children.report_exits(port));
        if self.report_due {
            ctx.run_later(EXIT_RETRY, Self::report_exits);
        }
    }
}
