//! What goes into the plan of a link, and what comes out of it.

use std::time::{Duration, Instant};

use super::messages::IdleAnswer;

/// The reason of a 4401 that says no more than that the token's time was over.
pub(super) const EXPIRED: &str = "expired";

/// When something happened, with a random number from `0.0..1.0` for the wait that may follow.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) now: Instant,
    pub(super) random: f64,
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LinkStep {
    /// Ask the profile what to dial.
    Prepare,
    /// Dial what the profile just said, as this generation, once every older socket is closed.
    Dial { generation: u64 },
    /// Name the identities.
    Hello,
    /// Ping the connector.
    Ping,
    /// Say `going_idle`.
    SayGoingIdle,
    /// Tell those who asked for it how going idle went.
    AnswerIdle(IdleAnswer),
    /// Close the connection or give up the dial; settle all who wait for it.
    Close(CloseWith),
}

/// What a connection is closed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseWith {
    /// We go.
    Away,
    /// The peer sent a line without an end in reach.
    TooBig,
}

/// What the profile said when asked what to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Prepared {
    /// There is something to dial with these credentials.
    Dialable { credentials: u64 },
    /// There is nothing to dial; why, if that is odd.
    Nothing(Option<String>),
    /// It did not answer.
    Silent,
}

/// Why a dial failed or a connection ended. The texts are for the operator and free of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Loss {
    /// Closed with 4401, or the upgrade refused with 401 or 403.
    Unauthorized { reason: String },
    /// The upgrade was refused, with the word that the next dial is to come after this long at the earliest.
    ToldToWait { reason: String, wait: Duration },
    /// A line above the limit.
    TooBig,
    /// Anything else.
    Other(String),
}

/// How far a connection goes when it goes idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idleness {
    /// For good: replies still leave over it, and it is not dialled again once it is gone.
    Leaving,
    /// It is closed, and dialled again when poked or after [`dormant`](super::timings::LinkTimings::dormant).
    Dormant,
}

/// Longest text of a loss, in characters: it is logged, shown and kept, and some of it is the connector's.
const MAX_TEXT: usize = 300;

/// A text that comes from outside, or holds something that does: short, and without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

impl Loss {
    /// How long the connector asked to be left alone.
    pub(super) fn ordered_wait(&self) -> Option<Duration> {
        match self {
            Self::ToldToWait { wait, .. } => Some(*wait),
            Self::Unauthorized { .. } | Self::TooBig | Self::Other(_) => None,
        }
    }

    /// As the view shows it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Unauthorized { reason } if reason.is_empty() => "the connector refused the credentials".into(),
            Self::Unauthorized { reason } => format!("the connector refused the credentials: {reason}"),
            Self::ToldToWait { reason, .. } => reason.clone(),
            Self::TooBig => "the connector sent a line above the limit".into(),
            Self::Other(text) => text.clone(),
        }
    }
}
