//! The errors of a chat completions server, whether to repeat the request, and the notice to the chat.

use std::time::Duration;

use crate::profile::agent::messages::{CallBroken, CallError};
use crate::turn::verdict;
use caduceus_contract::messages::turn::TurnOutcome;
use caduceus_supervision::AskError;

/// Attempts after the first one.
const RETRIES: u32 = 2;
/// Before the first of them; the second waits four times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A request is not repeated if the server requests a longer pause than this: that is too long for a chat.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// The end of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The model finished.
    Whole,
    /// The model reached its limit.
    OutOfLength,
    /// The rest was filtered.
    Filtered,
}

/// Why there is no answer, or an incomplete one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnswerError {
    /// The profile did not make the call.
    #[error(transparent)]
    Profile(#[from] CallError),
    /// The profile did not answer.
    #[error("the profile did not make the call: {0}")]
    NoProfile(AskError),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallBroken),
    /// The server refused the request.
    #[error("the agent's server answered {status}: {message}")]
    Status {
        /// The status code.
        status: u16,
        /// The wait that it requests.
        retry_after: Option<Duration>,
        /// Its text; for the log.
        message: String,
    },
    /// The server reported an error in its answer.
    #[error("the agent's server reported an error: {message}")]
    Reported {
        /// Its text; for the log.
        message: String,
        /// The equivalent status, if it has one.
        status: Option<u16>,
    },
    /// The answer ended early.
    #[error("the answer of the agent's server broke off")]
    BrokeOff,
    /// A part of the answer is unreadable; without it the rest would have a gap.
    #[error("a chunk of the agent's server cannot be read: {0}")]
    Unreadable(String),
    /// The model ended before any text, because of its limit or a filter.
    #[error("the model ended before its first word: {0:?}")]
    Withheld(Ending),
    /// It is not an answer.
    #[error("the answer of the agent's server cannot be understood")]
    Nonsense,
    /// It is complete, without text.
    #[error("there is no text in the answer of the agent's server")]
    NoText,
    /// It is longer than the limit of a reply.
    #[error("the answer of the agent's server is too long")]
    TooMuch,
}

impl AnswerError {
    /// The wait before the next attempt; `None` if there is none. `tries` have failed; `chance` is from 0 to 1 and keeps
    /// the turns of a busy gateway from trying again all at once. Must not be called once text of the answer was received.
    pub(super) fn retry_in(&self, tries: u32, chance: f64) -> Option<Duration> {
        let asked_for = match self {
            Self::Status { status: 408 | 425 | 429 | 500..=599, retry_after, .. } => *retry_after,
            Self::Reported { status: Some(408 | 429 | 500..=599), .. } => None,
            Self::Call(CallBroken::Unreachable(_) | CallBroken::Silent(_) | CallBroken::Broken(_)) | Self::BrokeOff => {
                None
            }
            Self::Status { .. }
            | Self::Call(CallBroken::TooLong(_) | CallBroken::Unfit(_) | CallBroken::Redirect { .. })
            | Self::Profile(_)
            | Self::NoProfile(_)
            | Self::Reported { .. }
            | Self::Unreadable(_)
            | Self::Withheld(_)
            | Self::Nonsense
            | Self::NoText
            | Self::TooMuch => return None,
        };
        if tries > RETRIES || asked_for.is_some_and(|pause| pause > MAX_RETRY_AFTER) {
            return None;
        }
        let pause = FIRST_PAUSE * 4_u32.pow(tries.saturating_sub(1));
        Some(asked_for.unwrap_or_default().max(pause.mul_f64(0.5 + 0.5 * chance)))
    }

    /// The outcome of the turn. `begun`: text of the answer was received before. No text of the server gets into the chat.
    pub(super) fn outcome(&self, begun: bool) -> TurnOutcome {
        let notice = match self {
            Self::Profile(CallError::NotAServer) => return verdict::no_agent(),
            Self::Profile(CallError::Unusable(_)) => return verdict::cannot_run(),
            Self::Profile(CallError::NotNow(_)) | Self::NoProfile(_) => return verdict::no_answer(),
            Self::TooMuch | Self::Call(CallBroken::TooLong(_)) => return verdict::too_much(),
            Self::Unreadable(_) if begun => "The answer ends here: its next part could not be read.".to_owned(),
            _ if begun => "The answer broke off; this is all there is of it.".to_owned(),
            Self::Call(CallBroken::Unreachable(_)) => return verdict::no_answer(),
            Self::Call(CallBroken::Silent(_)) => "The agent did not answer in time; please try again later.".to_owned(),
            Self::Call(CallBroken::Broken(_)) | Self::BrokeOff => {
                "The agent's answer did not arrive; please try again later.".to_owned()
            }
            Self::Status { status: 429, .. } => "The agent has too much to do; please try again later.".to_owned(),
            Self::Status { status: status @ 500..=599, .. } => {
                format!("The agent's server failed with {status}; please try again later.")
            }
            Self::Status { status, .. } | Self::Call(CallBroken::Redirect { status, .. }) => {
                format!("The agent's server refused the request with {status}.")
            }
            Self::Withheld(Ending::OutOfLength) => {
                "The agent gave no answer: it reached the model's limit of length first.".to_owned()
            }
            Self::Withheld(_) => "The agent gave no answer: the model's content filter held it back.".to_owned(),
            Self::Reported { .. } => "The agent's server reported an error.".to_owned(),
            Self::Nonsense | Self::Unreadable(_) | Self::Call(CallBroken::Unfit(_)) => {
                "The agent's answer could not be understood.".to_owned()
            }
            Self::NoText => "The agent gave no answer.".to_owned(),
        };
        verdict::failed(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, retry_after: Option<u64>) -> AnswerError {
        AnswerError::Status { status, retry_after: retry_after.map(Duration::from_secs), message: "sk-secret".into() }
    }

    fn reported(status: Option<u16>) -> AnswerError {
        AnswerError::Reported { message: "sk-secret".into(), status }
    }

    #[test]
    fn temporary_errors_are_retried_twice_with_growing_waits() {
        let passing = [
            status(429, None),
            status(500, None),
            status(599, None),
            status(408, None),
            reported(Some(429)),
            reported(Some(502)),
            AnswerError::BrokeOff,
            CallBroken::Unreachable(String::new()).into(),
            CallBroken::Silent(Duration::ZERO).into(),
            CallBroken::Broken(String::new()).into(),
        ];
        for error in passing {
            let pauses = [1, 2, 3].map(|tries| error.retry_in(tries, 1.0));
            assert_eq!(pauses, [Some(Duration::from_millis(500)), Some(Duration::from_secs(2)), None], "{error:?}");
            assert_eq!(error.retry_in(1, 0.0), Some(Duration::from_millis(250)));
        }
    }

    #[test]
    fn permanent_errors_are_not_retried() {
        let lasting = [
            status(307, None),
            status(400, None),
            status(401, Some(1)),
            reported(None),
            reported(Some(401)),
            AnswerError::Unreadable(String::new()),
            AnswerError::Withheld(Ending::Filtered),
            CallBroken::Unfit(String::new()).into(),
            CallBroken::Redirect { status: 307, why: String::new() }.into(),
            AnswerError::Nonsense,
            AnswerError::NoText,
            AnswerError::TooMuch,
            AnswerError::NoProfile(AskError::Timeout),
            CallError::NotAServer.into(),
            CallBroken::TooLong(1).into(),
        ];
        for error in lasting {
            assert_eq!(error.retry_in(1, 1.0), None, "{error:?}");
        }
    }

    #[test]
    fn the_pause_that_a_server_requests_is_observed_and_a_too_long_one_ends_the_turn() {
        assert_eq!(status(429, Some(7)).retry_in(1, 0.0), Some(Duration::from_secs(7)));
        assert_eq!(status(503, Some(0)).retry_in(2, 1.0), Some(Duration::from_secs(2)));
        assert_eq!(status(429, Some(31)).retry_in(1, 0.0), None);
    }

    #[test]
    fn no_notice_contains_text_of_the_server() {
        for (error, begun) in [
            (status(401, None), false),
            (status(500, None), false),
            (reported(None), false),
            (reported(None), true),
            (AnswerError::Unreadable("sk-secret".into()), false),
            (AnswerError::Unreadable("sk-secret".into()), true),
            (CallBroken::Unfit("sk-secret".into()).into(), false),
            (CallBroken::Redirect { status: 307, why: "sk-secret".into() }.into(), false),
            (CallError::Unusable("sk-secret".into()).into(), false),
            (CallBroken::Broken("sk-secret".into()).into(), false),
        ] {
            let TurnOutcome::Failed { notice, .. } = error.outcome(begun) else { panic!("{error:?} is no failure") };
            assert!(!notice.contains("sk-secret") && !notice.is_empty(), "{notice}");
        }
    }
}
