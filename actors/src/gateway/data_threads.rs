//! The data threads: each has a dispatcher with its share of the chats, the turns of these chats, and some of the links.

use actix::{Context, Handler, Message};

use crate::dispatch::actor::DispatchActor;
use caduceus_contract::share::DispatchShare;
use caduceus_supervision::{Mailbox, Port, Supervisor, WorkerThread, port_to_all};

/// One data thread.
pub(super) struct DataThread {
    /// The chats of its dispatcher.
    pub(super) share: DispatchShare,
    pub(super) thread: WorkerThread,
    pub(super) dispatch: Mailbox<DispatchActor>,
    pub(super) turns: Mailbox<Supervisor>,
}

/// All of them, at least one.
pub(super) struct DataThreads {
    first: DataThread,
    others: Vec<DataThread>,
}

impl DataThreads {
    /// `number` threads, at least one.
    pub(super) fn new(number: usize) -> Self {
        let thread = |share: DispatchShare| DataThread {
            share,
            thread: WorkerThread::new(share.name("data")),
            dispatch: Mailbox::new(),
            turns: Mailbox::new(),
        };
        let others = DispatchShare::each(number).skip(1).map(thread).collect();
        let first = DispatchShare::each(number).next().unwrap_or(DispatchShare::ALL);
        Self { first: thread(first), others }
    }

    /// The first one. Its dispatcher does what is done once for all chats.
    pub(super) fn first(&self) -> &DataThread {
        &self.first
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &DataThread> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The thread of the link of this number: the links take turns, and that of the process, number 0, is on the first thread.
    pub(super) fn of_link(&self, number: usize) -> &WorkerThread {
        match (number % (1 + self.others.len())).checked_sub(1) {
            Some(other) => &self.others[other].thread,
            None => &self.first.thread,
        }
    }

    /// The port to each dispatcher, by number.
    pub(super) fn ports<M>(&self) -> Vec<Port<M>>
    where
        DispatchActor: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.iter().map(|data| data.dispatch.port()).collect()
    }

    /// One port to all dispatchers. The first answer for which `settles` holds is that of all.
    pub(super) fn port_to_all<M>(&self, settles: fn(&M::Result) -> bool) -> Port<M>
    where
        DispatchActor: Handler<M> + actix::Actor<Context = Context<DispatchActor>>,
        M: Message + Clone + Send + 'static,
        M::Result: Send + 'static,
    {
        port_to_all(self.ports(), settles)
    }

    /// One port to all dispatchers, for a notification.
    pub(super) fn notify_all<M>(&self) -> Port<M>
    where
        DispatchActor: Handler<M>,
        M: Message<Result = ()> + Clone + Send + 'static,
    {
        self.port_to_all(|()| false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_are_spread_over_the_threads_and_that_of_the_process_is_on_the_first() {
        let names =
            |threads: &DataThreads| (0..4).map(|link| threads.of_link(link).name().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&DataThreads::new(1)), ["data"; 4]);
        assert_eq!(names(&DataThreads::new(3)), ["data", "data-2", "data-3", "data"]);
    }
}
