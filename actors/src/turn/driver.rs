//! Runs one turn, from its agent to the last message in the chat.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::backends::BACKENDS;
use super::command::{TurnCommands, stopped};
use super::ports::TurnPorts;
use super::state::TurnState;
use super::verdict;
use super::work::TurnWork;
use caduceus_contract::messages::ledger::{HistoryEntry, LedgerError, LoadHistory};
use caduceus_contract::messages::turn::{TurnEnded, TurnOutcome};
use caduceus_contract::wire::session::SessionKey;
use caduceus_supervision::{AskError, Port};

/// Timeout of the ledger for a conversation, and the failures tolerated.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(10);
const HISTORY_TRIES: u32 = 10;
/// Attempts while the ledger accepts no writes, and their interval. A part of the file that cannot be read is refused in the same way.
const HISTORY_WAITS: u32 = 60;
const HISTORY_RETRY: Duration = Duration::from_secs(1);

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
        // Boxed, because few turns have a notice, and the future of each would have room for it.
        Box::pin(turn.notify_chat(notice.to_owned(), &mut commands)).await;
    }
    TurnEnded {
        id: turn.work.id,
        outcome,
        reply: turn.reply_stream.reply.into_text(),
        keep: turn.keep,
        replies: turn.delivery.take_results(),
    }
}

/// The conversation so far. Waits a minute for a ledger whose disk accepts no writes. A request that a restart of the ledger lost is sent
/// again; if all attempts fail, the turn runs without its history.
async fn history(ledger: Port<LoadHistory>, session: SessionKey, limit: usize) -> Vec<HistoryEntry> {
    let (mut lost, mut refused) = (0, 0);
    while lost < HISTORY_TRIES {
        match ledger.ask(LoadHistory { session: session.clone(), limit }, HISTORY_TIMEOUT).await {
            Ok(Ok(history)) => return history,
            Ok(Err(LedgerError::Unwritable(error))) if refused < HISTORY_WAITS => {
                if refused == 0 {
                    warn!(error, "turn waits for its history");
                }
                refused += 1;
                tokio::time::sleep(HISTORY_RETRY).await;
            }
            Err(AskError::Closed) => lost += 1,
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
        let agent = Arc::clone(&self.work.agent);
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
