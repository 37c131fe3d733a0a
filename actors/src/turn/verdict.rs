//! The outcome of a turn, derived from the events of its agent.

use std::time::Duration;

use crate::profile::agent::messages::SpawnError;
use caduceus_contract::messages::turn::{OPERATOR_STOPPED, StopCause, TurnOutcome};

/// The events of an agent that ran. Several are possible: the first in the order of [`TurnVerdict::outcome`] counts.
#[derive(Debug, Default)]
pub(super) struct TurnVerdict {
    /// It was stopped.
    pub(super) stopped: Option<StopCause>,
    /// Its output exceeded the limit.
    pub(super) too_much: bool,
    /// It ran longer than this.
    pub(super) timed_out: Option<Duration>,
    /// It reported its end, did not end, and was ended.
    pub(super) lingered: bool,
    /// Its exit.
    pub(super) exit: Option<Exit>,
    /// Why there is no answer, if one is due.
    pub(super) no_reply: Option<NoReply>,
}

/// Why an agent that ended without error has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoReply {
    /// Its output was empty.
    EmptyReply,
    /// It must use the protocol, and no line of its output did.
    UnparseableOutput,
}

/// The exit of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// With this code; 128 + n for signal n.
    Code(i32),
    /// Its guard was killed, and the agent with it.
    Killed,
    /// It did not end, despite SIGKILL.
    Never,
}

impl TurnVerdict {
    /// Whether the gateway is ending the agent.
    pub(super) fn is_ending(&self) -> bool {
        self.stopped.is_some() || self.too_much || self.timed_out.is_some() || self.lingered
    }

    /// The outcome if the turn was ended from outside, for any kind of agent.
    pub(super) fn ended_early(&self) -> Option<TurnOutcome> {
        if let Some(cause) = self.stopped {
            return Some(TurnOutcome::Stopped(cause));
        }
        if self.too_much {
            return Some(too_much());
        }
        self.timed_out.map(|limit| failed(format!("The agent took longer than {} and was stopped.", in_words(limit))))
    }

    pub(super) fn outcome(&self) -> TurnOutcome {
        if let Some(outcome) = self.ended_early() {
            return outcome;
        }
        match self.exit {
            _ if self.lingered => TurnOutcome::Done,
            Some(Exit::Code(0)) => match self.no_reply {
                None => TurnOutcome::Done,
                Some(NoReply::EmptyReply) => failed("The agent ended without an answer."),
                Some(NoReply::UnparseableOutput) => failed("The agent's answer could not be understood."),
            },
            Some(Exit::Code(code)) => failed(format!("The agent stopped with exit code {code}.")),
            Some(Exit::Killed | Exit::Never) | None => failed("The agent was killed."),
        }
    }
}

/// The mark at the end of an answer that was stopped half-way.
pub(super) fn mark_of(cause: StopCause) -> &'static str {
    match cause {
        StopCause::Command | StopCause::Interrupt | StopCause::Operator => "(stopped)",
        StopCause::Superseded => "(stopped for a newer message)",
        StopCause::Shutdown => "(stopped: the gateway is shutting down)",
    }
}

/// The notice of a stop, in addition to the mark; `None` if the chat is notified otherwise.
pub(super) fn notice_of(cause: StopCause) -> Option<&'static str> {
    match cause {
        StopCause::Interrupt => Some("Stopped."),
        StopCause::Operator => Some(OPERATOR_STOPPED),
        // The dispatcher answers `/stop`, the answer to the newer message follows, and the next start applies
        // `turns.interrupted` and notifies the chat.
        StopCause::Command | StopCause::Superseded | StopCause::Shutdown => None,
    }
}

/// The outcome of a turn whose answer the connector refused.
pub(super) fn refused() -> TurnOutcome {
    failed("The answer, or a part of it, could not be delivered: the chat refused it.")
}

/// The outcome of a turn whose agent did not start.
pub(super) fn not_started(error: &SpawnError) -> TurnOutcome {
    match error {
        SpawnError::NotACommand => no_agent(),
        SpawnError::CommandNotFound { .. } => cannot_run(),
        SpawnError::System(_) => failed("The agent could not be started; please try again later."),
    }
}

/// The outcome of a turn for which there is no agent.
pub(super) fn no_agent() -> TurnOutcome {
    failed("No agent is set up here.")
}

/// The outcome of a turn whose agent is configured in a way that cannot work.
pub(super) fn cannot_run() -> TurnOutcome {
    failed("The agent cannot be run.")
}

/// The outcome of a turn whose agent's output exceeded the limit.
pub(super) fn too_much() -> TurnOutcome {
    failed("The agent wrote more than 4 MiB and was stopped.")
}

/// The outcome of a turn whose profile did not answer.
pub(super) fn no_answer() -> TurnOutcome {
    failed("The agent could not be reached; please try again later.")
}

pub(super) fn failed(notice: impl Into<String>) -> TurnOutcome {
    TurnOutcome::Failed { notice: notice.into() }
}

fn in_words(length: Duration) -> String {
    match length.as_secs() {
        seconds if seconds >= 120 && seconds % 60 == 0 => format!("{} minutes", seconds / 60),
        1 => "1 second".to_owned(),
        seconds => format!("{seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(verdict: &TurnVerdict) -> String {
        match verdict.outcome() {
            TurnOutcome::Failed { notice } => notice,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_exit_code_0_is_a_success() {
        let exited = |code| TurnVerdict { exit: Some(Exit::Code(code)), ..TurnVerdict::default() };
        assert_eq!(exited(0).outcome(), TurnOutcome::Done);
        assert_eq!(notice(&exited(3)), "The agent stopped with exit code 3.");
        assert_eq!(
            notice(&TurnVerdict { exit: Some(Exit::Killed), ..TurnVerdict::default() }),
            "The agent was killed."
        );
    }

    #[test]
    fn an_agent_without_an_answer_has_failed_unless_a_stronger_reason_applies() {
        let no_reply = |no_reply, code| TurnVerdict {
            no_reply: Some(no_reply),
            exit: Some(Exit::Code(code)),
            ..TurnVerdict::default()
        };
        assert_eq!(notice(&no_reply(NoReply::EmptyReply, 0)), "The agent ended without an answer.");
        assert_eq!(notice(&no_reply(NoReply::UnparseableOutput, 0)), "The agent's answer could not be understood.");
        assert_eq!(notice(&no_reply(NoReply::UnparseableOutput, 2)), "The agent stopped with exit code 2.");
    }

    #[test]
    fn the_gateways_own_reason_takes_precedence_over_the_exit_code() {
        let exit = Some(Exit::Code(143));
        let stopped =
            TurnVerdict { stopped: Some(StopCause::Operator), too_much: true, exit, ..TurnVerdict::default() };
        assert_eq!(stopped.outcome(), TurnOutcome::Stopped(StopCause::Operator));
        assert!(notice(&TurnVerdict { too_much: true, exit, ..TurnVerdict::default() }).contains("4 MiB"));
        let timed_out = Some(Duration::from_mins(30));
        let late = TurnVerdict { timed_out, exit, ..TurnVerdict::default() };
        assert_eq!(notice(&late), "The agent took longer than 30 minutes and was stopped.");
        assert_eq!(TurnVerdict { lingered: true, exit, ..TurnVerdict::default() }.outcome(), TurnOutcome::Done);
    }

    #[test]
    fn the_chat_is_notified_of_every_stop_once() {
        let notified = |cause| notice_of(cause).is_some();
        assert!(notified(StopCause::Operator) && notified(StopCause::Interrupt));
        // The dispatcher, the newer message and the next start handle these.
        assert!(!notified(StopCause::Command) && !notified(StopCause::Superseded) && !notified(StopCause::Shutdown));
    }

    #[test]
    fn no_notice_contains_the_command() {
        let error = SpawnError::CommandNotFound { command: "/opt/agent".into(), reason: "no such file".into() };
        let TurnOutcome::Failed { notice } = not_started(&error) else { panic!("not failed") };
        assert!(!notice.contains("opt"), "{notice}");
    }
}
