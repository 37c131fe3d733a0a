//! A counter that panics on 13 and is restarted: `cargo run -p caduceus-supervision --example counter`.

use std::time::Duration;

use actix::prelude::*;
use caduceus_supervision::{
    Board, ChildSpec, ChildState, Mailbox, Root, RootOptions, StartError, Strategy, SupervisorSpec, Tree, TreeNode,
    WorkerThread, install_panic_hook,
};

const TIMEOUT: Duration = Duration::from_secs(1);

/// Its count is lost with each incarnation.
struct Counter(u64);

/// Adds, and answers with the sum.
#[derive(Message)]
#[rtype(result = "u64")]
struct Add(u64);

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Add> for Counter {
    type Result = u64;

    fn handle(&mut self, Add(number): Add, _: &mut Self::Context) -> u64 {
        assert_ne!(number, 13, "13 is a bug");
        self.0 += number;
        self.0
    }
}

#[actix::main]
async fn main() -> Result<(), StartError> {
    install_panic_hook(str::to_owned);
    let counter = Mailbox::new();
    let spec = SupervisorSpec::new(Strategy::OneForOne)
        .child(ChildSpec::worker("counter", &counter, |_| Counter(0)).on(&WorkerThread::new("work")));
    let root = Root::start(spec, RootOptions::default())?;
    let add = counter.port();
    for number in [1, 2, 13, 3] {
        println!("add {number}: {:?}", add.ask(Add(number), TIMEOUT).await);
        let tree = settled(&root.board()).await;
        show(&tree);
    }
    root.stop().await;
    show(&root.board().snapshot());
    let left = root.join_threads(TIMEOUT).await;
    println!("{:?}, {left} threads left", root.ended().await);
    Ok(())
}

/// The tree once no child is starting: an answer may come before the report of the start.
async fn settled(board: &Board) -> Tree {
    let mut changes = board.changes();
    loop {
        let tree = board.snapshot();
        if tree.walk().all(|node| node.state != ChildState::Starting) || changes.changed().await.is_err() {
            return tree;
        }
    }
}

fn show(tree: &TreeNode) {
    for node in tree.walk() {
        let last = node.last_exit.as_ref().map_or("-", |last| &last.text);
        println!("    {:8} {:?}, generation {}, last exit {last}", node.id, node.state, node.generation);
    }
}
