//! What can go wrong with a chat completions server, whether it is worth another try, and what the chat gets of it.

use std::time::Duration;

use crate::profile::agent::messages::{CallBroken, CallError};
use crate::turn::verdict;
use caduceus_contract::messages::turn::TurnOutcome;
use caduceus_supervision::AskError;

/// Tries after the first one.
const RETRIES: u32 = 2;
/// Before the first of them; the second waits four times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A server that wants a longer pause than this is not asked again: that is too long for a chat.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// How an answer ended that is as whole as it will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// All was said.
    Whole,
    /// The model had to stop.
    OutOfLength,
    /// What came next was held back.
    Filtered,
}

/// Why there is no answer, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// The profile did not make the call.
    #[error(transparent)]
    Profile(#[from] CallError),
    /// The profile did not answer.
    #[error("the profile did not make the call: {0}")]
    NoProfile(AskError),
    /// The call came to nothing.
    #[error(transparent)]
    Call(#[from] CallBroken),
    /// The server did not take the request.
    #[error("the agent's server answered {status}: {message}")]
    Status {
        /// The status code.
        status: u16,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
        /// Its own words; for the log.
        message: String,
    },
    /// The server said in its answer that something went wrong.
    #[error("the agent's server reported an error: {message}")]
    Reported {
        /// Its own words; for the log.
        message: String,
        /// The status that it would have answered with, if it says so.
        status: Option<u16>,
    },
    /// The answer ended before its end.
    #[error("the answer of the agent's server broke off")]
    BrokeOff,
    /// A part of the answer makes no sense; without it the rest would have a hole.
    #[error("a chunk of the agent's server cannot be read: {0}")]
    Unreadable(String),
    /// The model ended before it said anything, and not by itself.
    #[error("the model ended before its first word: {0:?}")]
    Withheld(Ending),
    /// It is no answer.
    #[error("the answer of the agent's server makes no sense")]
    Nonsense,
    /// It is whole, and there is no word in it.
    #[error("there is no text in the answer of the agent's server")]
    NoText,
    /// It is longer than any reply may be.
    #[error("the answer of the agent's server is too long")]
    TooMuch,
}

impl Trouble {
    /// How long to wait before the next try; `None` if there is to be none. `tries` have failed; `chance` is from 0 to 1 and keeps
    /// the turns of a busy gateway from coming back all at once. Not to be asked once text of the answer was received.
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

    /// How a turn ends by it. `begun` says whether text of the answer came before. Nothing that the server said gets into the chat.
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
                "The agent's answer makes no sense.".to_owned()
            }
            Self::NoText => "The agent gave no answer.".to_owned(),
        };
        verdict::failed(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, retry_after: Option<u64>) -> Trouble {
        Trouble::Status { status, retry_after: retry_after.map(Duration::from_secs), message: "sk-secret".into() }
    }

    fn reported(status: Option<u16>) -> Trouble {
        Trouble::Reported { message: "sk-secret".into(), status }
    }

    #[test]
    fn what_may_pass_is_tried_twice_again_and_each_time_later() {
        let passing = [
            status(429, None),
            status(500, None),
            status(599, None),
            status(408, None),
            reported(Some(429)),
            reported(Some(502)),
            Trouble::BrokeOff,
            CallBroken::Unreachable(String::new()).into(),
            CallBroken::Silent(Duration::ZERO).into(),
            CallBroken::Broken(String::new()).into(),
        ];
        for trouble in passing {
            let pauses = [1, 2, 3].map(|tries| trouble.retry_in(tries, 1.0));
            assert_eq!(pauses, [Some(Duration::from_millis(500)), Some(Duration::from_secs(2)), None], "{trouble:?}");
            assert_eq!(trouble.retry_in(1, 0.0), Some(Duration::from_millis(250)));
        }
    }

    #[test]
    fn what_another_try_cannot_change_is_not_tried_again() {
        let lasting = [
            status(307, None),
            status(400, None),
            status(401, Some(1)),
            reported(None),
            reported(Some(401)),
            Trouble::Unreadable(String::new()),
            Trouble::Withheld(Ending::Filtered),
            CallBroken::Unfit(String::new()).into(),
            CallBroken::Redirect { status: 307, why: String::new() }.into(),
            Trouble::Nonsense,
            Trouble::NoText,
            Trouble::TooMuch,
            Trouble::NoProfile(AskError::Timeout),
            CallError::NotAServer.into(),
            CallBroken::TooLong(1).into(),
        ];
        for trouble in lasting {
            assert_eq!(trouble.retry_in(1, 1.0), None, "{trouble:?}");
        }
    }

    #[test]
    fn a_server_is_left_alone_for_as_long_as_it_wants_and_given_up_if_that_is_too_long() {
        assert_eq!(status(429, Some(7)).retry_in(1, 0.0), Some(Duration::from_secs(7)));
        assert_eq!(status(503, Some(0)).retry_in(2, 1.0), Some(Duration::from_secs(2)));
        assert_eq!(status(429, Some(31)).retry_in(1, 0.0), None);
    }

    #[test]
    fn no_notice_repeats_what_the_server_said() {
        for (trouble, begun) in [
            (status(401, None), false),
            (status(500, None), false),
            (reported(None), false),
            (reported(None), true),
            (Trouble::Unreadable("sk-secret".into()), false),
            (Trouble::Unreadable("sk-secret".into()), true),
            (CallBroken::Unfit("sk-secret".into()).into(), false),
            (CallBroken::Redirect { status: 307, why: "sk-secret".into() }.into(), false),
            (CallError::Unusable("sk-secret".into()).into(), false),
            (CallBroken::Broken("sk-secret".into()).into(), false),
        ] {
            let TurnOutcome::Failed { notice, .. } = trouble.outcome(begun) else {
                panic!("{trouble:?} is no failure")
            };
            assert!(!notice.contains("sk-secret") && !notice.is_empty(), "{notice}");
        }
    }
}
