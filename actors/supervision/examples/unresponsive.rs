//! A thread that blocks is replaced, and its actor is fenced: what it sends afterwards is dropped.
//!
//! `cargo run -p caduceus-supervision --example unresponsive`

use std::time::Duration;

use actix::prelude::*;
use caduceus_supervision::{
    ChildSpec, Mailbox, Root, RootOptions, StartError, Strategy, SupervisorSpec, WorkerThread, install_panic_hook,
};

const TIMEOUT: Duration = Duration::from_secs(10);

struct Worker;

/// Blocks the thread for this long.
#[derive(Message)]
#[rtype(result = "()")]
struct Block(Duration);

/// Answers with the number of the thread.
#[derive(Message)]
#[rtype(result = "String")]
struct WhichThread;

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Block> for Worker {
    type Result = ();

    fn handle(&mut self, Block(length): Block, _: &mut Self::Context) {
        std::thread::sleep(length);
    }
}

impl Handler<WhichThread> for Worker {
    type Result = String;

    fn handle(&mut self, _: WhichThread, _: &mut Self::Context) -> String {
        format!("{:?}", std::thread::current().id())
    }
}

#[actix::main]
async fn main() -> Result<(), StartError> {
    install_panic_hook(str::to_owned);
    let worker = Mailbox::new();
    let spec = SupervisorSpec::new(Strategy::OneForOne)
        .child(ChildSpec::worker("worker", &worker, |_| Worker).on(&WorkerThread::new("work")));
    let options = RootOptions { unresponsive_after: Duration::from_millis(500), ..RootOptions::default() };
    let root = Root::start(spec, options)?;
    let (block, which) = (worker.port(), worker.port());
    println!("on {:?}", which.ask(WhichThread, TIMEOUT).await);
    println!("blocked for 2 s: {:?}", block.tell(Block(Duration::from_secs(2))));
    // Waits in the mailbox, and is answered on the new thread.
    println!("on {:?}", which.ask(WhichThread, TIMEOUT).await);
    let tree = root.board().snapshot();
    println!("last exit: {:?}", tree.children[0].last_exit.as_ref().map(|last| &last.text));
    root.stop().await;
    println!("{} threads left", root.join_threads(TIMEOUT).await);
    Ok(())
}
