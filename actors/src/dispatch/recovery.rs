//! The state that a dispatcher reads at its start, except the waiting events: the running turns and the interrupted ones.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::ports::{DispatchPorts, GATE_TIMEOUT, MAX_ATTEMPTS};
use crate::drain::permit::messages::{ListTurns, RunningTurn};
use crate::hand_over::LEDGER_TIMEOUT;
use crate::settings::Interrupted;
use crate::turn::guard;
use caduceus_contract::messages::drain::{DrainView, GetDrain};
use caduceus_contract::messages::ledger::{InboundRow, InboundState, ListInbound, NoteRestart};
use caduceus_contract::share::DispatchShare;
use caduceus_contract::turn_id::TurnId;

/// Rows per request: a few milliseconds for the ledger, and for the dispatcher.
pub(super) const PAGE: usize = 500;
/// Most starts within [`RESTART_WINDOW`] that run interrupted turns again: with more, the turns themselves may crash the process.
pub(super) const MAX_RESTARTS: usize = 5;
const RESTART_WINDOW: Duration = Duration::from_mins(2);
/// Timeout of the search for agents that a killed gateway left behind.
const ORPHANS_TIMEOUT: Duration = Duration::from_secs(3);

/// The state that a dispatcher reads at its start, except the waiting events.
pub(super) struct RunningAtStart {
    /// Events of this dispatcher whose turn runs or was interrupted.
    pub(super) rows: Vec<InboundRow>,
    /// Running turns, also those of other dispatchers.
    pub(super) turns: Vec<RunningTurn>,
    /// The state of the gate.
    pub(super) gate: DrainView,
    /// Recent starts, including this one, that found interrupted turns; counted if those run again.
    pub(super) restarts: usize,
}

/// What follows for an event whose turn a crash interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterInterruption {
    RunAgain,
    /// It has run too often; the chat is notified.
    GiveUp,
    /// The chat is notified, and `/retry` runs it again.
    Ask,
    Drop,
}

impl AfterInterruption {
    /// By `turns.interrupted`, after so many `attempts`.
    pub(super) fn of(interrupted: Interrupted, attempts: u32) -> Self {
        match interrupted {
            Interrupted::Rerun if attempts < MAX_ATTEMPTS => Self::RunAgain,
            Interrupted::Rerun => Self::GiveUp,
            Interrupted::Ask => Self::Ask,
            Interrupted::Drop => Self::Drop,
        }
    }
}

/// Reads this state, and ends the agents of interrupted turns.
pub(super) async fn read_running(
    ports: Arc<DispatchPorts>,
    share: DispatchShare,
    interrupted: Interrupted,
    started_at_ms: i64,
) -> Result<RunningAtStart, String> {
    let (mut rows, mut after) = (Vec::<InboundRow>::new(), None);
    loop {
        // Those of another dispatcher may be turns that it is about to start.
        let request = ListInbound { share, states: vec![InboundState::Running], after, limit: PAGE };
        let page = ports.ledger.list_inbound.ask(request, LEDGER_TIMEOUT).await.map_err(|error| error.to_string())?;
        let page = page.map_err(|error| error.to_string())?;
        let last = page.len() < PAGE;
        after = page.last().map(|row| row.id);
        rows.extend(page);
        if last {
            break;
        }
    }
    let turns = ports.gate.turns.ask(ListTurns, GATE_TIMEOUT).await.map_err(|error| error.to_string())?;
    let running: HashSet<TurnId> = turns.iter().map(|running| running.ticket.id).collect();
    // A turn that never started has no agent, and is no sign of a turn that crashes the process.
    let runs_or_never_did = |turn: TurnId| running.contains(&turn) || ports.permits.never_started(turn);
    let is_interrupted = |row: &&InboundRow| !row.turn.is_some_and(runs_or_never_did);
    let orphans: Vec<TurnId> = rows.iter().filter(is_interrupted).filter_map(|row| row.turn).collect();
    let any_interrupted = rows.iter().any(|row| is_interrupted(&row));
    if !orphans.is_empty() {
        // Their guards end with the killed gateway. If a guard was killed too, its agent must not run beside the one that repeats
        // the work.
        let ended = tokio::task::spawn_blocking(move || guard::end_turns(&orphans, None, ORPHANS_TIMEOUT));
        ended.await.map_err(|error| error.to_string())?;
    }
    let mut restarts = 0;
    if interrupted == Interrupted::Rerun && any_interrupted {
        let note = NoteRestart { started_at_ms, within: RESTART_WINDOW };
        let noted = ports.ledger.note_restart.ask(note, LEDGER_TIMEOUT).await.map_err(|error| error.to_string())?;
        restarts = noted.map_err(|error| error.to_string())?;
    }
    let gate = ports.gate.view.ask(GetDrain, GATE_TIMEOUT).await.map_err(|error| error.to_string())?;
    Ok(RunningAtStart { rows, turns, gate, restarts })
}
