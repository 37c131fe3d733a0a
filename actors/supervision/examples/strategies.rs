//! The three strategies side by side, in one tree: `cargo run -p caduceus-supervision --example strategies`.

use actix::prelude::*;
use caduceus_supervision::{
    Board, ChildSpec, ChildState, Mailbox, Port, Root, RootOptions, StartError, Strategy, Supervisor, SupervisorSpec,
    TreeNode, install_panic_hook,
};

struct Part;

#[derive(Message)]
#[rtype(result = "()")]
struct Crash;

impl Actor for Part {
    type Context = Context<Self>;
}

impl Handler<Crash> for Part {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Self::Context) {
        panic!("crash requested");
    }
}

/// A supervisor of three parts, and a port to the second.
fn group(id: &str, strategy: Strategy) -> (ChildSpec, Port<Crash>) {
    let parts: [Mailbox<Part>; 3] = std::array::from_fn(|_| Mailbox::new());
    let second = parts[1].port();
    let spec = ["first", "second", "third"]
        .into_iter()
        .zip(parts)
        .fold(SupervisorSpec::new(strategy), |spec, (id, mailbox)| {
            spec.child(ChildSpec::worker(id, &mailbox, |_| Part))
        });
    (ChildSpec::supervisor(id, &Mailbox::<Supervisor>::new(), spec), second)
}

#[actix::main]
async fn main() -> Result<(), StartError> {
    install_panic_hook(str::to_owned);
    let (one_for_one, first) = group("one_for_one", Strategy::OneForOne);
    let (one_for_all, second) = group("one_for_all", Strategy::OneForAll);
    let (rest_for_one, third) = group("rest_for_one", Strategy::RestForOne);
    let spec = SupervisorSpec::new(Strategy::OneForOne).child(one_for_one).child(one_for_all).child(rest_for_one);
    let root = Root::start(spec, RootOptions::default())?;
    // A crash before the siblings have started would restart fewer.
    until(&root.board(), |tree| tree.walk().all(|node| node.state == ChildState::Running)).await;
    for port in [first, second, third] {
        if let Err(error) = port.tell(Crash) {
            println!("crash not sent: {error}");
        }
    }
    let expected = [1, 3, 2];
    until(&root.board(), |tree| restarts(tree) == expected).await;
    println!("restarts after a crash of the second of three:");
    for (strategy, restarts) in ["one for one", "one for all", "rest for one"].into_iter().zip(expected) {
        println!("    {strategy:14}{restarts}");
    }
    root.stop().await;
    Ok(())
}

/// Waits until the tree satisfies `condition`.
async fn until(board: &Board, condition: impl Fn(&TreeNode) -> bool) {
    let mut changes = board.changes();
    while !condition(&board.snapshot()) && changes.changed().await.is_ok() {}
}

/// Restarts in each group.
fn restarts(tree: &TreeNode) -> Vec<u64> {
    tree.children.iter().map(|group| group.children.iter().map(|part| part.restarts_total).sum()).collect()
}
