//! The phases of a link: what is shown of each, and when each ends by itself.

use std::time::Duration;

use super::super::steps::Idleness;
use caduceus_contract::messages::relay::LinkState;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LinkPhase {
    /// `ask_at` is `None` while an answer of the profile is pending.
    Disabled {
        ask_at: Option<Duration>,
    },
    Preparing,
    Dialling {
        until: Duration,
    },
    Handshaking {
        until: Duration,
    },
    Up {
        since: Duration,
        last_seen: Duration,
        ping_at: Duration,
        idling: IdleProgress,
    },
    /// Without a connection.
    Idle {
        dial_at: Option<Duration>,
    },
    Waiting {
        until: Duration,
        /// The connector requested this wait; [`LinkPlan::wake`](super::LinkPlan::wake) does not shorten it.
        requested: bool,
    },
    Revoked {
        ask_at: Option<Duration>,
    },
}

/// The progress of the present connection towards idleness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum IdleProgress {
    NotRequested,
    Requested { how: Idleness, until: Duration },
    Left,
}

impl LinkPhase {
    /// The state as shown.
    pub(super) fn shown(&self) -> LinkState {
        match self {
            Self::Disabled { .. } => LinkState::Disabled,
            Self::Preparing | Self::Dialling { .. } => LinkState::Connecting,
            Self::Handshaking { .. } => LinkState::Handshaking,
            Self::Up { idling: IdleProgress::Left, .. } | Self::Idle { .. } => LinkState::Idle,
            Self::Up { .. } => LinkState::Connected,
            Self::Waiting { .. } => LinkState::Waiting,
            Self::Revoked { .. } => LinkState::Revoked,
        }
    }

    /// When the next dial is due, when waiting for it.
    pub(super) fn next_dial(&self) -> Option<Duration> {
        match self {
            Self::Waiting { until, .. } => Some(*until),
            Self::Idle { dial_at } => *dial_at,
            _ => None,
        }
    }

    /// When the phase needs a tick. A connection without any frame for `silence` has failed.
    pub(super) fn next_tick(&self, silence: Duration) -> Option<Duration> {
        match self {
            Self::Disabled { ask_at } | Self::Revoked { ask_at } => *ask_at,
            Self::Preparing => None,
            Self::Dialling { until } | Self::Handshaking { until } | Self::Waiting { until, .. } => Some(*until),
            Self::Idle { dial_at } => *dial_at,
            Self::Up { last_seen, ping_at, idling, .. } => {
                let due = (*ping_at).min(*last_seen + silence);
                Some(if let IdleProgress::Requested { until, .. } = idling { due.min(*until) } else { due })
            }
        }
    }
}
