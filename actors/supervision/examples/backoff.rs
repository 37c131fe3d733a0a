//! A child that fails at every start: it is restarted with a growing delay until its restart intensity is exceeded, and is started
//! again by a reset.
//!
//! `cargo run -p caduceus-supervision --example backoff`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::prelude::*;
use caduceus_supervision::{
    Backoff, ChildSpec, ChildState, ExitReason, Incarnation, Mailbox, Operate, OperatorCommand, RestartPolicy, Root,
    RootOptions, Strategy, SupervisorSpec, WhenExceeded,
};

const TIMEOUT: Duration = Duration::from_secs(1);

/// Needs a server that is down at first.
struct ServerClient {
    incarnation: Incarnation,
    server_up: Arc<AtomicBool>,
}

impl Actor for ServerClient {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if !self.server_up.load(Ordering::SeqCst) {
            self.incarnation.end_with(ExitReason::Error("the server is down".to_owned()));
            ctx.stop();
        }
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server_up = Arc::new(AtomicBool::new(false));
    let policy = RestartPolicy {
        max_restarts: 3,
        backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(1))?,
        when_exceeded: WhenExceeded::Fail,
        ..RestartPolicy::default()
    };
    let up = Arc::clone(&server_up);
    let client = ChildSpec::worker("client", &Mailbox::new(), move |start| ServerClient {
        incarnation: start.incarnation().clone(),
        server_up: Arc::clone(&up),
    });
    let spec = SupervisorSpec::new(Strategy::OneForOne).child(client.policy(policy));
    let root = Root::start(spec, RootOptions::default())?;
    let mut changes = root.board().changes();
    loop {
        let tree = root.board().snapshot();
        let Some(client) = tree.find("client") else {
            changes.changed().await?;
            continue;
        };
        println!("{:?}, generation {}, next in {:?} ms", client.state, client.generation, client.next_restart_in_ms);
        match client.state {
            ChildState::Failed => {
                println!("the server comes up; an operator resets the client");
                server_up.store(true, Ordering::SeqCst);
                let reset = Operate { path: "client".to_owned(), command: OperatorCommand::Reset };
                root.port().ask(reset, TIMEOUT).await??;
            }
            ChildState::Running => break,
            _ => changes.changed().await?,
        }
    }
    root.stop().await;
    Ok(())
}
