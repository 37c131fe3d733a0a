//! The built-in agent for trials; repeats the message.

use std::sync::Arc;
use std::time::Instant;

use crate::profile::agent::{AgentResource, AgentSettings};
use crate::turn::backend::{AgentBackend, TurnFuture};
use crate::turn::command::TurnCommands;
use crate::turn::state::TurnState;
use caduceus_contract::messages::turn::TurnOutcome;

/// The backend `echo`; it has no keys of its own.
pub(super) const BACKEND: AgentBackend = AgentBackend { name: "echo", read: |_| Some(AgentResource::Nothing), run };

fn run<'a>(turn: &'a mut TurnState, _: &'a Arc<AgentSettings>, commands: &'a mut TurnCommands) -> TurnFuture<'a> {
    Box::pin(async move {
        turn.reply_stream.reply.finish(Some(&turn.work.event.text), Instant::now());
        turn.send_rest(commands).await;
        turn.verdict.stopped.map_or(TurnOutcome::Done, TurnOutcome::Stopped)
    })
}
