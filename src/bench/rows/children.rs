//! The supervision library itself: temporary children, and a restart after a panic.

use std::time::{Duration, Instant};

use actix::prelude::*;
use anyhow::Context as _;
use caduceus_supervision::{
    ChildExited, ChildSpec, Incarnation, Mailbox, Port, Restart, RestartPolicy, Root, RootHandle, RootOptions,
    StartChild, Strategy, Supervisor, SupervisorSpec, WorkerThread,
};
use tokio::sync::mpsc;

use super::turns::micros_each;
use crate::bench::figure::{Figure, Goal, ratio};
use crate::bench::lab::Lab;
use crate::bench::load::Times;
use crate::bench::process;
use crate::bench::row::Row;

pub(super) const CHILD: Row = Row {
    name: "child",
    about: "a temporary child, from its start to the report of its exit, beside running ones",
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
    incarnation: Incarnation,
}

impl Actor for Temporary {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.incarnation.ready();
        if !self.stays {
            ctx.stop();
        }
    }
}

/// Receives the reports of exits.
struct Exits(mpsc::UnboundedSender<()>);

impl Actor for Exits {
    type Context = Context<Self>;
}

impl Handler<ChildExited> for Exits {
    type Result = ();

    fn handle(&mut self, _: ChildExited, _: &mut Self::Context) {
        // The row has ended if there is no receiver.
        let _ = self.0.send(());
    }
}

/// A supervisor of temporary children.
struct BenchTree {
    root: RootHandle,
    start: Port<StartChild>,
    exits: mpsc::UnboundedReceiver<()>,
    thread: WorkerThread,
}

impl BenchTree {
    fn start() -> anyhow::Result<Self> {
        let (report, exits) = mpsc::unbounded_channel();
        let (boxed, children) = (Mailbox::<Exits>::with_limit(100_000), Mailbox::<Supervisor>::with_limit(100_000));
        let thread = WorkerThread::new("work");
        let dynamic = SupervisorSpec::new(Strategy::OneForOne).report_exits(boxed.port());
        let spec = SupervisorSpec::new(Strategy::OneForOne)
            .child(ChildSpec::worker("exits", &boxed, move |_| Exits(report.clone())).on(&thread))
            .child(ChildSpec::supervisor("children", &children, dynamic));
        let root = Root::start(spec, RootOptions::default())?;
        Ok(Self { root, start: children.port(), exits, thread })
    }

    async fn child(&self, id: String, stays: bool) -> anyhow::Result<()> {
        let mailbox = Mailbox::<Temporary>::new();
        let spec =
            ChildSpec::worker(id, &mailbox, move |start| Temporary { stays, incarnation: start.incarnation().clone() });
        self.start.ask(StartChild(spec.on(&self.thread).restart(Restart::Temporary)), TIMEOUT).await??;
        Ok(())
    }

    async fn stop(self) {
        self.root.stop().await;
        self.root.join_threads(TIMEOUT).await;
    }
}

async fn children(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for running in lab.pick([1, 512, 5_000], [1, 8, 32]) {
        let mut tree = BenchTree::start()?;
        for number in 0..running {
            tree.child(format!("stays-{number}"), true).await?;
        }
        let children = lab.pick(5_000_u64, 50);
        let (began, cpu) = (Instant::now(), process::cpu(std::process::id())?);
        for number in 0..children {
            tree.child(format!("ends-{number}"), false).await?;
            tree.exits.recv().await.context("no report of an exit")?;
        }
        let (elapsed, cpu) = (began.elapsed(), process::cpu(std::process::id())?.saturating_sub(cpu));
        let number = |name, value, unit| Figure::new("child", format!("{running} running"), name, value, unit);
        figures.extend([
            number("CPU a child", micros_each(cpu, children), "µs").goal(Goal::AtMost(5.0)),
            number("time a child", micros_each(elapsed, children), "µs"),
        ]);
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
