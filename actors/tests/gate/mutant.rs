//! Gates with a planted error, in front of the real one: the test must detect them.

use actix::{Actor, Context, Handler};
use caduceus_contract::messages::drain::{BeginDrain, DrainBegun, GetDrain};
use caduceus_supervision::{Port, ResponseFuture};

use crate::tree::{TIMEOUT, TestGatePorts};

/// Answers with the number of turns, and closes the gate only afterwards.
struct EarlyAnswerGate {
    behind: TestGatePorts,
}

/// Closes the gate before it answers, but counts before it closes it.
struct EarlyCountGate {
    behind: TestGatePorts,
}

pub(crate) fn early_answer(behind: TestGatePorts) -> TestGatePorts {
    let begin = Port::from(EarlyAnswerGate { behind: behind.clone() }.start());
    TestGatePorts { begin, ..behind }
}

pub(crate) fn early_count(behind: TestGatePorts) -> TestGatePorts {
    let begin = Port::from(EarlyCountGate { behind: behind.clone() }.start());
    TestGatePorts { begin, ..behind }
}

impl Actor for EarlyAnswerGate {
    type Context = Context<Self>;
}

impl Handler<BeginDrain> for EarlyAnswerGate {
    type Result = ResponseFuture<DrainBegun>;

    fn handle(&mut self, order: BeginDrain, _: &mut Self::Context) -> Self::Result {
        let behind = self.behind.clone();
        ResponseFuture::new(async move {
            let count = count(&behind).await;
            caduceus_supervision::spawn(async move { behind.begin.ask(order, TIMEOUT).await });
            answer(count)
        })
    }
}

impl Actor for EarlyCountGate {
    type Context = Context<Self>;
}

impl Handler<BeginDrain> for EarlyCountGate {
    type Result = ResponseFuture<DrainBegun>;

    fn handle(&mut self, order: BeginDrain, _: &mut Self::Context) -> Self::Result {
        let behind = self.behind.clone();
        ResponseFuture::new(async move {
            let count = count(&behind).await;
            behind.begin.ask(order, TIMEOUT).await.expect("the gate answers");
            answer(count)
        })
    }
}

async fn count(behind: &TestGatePorts) -> usize {
    behind.view.ask(GetDrain, TIMEOUT).await.expect("the gate answers").active_agents
}

fn answer(active_agents: usize) -> DrainBegun {
    DrainBegun { requested_at: String::new(), active_agents, durable: true }
}
