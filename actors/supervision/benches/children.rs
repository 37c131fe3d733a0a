//! The cost of a temporary child, from its start to the report of its exit: prints figures and asserts none.
//!
//! `cargo bench -p caduceus-supervision`. The supervisor, the actor that requests the starts and receives the exits, and the
//! children share one worker thread, as the turns of the gateway do. CPU is that of the whole process, the median of several rounds.

use std::alloc::{GlobalAlloc, Layout, System as SystemAllocator};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use caduceus_supervision::{
    ActorTasks, ChildExited, ChildSpec, Mailbox, Port, Restart, Root, RootOptions, StartChildren, Strategy, Supervisor,
    SupervisorSpec, WorkerThread,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;

/// Longer than any request here takes.
const TIMEOUT: Duration = Duration::from_mins(1);
const ROUNDS: usize = 7;
const CHILDREN_PER_ROUND: usize = 4_096;

/// Counts the allocations of the process.
struct CountingAllocator;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[expect(unsafe_code, reason = "an allocator can be declared in no other way; it only counts")]
// SAFETY: every call is passed to the allocator of the system unchanged.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { SystemAllocator.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { SystemAllocator.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { SystemAllocator.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// When a child ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChildEnd {
    InStarted,
    /// As a turn does: a future in its context stops it.
    InLaterPoll,
    Never,
}

/// A temporary child.
struct BenchChild(ChildEnd);

impl Actor for BenchChild {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        match self.0 {
            ChildEnd::InStarted => ctx.stop(),
            ChildEnd::InLaterPoll => {
                let later = tokio::task::yield_now().into_actor(self);
                ctx.spawn(later.map(|(), _, ctx| ctx.stop()));
            }
            ChildEnd::Never => {}
        }
    }
}

/// Runs children, `at_once` at a time, until `count` have ended; with [`ChildEnd::Never`] until `count` have started.
#[derive(Message)]
#[rtype(result = "()")]
struct RunChildren {
    count: usize,
    at_once: usize,
    end: ChildEnd,
    done: oneshot::Sender<()>,
}

/// Requests the starts and receives the exits.
struct Requester {
    start: Port<StartChildren>,
    thread: WorkerThread,
    tasks: ActorTasks<Self>,
    started: u64,
    /// Children of the current batch that have not ended.
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
        self.ended(1);
    }
}

impl Requester {
    fn next_batch(&mut self) {
        let Some(run) = &mut self.run else { return };
        let batch = run.at_once.min(run.count);
        if batch == 0 {
            let done = self.run.take().map(|run| run.done.send(()));
            assert_eq!(done, Some(Ok(())), "the main thread waits");
            return;
        }
        run.count -= batch;
        self.open = batch;
        let end = run.end;
        let specs: Vec<_> = (0..batch).map(|_| self.spec(end)).collect();
        self.tasks.spawn(self.start.ask(StartChildren(specs), TIMEOUT), move |answers, requester, _| {
            assert!(answers.expect("the supervisor answers").iter().all(Result::is_ok), "all are started");
            if end == ChildEnd::Never {
                requester.ended(batch);
            }
        });
    }

    fn spec(&mut self, end: ChildEnd) -> ChildSpec {
        self.started += 1;
        // As long as the id of a turn.
        let id = format!("01934f6c-0000-7000-8000-{:012}", self.started);
        ChildSpec::worker(id, &Mailbox::new(), move |_| BenchChild(end)).on(&self.thread).restart(Restart::Temporary)
    }

    fn ended(&mut self, count: usize) {
        self.open -= count;
        if self.open == 0 {
            self.next_batch();
        }
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds and nanoseconds of one run")]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    seconds
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn measure(running: usize) {
    let (requester, children) = (Mailbox::<Requester>::new(), Mailbox::<Supervisor>::new());
    let thread = WorkerThread::new("work");
    let dynamic = SupervisorSpec::new(Strategy::OneForOne).report_exits(requester.port());
    let (start, on) = (children.port(), thread.clone());
    let factory = move |_: &_| Requester {
        start: start.clone(),
        thread: on.clone(),
        tasks: ActorTasks::default(),
        started: 0,
        open: 0,
        run: None,
    };
    let spec = SupervisorSpec::new(Strategy::OneForOne)
        .child(ChildSpec::worker("requester", &requester, factory).on(&thread))
        .child(ChildSpec::supervisor("children", &children, dynamic).on(&thread));
    let root = Root::start(spec, RootOptions::default()).expect("the tree is valid");
    let run_children = requester.port::<RunChildren>();
    let run = async |count, at_once, end| {
        let (done, answer) = oneshot::channel();
        run_children.tell(RunChildren { count, at_once, end, done }).expect("the requester runs");
        answer.await.expect("the requester reports the end");
    };
    run(running, 64, ChildEnd::Never).await;
    for end in [ChildEnd::InStarted, ChildEnd::InLaterPoll] {
        for at_once in [1, 64] {
            run(CHILDREN_PER_ROUND, at_once, end).await;
            let (mut cpu, mut allocations) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let (cpu_before, allocations_before) = (cpu_seconds(), ALLOCATIONS.load(Ordering::Relaxed));
                run(CHILDREN_PER_ROUND, at_once, end).await;
                let allocated = ALLOCATIONS.load(Ordering::Relaxed) - allocations_before;
                #[expect(clippy::cast_precision_loss, reason = "small counts")]
                let each = |total: f64| total / CHILDREN_PER_ROUND as f64;
                cpu.push(each((cpu_seconds() - cpu_before) * 1e6));
                #[expect(clippy::cast_precision_loss, reason = "small counts")]
                allocations.push(each(allocated as f64));
            }
            let end = format!("{end:?}");
            let (cpu, allocations) = (median(cpu), median(allocations));
            println!(
                "{running:>6} running {at_once:>3} at once {end:<12} {cpu:>8.2} µs CPU {allocations:>7.1} allocations"
            );
        }
    }
    root.stop().await;
    root.join_threads(TIMEOUT).await;
}

fn main() {
    System::new().block_on(async {
        for running in [1, 64, 512, 5_000] {
            measure(running).await;
        }
    });
}
