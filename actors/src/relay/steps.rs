//! The inputs and outputs of a link's plan.

use std::time::{Duration, Instant};

use super::messages::IdleAnswer;

/// The reason of a 4401 that means only that the token has expired.
pub(super) const EXPIRED: &str = "expired";

/// The time of an event, with a random number from `0.0..1.0` for the wait that may follow.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) now: Instant,
    pub(super) random: f64,
}

/// The steps to carry out, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LinkStep {
    /// Ask the profile what to dial.
    Prepare,
    /// Dial the profile's answer, as this generation, once every older socket is closed.
    Dial { generation: u64 },
    /// Send the hello of each identity.
    Hello,
    /// Ping the connector.
    Ping,
    /// Send `going_idle`.
    SendGoingIdle,
    /// Answer the requests to go idle.
    AnswerIdle(IdleAnswer),
    /// Close the connection or cancel the dial; answer all pending sends.
    Close(CloseWith),
}

/// The close code of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseWith {
    /// We are leaving.
    Away,
    /// The peer sent a line that is too long.
    TooBig,
}

/// The profile's answer to the question what to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Prepared {
    /// There is an address to dial with these credentials.
    Dialable { credentials: u64 },
    /// There is nothing to dial, with the reason if that is unexpected.
    Nothing(Option<String>),
    /// There was no answer.
    NoAnswer,
}

/// Why a dial failed or a connection ended. The texts are for the operator and free of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Loss {
    /// Closed with 4401, or the upgrade refused with 401 or 403.
    Unauthorized { reason: String },
    /// The upgrade was refused, with the earliest time of the next dial.
    AskedToWait { reason: String, wait: Duration },
    /// A line above the limit.
    TooBig,
    /// Anything else.
    Other(String),
}

/// How far a connection goes when it goes idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idleness {
    /// Permanently: replies still leave over it, and it is not dialled again after it has ended.
    Leaving,
    /// It is closed, and dialled again on a poke or after [`dormant`](super::timings::LinkTimings::dormant).
    Dormant,
}

/// Longest text of a loss, in characters: it is logged, shown and stored, and part of it is from the connector.
const MAX_TEXT: usize = 300;

/// A text from outside, shortened and without control characters for a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

impl Loss {
    /// The wait that the connector requested.
    pub(super) fn ordered_wait(&self) -> Option<Duration> {
        match self {
            Self::AskedToWait { wait, .. } => Some(*wait),
            Self::Unauthorized { .. } | Self::TooBig | Self::Other(_) => None,
        }
    }

    /// The text for the view.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Unauthorized { reason } if reason.is_empty() => "the connector refused the credentials".into(),
            Self::Unauthorized { reason } => format!("the connector refused the credentials: {reason}"),
            Self::AskedToWait { reason, .. } => reason.clone(),
            Self::TooBig => "the connector sent a line above the limit".into(),
            Self::Other(text) => text.clone(),
        }
    }
}
