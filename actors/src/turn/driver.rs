//! Runs one turn, from the query of its agent to the last message in the chat.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, ready};
use tracing::warn;

use super::backends::BACKENDS;
use super::command::{TurnCommands, stopped};
use super::ports::TurnPorts;
use super::state::TurnState;
use super::verdict;
use super::work::TurnWork;
use crate::profile::agent::AgentSettings;
use crate::profile::agent::messages::GetAgent;
use caduceus_contract::messages::ledger::{HistoryEntry, LoadHistory};
use caduceus_contract::messages::turn::{TurnEnded, TurnOutcome};
use caduceus_contract::wire::session::SessionKey;
use caduceus_supervision::{AskError, Port};

/// Timeout of the profile for its agent's configuration.
const AGENT_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout of one request for it.
const AGENT_RETRY: Duration = Duration::from_secs(2);
/// Timeout of the ledger for a conversation, and the failures tolerated.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(10);
const HISTORY_TRIES: u32 = 10;

/// Runs `work`; all messages are in the ledger when it returns, the results of the last ones excepted.
pub(super) async fn run(work: TurnWork, ports: TurnPorts, mut commands: TurnCommands) -> TurnEnded {
    let mut turn = TurnState::new(work, ports);
    let mut outcome = turn.run(&mut commands).await;
    if outcome == TurnOutcome::Done && turn.reply_stream.reply.was_refused() {
        outcome = verdict::refused();
    }
    let notice = match &outcome {
        TurnOutcome::Done => None,
        TurnOutcome::Failed { notice, .. } => Some(notice.as_str()),
        TurnOutcome::Stopped(cause) => {
            turn.delivery.set_ending();
            verdict::notice_of(*cause)
        }
    };
    if let Some(notice) = notice {
        turn.notify_chat(notice.to_owned(), &mut commands).await;
    }
    TurnEnded {
        id: turn.work.id,
        outcome,
        reply: turn.reply_stream.reply.text().to_owned(),
        keep: turn.keep,
        replies: turn.delivery.take_results(),
    }
}

/// The configuration of the profile's agent. A profile that fails or hangs is restarted within seconds, so the request is repeated.
async fn get_agent(profile: Port<GetAgent>) -> Result<Arc<AgentSettings>, AskError> {
    let deadline = Instant::now() + AGENT_TIMEOUT;
    loop {
        let answer = profile.ask(GetAgent, AGENT_RETRY).await;
        if answer.as_ref().err() != Some(&AskError::Timeout) || Instant::now() > deadline {
            return answer;
        }
    }
}

/// The conversation so far. A request that a restart of the ledger lost is sent again; if all attempts fail, the turn runs
/// without its history.
async fn history(ledger: Port<LoadHistory>, session: SessionKey, limit: usize) -> Vec<HistoryEntry> {
    for _ in 0..HISTORY_TRIES {
        match ledger.ask(LoadHistory { session: session.clone(), limit }, HISTORY_TIMEOUT).await {
            Ok(Ok(history)) => return history,
            Err(AskError::Closed) => {}
            Ok(Err(error)) => {
                warn!(%error, "turn runs without its history");
                return Vec::new();
            }
            Err(error) => {
                warn!(%error, "turn runs without its history");
                return Vec::new();
            }
        }
    }
    warn!("ledger unavailable, turn runs without its history");
    Vec::new()
}

impl TurnState {
    async fn run(&mut self, commands: &mut TurnCommands) -> TurnOutcome {
        let answer = match self.work.agent.take() {
            Some(agent) => Either::Left(ready(Ok(agent))),
            None => Either::Right(get_agent(self.ports.agent.get.clone())),
        };
        let agent = tokio::select! {
            biased;
            cause = stopped(commands) => return TurnOutcome::Stopped(cause),
            agent = answer => agent,
        };
        let agent = match agent {
            Ok(agent) => agent,
            Err(error) => {
                warn!(turn = %self.work.id, %error, "profile did not return its agent's configuration");
                return verdict::no_answer();
            }
        };
        if agent.reads_history() {
            self.keep = agent.history();
            let history = history(self.ports.load_history.clone(), self.work.session.clone(), self.keep);
            self.work.history = tokio::select! {
                biased;
                cause = stopped(commands) => return TurnOutcome::Stopped(cause),
                history = history => history,
            };
        }
        match BACKENDS.iter().find(|backend| backend.name == agent.backend) {
            Some(backend) => (backend.run)(self, &agent, commands).await,
            None => verdict::no_agent(),
        }
    }
}
