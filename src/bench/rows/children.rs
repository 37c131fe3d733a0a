//! The supervision library itself: temporary children, and a restart after a panic.

use std::time::{Duration, Instant};

use actix::prelude::*;
use anyhow::Context as _;
use caduceus_supervision::{
    ActorTasks, ChildExited, ChildSpec, Mailbox, Port, Restart, RestartPolicy, Root, RootHandle, RootOptions,
    StartChildren, Strategy, Supervisor, SupervisorSpec, WorkerThread,
};
use tokio::sync::oneshot;

use super::turns::micros_each;
use crate::bench::figure::{Figure, Goal, ratio};
use crate::bench::lab::Lab;
use crate::bench::load::Times;
use crate::bench::process;
use crate::bench::row::Row;

pub(super) const CHILD: Row = Row {
    name: "child",
    about: "a temporary child on its supervisor's thread, from its start to the report of its exit, beside running ones",
    run: |lab| System::new().block_on(children(lab)),
};
pub(super) const RESTART: Row = Row {
    name: "restart",
    about: "from a panic to the first answer of the next incarnation, across threads",
    run: |lab| System::new().block_on(restarts(lab)),
};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A child that ends when it has started, or stays.
struct Temporary {
    stays: bool,
}

impl Actor for Temporary {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if !self.stays {
            ctx.stop();
        }
    }
}

/// Starts children that end, `at_once` in one message, until `left` have ended. Children that stay are only started.
#[derive(Message)]
#[rtype(result = "()")]
struct RunChildren {
    left: usize,
    at_once: usize,
    stay: bool,
    done: oneshot::Sender<()>,
}

/// Requests the starts and receives the exits, as the dispatcher does: on the thread of the supervisor and of the children.
struct Requester {
    start: Port<StartChildren>,
    thread: WorkerThread,
    tasks: ActorTasks<Self>,
    number: u64,
    /// Children of the batch that are not started, or have not ended.
    open: usize,
    run: Option<RunChildren>,
}

impl Actor for Requester {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tasks.attach(ctx);
    }
}

impl Handler<RunChildren> for Requester {
    type Result = ();

    fn handle(&mut self, run: RunChildren, _: &mut Self::Context) {
        self.run = Some(run);
        self.next_batch();
    }
}

impl Handler<ChildExited> for Requester {
    type Result = ();

    fn handle(&mut self, _: ChildExited, _: &mut Self::Context) {
        self.finished(1);
    }
}

impl Requester {
    fn next_batch(&mut self) {
        let Some(run) = self.run.as_mut().filter(|run| run.left > 0) else {
            // The row has ended if there is no receiver.
            let _ = self.run.take().map(|run| run.done.send(()));
            return;
        };
        let (batch, stays) = (run.at_once.min(run.left), run.stay);
        run.left -= batch;
        self.open = batch;
        let specs = (0..batch).map(|_| {
            self.number += 1;
            let mailbox = Mailbox::new();
            let spec = ChildSpec::worker(format!("child-{}", self.number), &mailbox, move |_| Temporary { stays });
            spec.on(&self.thread).restart(Restart::Temporary)
        });
        let started = self.start.ask(StartChildren(specs.collect()), TIMEOUT);
        self.tasks.spawn(started, move |answers, requester, _| {
            let all = answers.is_ok_and(|answers| answers.iter().all(Result::is_ok));
            if !all {
                // Without an answer the row fails.
                requester.run = None;
            } else if stays {
                requester.finished(batch);
            }
        });
    }

    fn finished(&mut self, count: usize) {
        self.open = self.open.saturating_sub(count);
        if self.open == 0 {
            self.next_batch();
        }
    }
}

/// A supervisor of temporary children, and the requester, on one thread.
struct BenchTree {
    root: RootHandle,
    run: Port<RunChildren>,
}

impl BenchTree {
    fn start() -> anyhow::Result<Self> {
        let (requester, children) = (Mailbox::<Requester>::new(), Mailbox::<Supervisor>::new());
        let thread = WorkerThread::new("work");
        let dynamic = SupervisorSpec::new(Strategy::OneForOne).report_exits(requester.port());
        let (start, on) = (children.port(), thread.clone());
        let factory = move |_: &_| {
            let (tasks, start, thread) = (ActorTasks::default(), start.clone(), on.clone());
            Requester { start, thread, tasks, number: 0, open: 0, run: None }
        };
        let spec = SupervisorSpec::new(Strategy::OneForOne)
            .child(ChildSpec::worker("requester", &requester, factory).on(&thread))
            .child(ChildSpec::supervisor("children", &children, dynamic).on(&thread));
        Ok(Self { root: Root::start(spec, RootOptions::default())?, run: requester.port() })
    }

    async fn run(&self, children: usize, at_once: usize, stay: bool) -> anyhow::Result<()> {
        let (done, ended) = oneshot::channel();
        self.run.tell(RunChildren { left: children, at_once, stay, done })?;
        ended.await.context("children were not started")
    }

    async fn stop(self) {
        self.root.stop().await;
        self.root.join_threads(TIMEOUT).await;
    }
}

async fn children(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for running in lab.pick([1, 512, 5_000], [1, 8, 32]) {
        let tree = BenchTree::start()?;
        tree.run(running, 64, true).await?;
        let children = lab.pick(200_000, 50);
        for (at_once, case) in [(1, format!("{running} running")), (64, format!("{running} running, 64 at once"))] {
            let (began, cpu) = (Instant::now(), process::cpu(std::process::id())?);
            tree.run(children, at_once, false).await?;
            let (elapsed, cpu) = (began.elapsed(), process::cpu(std::process::id())?.saturating_sub(cpu));
            let number = |name, total| Figure::new("child", &*case, name, micros_each(total, children as u64), "µs");
            figures.extend([number("CPU a child", cpu).goal(Goal::AtMost(5.0)), number("time a child", elapsed)]);
        }
        tree.stop().await;
    }
    Ok(figures)
}

/// Panics on request, and answers otherwise.
struct Fragile;

#[derive(Message)]
#[rtype(result = "()")]
struct PanicOnce;

#[derive(Message)]
#[rtype(result = "()")]
struct Probe;

impl Actor for Fragile {
    type Context = Context<Self>;
}

impl Handler<PanicOnce> for Fragile {
    type Result = ();

    fn handle(&mut self, _: PanicOnce, _: &mut Self::Context) {
        panic!("crash requested");
    }
}

impl Handler<Probe> for Fragile {
    type Result = ();

    fn handle(&mut self, _: Probe, _: &mut Self::Context) {}
}

async fn restarts(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let mailbox = Mailbox::new();
    // Each crash is the first of its window: the first restart is immediate.
    let policy = RestartPolicy { max_restarts: u32::MAX, healthy_after: Duration::ZERO, ..RestartPolicy::default() };
    let child = ChildSpec::worker("fragile", &mailbox, |_| Fragile).on(&WorkerThread::new("work")).policy(policy);
    let root = Root::start(SupervisorSpec::new(Strategy::OneForOne).child(child), RootOptions::default())?;
    let (crash, answer) = (mailbox.port::<PanicOnce>(), mailbox.port::<Probe>());
    answer.ask(Probe, TIMEOUT).await?;
    // The reports of a thousand panics would cost more than the restarts.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (mut times, mut lost) = (Times::default(), 0_u64);
    for _ in 0..lab.pick(1_000, 20) {
        let began = Instant::now();
        crash.tell(PanicOnce)?;
        while answer.ask(Probe, TIMEOUT).await.is_err() {
            lost += 1;
        }
        times.add(began.elapsed());
    }
    std::panic::set_hook(hook);
    root.stop().await;
    root.join_threads(TIMEOUT).await;
    let number = |name, value, unit| Figure::new("restart", "", name, value, unit);
    Ok(vec![
        number("p50", times.percentile_ms(50.0) * 1_000.0, "µs"),
        number("p99", times.percentile_ms(99.0) * 1_000.0, "µs").goal(Goal::AtMost(200.0)),
        number("messages lost beside the one in hand", ratio(lost, 1), "").goal(Goal::AtMost(0.0)),
    ])
}
