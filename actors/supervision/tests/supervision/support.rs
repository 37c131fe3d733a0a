//! An actor that the test controls, and functions that wait for events under a ceiling.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::{Actor, ActorContext, Context, Handler, Message};
use caduceus_supervision::{
    Backoff, ChildSpec, ChildState, ExitReason, Fault, Incarnation, InjectFault, Mailbox, Operate, OperatorCommand,
    Port, ResponseFuture, RestartPolicy, Root, RootHandle, RootOptions, StartContext, Strategy, SupervisorSpec, Tree,
    TreeNode, WhenExceeded, install_panic_hook, spawn,
};
use tokio::sync::{oneshot, watch};

/// Far longer than any wait here takes on a loaded machine; only a defect of the library reaches it.
pub(crate) const CEILING: Duration = Duration::from_secs(20);

/// Longer than the pauses of a busy thread, and short enough for a test.
pub(crate) const UNRESPONSIVE_AFTER: Duration = Duration::from_millis(400);

/// Answers with the number of its generation.
#[derive(Message)]
#[rtype(result = "u64")]
pub(crate) struct Ping;

/// Panics in its handler.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct PanicNow;

/// Ends itself with this reason.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct EndWith(pub(crate) ExitReason);

/// Reports that it is ready.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ReportReady;

/// The handler blocks the thread for `length`, then sends a note to `to`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct BlockThenTell {
    pub(crate) length: Duration,
    pub(crate) to: Port<EventLine>,
}

/// Sends a note to `to` once `after` has completed, in a future outside the context: the response, or a spawned one.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct TellAfter {
    pub(crate) after: oneshot::Receiver<()>,
    pub(crate) to: Port<EventLine>,
    pub(crate) spawned: bool,
}

/// Runs this on the pool for blocking calls of the probe's thread.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CallBlocking(pub(crate) Box<dyn FnOnce() + Send>);

/// A line in an [`EventLog`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct EventLine(pub(crate) String);

/// What happened, in order: `+id` started, `-id` stopped when asked, `~id` dropped.
#[derive(Debug, Clone, Default)]
pub(crate) struct EventLog(Arc<watch::Sender<Vec<String>>>);

impl EventLog {
    pub(crate) fn write(&self, line: impl Into<String>) {
        self.0.send_modify(|lines| lines.push(line.into()));
    }

    /// The lines that begin with one of these marks.
    pub(crate) fn lines(&self, marks: &str) -> Vec<String> {
        self.0.borrow().iter().filter(|line| line.starts_with(|mark| marks.contains(mark))).cloned().collect()
    }

    pub(crate) async fn until(&self, line: &str) {
        let mut lines = self.0.subscribe();
        let seen = lines.wait_for(|lines| lines.iter().any(|one| one == line));
        within(line, seen).await.expect("the log is open");
    }
}

/// The actor under supervision.
pub(crate) struct ProbeActor {
    id: String,
    incarnation: Incarnation,
    log: EventLog,
    /// Counts what was handled, over all incarnations.
    handled: Arc<AtomicU64>,
}

impl Actor for ProbeActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.log.write(format!("+{}", self.id));
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.log.write(format!("-{}", self.id));
    }
}

impl Drop for ProbeActor {
    fn drop(&mut self) {
        self.log.write(format!("~{}", self.id));
    }
}

impl Handler<Ping> for ProbeActor {
    type Result = u64;
    fn handle(&mut self, _: Ping, _: &mut Self::Context) -> u64 {
        self.handled.fetch_add(1, Ordering::SeqCst);
        self.incarnation.generation()
    }
}

impl Handler<PanicNow> for ProbeActor {
    type Result = ();
    fn handle(&mut self, _: PanicNow, _: &mut Self::Context) {
        panic!("the secret is hunter2");
    }
}

impl Handler<EndWith> for ProbeActor {
    type Result = ();
    fn handle(&mut self, EndWith(reason): EndWith, ctx: &mut Self::Context) {
        self.incarnation.end_with(reason);
        ctx.stop();
    }
}

impl Handler<ReportReady> for ProbeActor {
    type Result = ();
    fn handle(&mut self, _: ReportReady, _: &mut Self::Context) {
        self.incarnation.ready();
    }
}

impl Handler<BlockThenTell> for ProbeActor {
    type Result = ();
    fn handle(&mut self, BlockThenTell { length, to }: BlockThenTell, _: &mut Self::Context) {
        std::thread::sleep(length);
        let sent = to.tell(EventLine("after the fence".to_owned()));
        self.log.write(format!("sent: {sent:?}"));
    }
}

impl Handler<TellAfter> for ProbeActor {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, TellAfter { after, to, spawned }: TellAfter, _: &mut Self::Context) -> Self::Result {
        let log = self.log.clone();
        let send = async move {
            after.await.expect("the test lets it continue");
            let sent = to.tell(EventLine("from outside".to_owned()));
            log.write(format!("sent: {sent:?}"));
        };
        if spawned {
            spawn(send);
            ResponseFuture::ready(())
        } else {
            ResponseFuture::new(send)
        }
    }
}

impl Handler<CallBlocking> for ProbeActor {
    type Result = ();
    fn handle(&mut self, CallBlocking(call): CallBlocking, _: &mut Self::Context) {
        drop(tokio::task::spawn_blocking(call));
    }
}

/// Writes notes into its log.
pub(crate) struct EventRecorder(pub(crate) EventLog);

impl Actor for EventRecorder {
    type Context = Context<Self>;
}

impl Handler<EventLine> for EventRecorder {
    type Result = ();
    fn handle(&mut self, EventLine(line): EventLine, _: &mut Self::Context) {
        self.0.write(line);
    }
}

/// A probe with its mailbox and its records.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) id: String,
    pub(crate) mailbox: Mailbox<ProbeActor>,
    pub(crate) log: EventLog,
    pub(crate) handled: Arc<AtomicU64>,
}

impl Subject {
    pub(crate) fn new(id: &str, log: &EventLog) -> Self {
        Self { id: id.to_owned(), mailbox: Mailbox::new(), log: log.clone(), handled: Arc::default() }
    }

    pub(crate) fn spec(&self) -> ChildSpec {
        let this = self.clone();
        ChildSpec::worker(self.id.clone(), &self.mailbox, move |start: &StartContext<ProbeActor>| ProbeActor {
            id: this.id.clone(),
            incarnation: start.incarnation().clone(),
            log: this.log.clone(),
            handled: Arc::clone(&this.handled),
        })
        .policy(unlimited())
    }

    pub(crate) async fn ping(&self) -> u64 {
        self.mailbox.port().ask(Ping, CEILING).await.expect("the probe answers")
    }

    pub(crate) fn crash(&self) {
        self.mailbox.port().tell(PanicNow).expect("the mailbox has room");
    }

    pub(crate) fn call_blocking(&self, call: impl FnOnce() + Send + 'static) {
        self.mailbox.port().tell(CallBlocking(Box::new(call))).expect("the mailbox has room");
    }

    pub(crate) fn end_with(&self, reason: ExitReason) {
        self.mailbox.port().tell(EndWith(reason)).expect("the mailbox has room");
    }
}

/// Practically unlimited restarts, with very short waits.
pub(crate) fn unlimited() -> RestartPolicy {
    RestartPolicy {
        max_restarts: 1_000_000,
        window: Duration::from_mins(1),
        backoff: Backoff::new(Duration::from_micros(10), Duration::from_millis(1))
            .expect("the floor is below the ceiling"),
        healthy_after: Duration::from_mins(1),
        when_exceeded: WhenExceeded::Escalate,
    }
}

/// One restart, then `when_exceeded`.
pub(crate) fn once(when_exceeded: WhenExceeded) -> RestartPolicy {
    RestartPolicy { max_restarts: 1, when_exceeded, ..unlimited() }
}

/// Faults allowed; a busy thread never counts as a hung one.
pub(crate) fn options() -> RootOptions {
    RootOptions { faults_allowed: true, unresponsive_after: CEILING, ..RootOptions::default() }
}

/// As [`options`], with a short time until a hang is detected.
pub(crate) fn with_hang_detection() -> RootOptions {
    RootOptions { unresponsive_after: UNRESPONSIVE_AFTER, ..options() }
}

/// Starts a tree from a valid specification.
pub(crate) fn start(spec: SupervisorSpec, options: RootOptions) -> RootHandle {
    Root::start(spec, options).expect("the tree starts")
}

/// A tree of one supervisor with these children.
pub(crate) fn tree(strategy: Strategy, children: impl IntoIterator<Item = ChildSpec>) -> RootHandle {
    hook();
    start(supervisor(strategy, children), options())
}

pub(crate) fn supervisor(strategy: Strategy, children: impl IntoIterator<Item = ChildSpec>) -> SupervisorSpec {
    children.into_iter().fold(SupervisorSpec::new(strategy), SupervisorSpec::child)
}

/// The panic hook of this test binary, with a redactor for one secret.
pub(crate) fn hook() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        install_panic_hook(|text| {
            // Without a tracing subscriber a failed assertion would not be printed.
            eprintln!("{text}");
            text.replace("hunter2", "[redacted]")
        });
    });
}

/// Waits under the ceiling; `what` names the missing event.
pub(crate) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    actix::clock::timeout(CEILING, wait).await.unwrap_or_else(|_| panic!("timed out waiting for {what}"))
}

/// Waits until the tree satisfies `condition`.
pub(crate) async fn until(root: &RootHandle, what: &str, condition: impl Fn(&TreeNode) -> bool) -> Tree {
    let board = root.board();
    let mut changes = board.changes();
    let seen = async {
        loop {
            changes.borrow_and_update();
            let tree = board.snapshot();
            if condition(&tree) {
                return tree;
            }
            changes.changed().await.expect("the board outlives the test");
        }
    };
    let seen = actix::clock::timeout(CEILING, seen).await;
    seen.unwrap_or_else(|_| panic!("timed out waiting for {what}; the tree is {:#?}", board.snapshot()))
}

/// Waits until the child at `path` satisfies `condition`.
pub(crate) async fn until_node(
    root: &RootHandle,
    path: &str,
    what: &str,
    condition: impl Fn(&TreeNode) -> bool,
) -> TreeNode {
    let tree = until(root, &format!("{path} {what}"), |tree| tree.find(path).is_some_and(&condition)).await;
    tree.find(path).expect("it was just found").clone()
}

pub(crate) async fn until_state(root: &RootHandle, path: &str, state: ChildState) -> TreeNode {
    until_node(root, path, &format!("{state:?}"), |node| node.state == state).await
}

/// Waits until the child runs in at least this generation.
pub(crate) async fn until_generation(root: &RootHandle, path: &str, generation: u64) -> TreeNode {
    let condition = |node: &TreeNode| node.generation >= generation && node.state == ChildState::Running;
    until_node(root, path, &format!("generation {generation}"), condition).await
}

pub(crate) fn last_word(node: &TreeNode) -> &str {
    node.last_exit.as_ref().map_or("", |last| &last.word)
}

pub(crate) async fn operate(root: &RootHandle, path: &str, command: OperatorCommand) {
    let answer = root.port().ask(Operate { path: path.to_owned(), command }, CEILING).await;
    answer.expect("the root answers").expect("the command is accepted");
}

pub(crate) async fn inject(root: &RootHandle, path: &str, fault: Fault) {
    let answer = root.port().ask(InjectFault { path: path.to_owned(), fault }, CEILING).await;
    answer.expect("the root answers").expect("the fault is accepted");
}
