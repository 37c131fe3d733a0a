//! The inputs and the steps of the plan of a link.

use std::time::Duration;

use caduceus_contract::messages::relay::IdleAnswer;

/// When something happened, on the clock of the actor, with a random number from `0.0..1.0` for a following wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) now: Duration,
    pub(super) random: f64,
}

/// The steps for the actor, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LinkStep {
    /// Ask the profile what to dial.
    Prepare,
    /// Dial the address of the profile's last answer, as this generation, once every older socket is closed.
    Dial { generation: u64 },
    /// Send the identities.
    Hello,
    /// Ping the connector.
    Ping,
    /// Send `going_idle`.
    SendGoingIdle,
    /// Answer the requests to go idle.
    AnswerIdle(IdleAnswer),
    /// Close the connection or end the dial; answer all pending requests.
    Close(CloseWith),
}

/// The close code of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseWith {
    /// The gateway ends the connection.
    Away,
    /// The peer sent a line above the limit.
    TooBig,
}

/// The answer of the profile to [`LinkStep::Prepare`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Prepared {
    /// An address to dial, with these credentials.
    Dialable { credentials: u64 },
    /// No address; the reason, if that is unexpected.
    Nothing(Option<String>),
    /// It did not answer.
    Silent,
}

/// Why a dial failed or a connection ended. The texts are for the operator and free of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Loss {
    /// Closed with 4401, or the upgrade refused with 401 or 403.
    Unauthorized { reason: String },
    /// The upgrade was refused, and the connector requests this wait before the next dial.
    WaitRequested { reason: String, wait: Duration },
    /// A line above the limit.
    TooBig,
    /// Anything else.
    Other(String),
}

/// The kinds of idleness of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Idleness {
    /// Replies are still sent over it. Once it has ended it is not dialled again.
    Leaving,
    /// It is closed, and dialled again when woken or after [`dormant`](super::timings::LinkTimings::dormant).
    Dormant,
}

/// Longest wait that a connector can request: a wait of a year is a mistake, and nothing else would end it.
const MAX_REQUESTED_WAIT: Duration = Duration::from_mins(5);

/// Longest text of a loss, in characters: it is logged, shown and stored, and part of it is from the connector.
const MAX_TEXT: usize = 300;

/// A text from outside, or with a part from outside: short, and without control characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

impl Loss {
    /// The wait that the connector requested, at most [`MAX_REQUESTED_WAIT`].
    pub(super) fn requested_wait(&self) -> Option<Duration> {
        match self {
            Self::WaitRequested { wait, .. } => Some(MAX_REQUESTED_WAIT.min(*wait)),
            Self::Unauthorized { .. } | Self::TooBig | Self::Other(_) => None,
        }
    }

    /// The text for the view.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Unauthorized { reason } if reason.is_empty() => "the connector refused the credentials".into(),
            Self::Unauthorized { reason } => format!("the connector refused the credentials: {reason}"),
            Self::WaitRequested { reason, .. } => reason.clone(),
            Self::TooBig => "the connector sent a line above the limit".into(),
            Self::Other(text) => text.clone(),
        }
    }
}
