//! The messages of the gateway itself to a chat.

use caduceus_contract::messages::ledger::REFUSED_BY_DRAIN;
use caduceus_contract::messages::turn::{OPERATOR_STOPPED, StopCause};
use unicode_segmentation::UnicodeSegmentation as _;

/// Interrupted messages that one answer to `/retry` shows.
pub(super) const INTERRUPTED_SHOWN: usize = 5;
/// Characters of each of them.
const TEXT_SHOWN: usize = 60;

/// A message of the gateway itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Notice {
    /// A drain is in force, and the message is refused.
    Maintenance,
    /// A drain is in force, and the message is kept.
    Held,
    /// The event names a profile that is not served.
    UnservedProfile,
    /// Too many events wait in the session.
    QueueFull,
    /// The session is busy and does not queue.
    Busy,
    /// The turn could not be started, or failed.
    TurnFailed,
    /// A restart interrupted the turn.
    Interrupted,
    /// Restarts interrupted the turn too often.
    GivenUp,
    /// A reply was sent too often without a result, or is too old, or is unreadable.
    ReplyGivenUp,
    /// `/stop` stopped a turn.
    Stopped,
    /// An operator stopped the turn.
    StoppedByOperator,
    /// `/stop` without a running turn.
    NothingToStop,
    /// `/retry` without an interrupted event.
    NothingToRetry,
    /// `/retry` has run the newest of several events again: the texts of the others, newest first.
    MoreToRetry(Vec<String>),
    /// `/status`.
    Status {
        /// Whether this session has a turn running.
        running: bool,
        /// Turns running in the whole gateway.
        turns: usize,
        /// A drain is in force.
        draining: bool,
    },
}

impl Notice {
    /// The notice of a stop. `None` where another message reports it: the answer to `/stop`, the answer to the newer message, or
    /// the notice of the next start.
    pub(super) fn of_stop(cause: StopCause) -> Option<Self> {
        match cause {
            StopCause::Operator => Some(Self::StoppedByOperator),
            StopCause::Interrupt => Some(Self::Stopped),
            StopCause::Command | StopCause::Superseded | StopCause::Shutdown => None,
        }
    }

    /// The text for the chat.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Maintenance => {
                "The agent is in maintenance. Please send your message again in a little while.".into()
            }
            Self::Held => {
                "The agent is in maintenance. Your message is kept and will be answered after the maintenance.".into()
            }
            Self::UnservedProfile => "This gateway does not serve the profile this message is for.".into(),
            Self::QueueFull => "Too many messages are waiting here; this one was not accepted.".into(),
            Self::Busy => "The agent is still busy with your last message; this one was not accepted.".into(),
            Self::TurnFailed => "An internal error occurred in the gateway, and this message was not answered.".into(),
            Self::Interrupted => {
                "A restart interrupted the work on your last message. Send /retry to run it again.".into()
            }
            Self::GivenUp => "Restarts interrupted the work here too often, and this message was not answered.".into(),
            Self::ReplyGivenUp => "An earlier answer here, or a part of it, could not be delivered.".into(),
            Self::Stopped => "Stopped.".into(),
            Self::StoppedByOperator => OPERATOR_STOPPED.into(),
            Self::NothingToStop => "There is nothing to stop here.".into(),
            Self::NothingToRetry => "There is nothing to run again here.".into(),
            Self::MoreToRetry(texts) => more_to_retry(texts),
            Self::Status { running, turns, draining } => {
                let here = if *running { "The agent is working here" } else { "Nothing is running here" };
                let gate = if *draining { "; new messages wait or are refused for maintenance" } else { "" };
                format!("{here}; {turns} running in total{gate}.")
            }
        }
    }

    /// The reason in the log and in the ledger.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            // In the ledger this marks an event whose chat is notified after the drain.
            Self::Maintenance => REFUSED_BY_DRAIN,
            Self::Held => "held",
            Self::UnservedProfile => "unserved profile",
            Self::QueueFull => "queue full",
            Self::Busy => "busy",
            Self::TurnFailed => "failed",
            Self::Interrupted => "interrupted",
            Self::GivenUp => "too many attempts",
            Self::ReplyGivenUp => "reply given up",
            Self::StoppedByOperator => "stopped",
            Self::Stopped | Self::NothingToStop | Self::NothingToRetry | Self::MoreToRetry(_) | Self::Status { .. } => {
                "command"
            }
        }
    }

    /// Whether a chat gets it once in an interval: not answers to a command. One crash can interrupt many turns of one chat.
    pub(super) fn is_limited(&self) -> bool {
        match self {
            Self::Maintenance
            | Self::Held
            | Self::UnservedProfile
            | Self::QueueFull
            | Self::Busy
            | Self::Interrupted
            | Self::GivenUp
            | Self::ReplyGivenUp => true,
            Self::TurnFailed
            | Self::Stopped
            | Self::StoppedByOperator
            | Self::NothingToStop
            | Self::NothingToRetry
            | Self::MoreToRetry(_)
            | Self::Status { .. } => false,
        }
    }
}

/// The other interrupted messages of a chat, each in a line.
fn more_to_retry(texts: &[String]) -> String {
    let mut notice = "These messages were interrupted as well; /retry runs the first of them:".to_owned();
    for text in texts.iter().take(INTERRUPTED_SHOWN) {
        // Its lines and blanks as one blank each.
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut graphemes = line.graphemes(true);
        notice.extend(std::iter::once("\n- ").chain(graphemes.by_ref().take(TEXT_SHOWN)));
        if graphemes.next().is_some() {
            notice.push('…');
        }
    }
    if texts.len() > INTERRUPTED_SHOWN {
        notice.push_str("\n- …");
    }
    notice
}

/// The notice to a chat after a drain that refused `count` of its messages.
pub(super) fn refused(count: u64) -> String {
    let (messages, were) = if count == 1 { ("message", "was") } else { ("messages", "were") };
    format!(
        "The maintenance is over. {count} {messages} sent here meanwhile {were} not read; please send them again if you still need an answer."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_interrupted_messages_are_shown_in_a_line_each_and_cut() {
        let long = "ü".repeat(70);
        let texts = ["two\nlines", &long, "c", "d", "e", "f"].map(str::to_owned);
        let shown = Notice::MoreToRetry(texts[..2].to_vec()).text();
        let expected = format!("\n- two lines\n- {}…", "ü".repeat(60));
        assert!(shown.ends_with(&expected), "{shown}");
        let shown = Notice::MoreToRetry(texts.to_vec()).text();
        assert!(shown.ends_with("\n- c\n- d\n- e\n- …"), "{shown}");
    }
}
