//! The messages of the gateway itself to a chat.

use std::sync::Arc;

use caduceus_contract::link::Target;
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
    /// Too many events wait over the link.
    LinkFull,
    /// The session is busy and does not queue.
    Busy,
    /// The turn could not be started, or failed.
    TurnFailed,
    /// A restart interrupted the turn.
    Interrupted,
    /// Restarts interrupted the turn too often.
    GivenUp,
    /// A reply was sent again and refused, or is not sent again: it was sent too often, or is too old or unreadable.
    ReplyLost,
    /// `/stop` stopped a turn.
    Stopped,
    /// An operator stopped the turn.
    StoppedByOperator,
    /// `/stop` without a running turn.
    NothingToStop,
    /// `/retry` without an interrupted event.
    NothingToRetry,
    /// `/retry` has run the newest of several events again: the texts of others of one person.
    MoreToRetry {
        /// Newest first.
        texts: Vec<String>,
        /// There are more, of anyone.
        is_cut: bool,
    },
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
            Self::LinkFull => "Too many messages are waiting for the agent; this one was not accepted.".into(),
            Self::Busy => "The agent is still busy with your last message; this one was not accepted.".into(),
            Self::TurnFailed => "An internal error occurred in the gateway, and this message was not answered.".into(),
            Self::Interrupted => {
                "A restart interrupted the work on your last message. Send /retry to run it again.".into()
            }
            Self::GivenUp => "Restarts interrupted the work here too often, and this message was not answered.".into(),
            Self::ReplyLost => "An earlier answer here, or a part of it, could not be delivered.".into(),
            Self::Stopped => "Stopped.".into(),
            Self::StoppedByOperator => OPERATOR_STOPPED.into(),
            Self::NothingToStop => "There is nothing to stop here.".into(),
            Self::NothingToRetry => "There is nothing to run again here.".into(),
            Self::MoreToRetry { texts, is_cut } => lines_to_retry(texts, *is_cut),
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
            Self::LinkFull => "link full",
            Self::Busy => "busy",
            Self::TurnFailed => "failed",
            Self::Interrupted => "interrupted",
            Self::GivenUp => "too many attempts",
            Self::ReplyLost => "reply lost",
            Self::StoppedByOperator => "stopped",
            Self::Stopped
            | Self::NothingToStop
            | Self::NothingToRetry
            | Self::MoreToRetry { .. }
            | Self::Status { .. } => "command",
        }
    }

    /// Whether a chat gets it once in an interval: not answers to a command. One crash can interrupt many turns of one chat.
    pub(super) fn is_limited(&self) -> bool {
        match self {
            Self::Maintenance
            | Self::Held
            | Self::UnservedProfile
            | Self::QueueFull
            | Self::LinkFull
            | Self::Busy
            | Self::Interrupted
            | Self::GivenUp
            | Self::ReplyLost => true,
            Self::TurnFailed
            | Self::Stopped
            | Self::StoppedByOperator
            | Self::NothingToStop
            | Self::NothingToRetry
            | Self::MoreToRetry { .. }
            | Self::Status { .. } => false,
        }
    }
}

/// The notices of the other interrupted messages of a chat, which are given newest first: one for each person, recorded for that person, so
/// that each shows the words of the person that it belongs to in the ledger, and of no one else.
pub(super) fn more_to_retry(messages: Vec<(Arc<Target>, String)>) -> Vec<(Arc<Target>, Notice)> {
    let is_cut = messages.len() > INTERRUPTED_SHOWN;
    let mut people: Vec<(Arc<Target>, Vec<String>)> = Vec::new();
    for (target, text) in messages.into_iter().take(INTERRUPTED_SHOWN) {
        match people.iter_mut().find(|(of, _)| of.user_id == target.user_id) {
            Some((_, texts)) => texts.push(text),
            None => people.push((target, vec![text])),
        }
    }
    let last = people.len().saturating_sub(1);
    let notice = |(at, (target, texts))| (target, Notice::MoreToRetry { texts, is_cut: is_cut && at == last });
    people.into_iter().enumerate().map(notice).collect()
}

/// Some interrupted messages, each in a line.
fn lines_to_retry(texts: &[String], is_cut: bool) -> String {
    let mut notice =
        "These messages were interrupted as well. Send /retry once for each; the newest runs first:".to_owned();
    for text in texts {
        // Its lines and blanks as one blank each.
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut graphemes = line.graphemes(true);
        notice.extend(std::iter::once("\n- ").chain(graphemes.by_ref().take(TEXT_SHOWN)));
        if graphemes.next().is_some() {
            notice.push('…');
        }
    }
    if is_cut {
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
    use caduceus_contract::link::LinkId;

    use super::*;

    #[test]
    fn the_other_interrupted_messages_are_shown_in_a_line_each_and_cut() {
        let long = "ü".repeat(70);
        let texts = ["two\nlines", &long, "c", "d", "e", "f"].map(str::to_owned);
        let shown = Notice::MoreToRetry { texts: texts[..2].to_vec(), is_cut: false }.text();
        let expected = format!("\n- two lines\n- {}…", "ü".repeat(60));
        assert!(shown.ends_with(&expected), "{shown}");
        let shown = more_to_retry(texts.map(|text| (person("ann"), text)).to_vec()).remove(0).1.text();
        assert!(shown.ends_with("\n- c\n- d\n- e\n- …"), "{shown}");
    }

    fn person(user: &str) -> Arc<Target> {
        let user_id = Some(user.to_owned()).filter(|user| !user.is_empty());
        Arc::new(Target {
            link: LinkId::process(),
            platform: "discord".into(),
            bot_id: None,
            chat_id: "c".into(),
            scope_id: None,
            user_id,
            thread_id: None,
        })
    }

    #[test]
    fn a_notice_of_interrupted_messages_shows_those_of_one_person_and_is_recorded_for_that_person() {
        let messages = [("ann", "1"), ("bob", "2"), ("ann", "3"), ("", "4"), ("bob", "5"), ("ann", "6"), ("ann", "7")];
        let notices = more_to_retry(messages.map(|(user, text)| (person(user), text.to_owned())).to_vec());
        let of = |user: &str, texts: &[&str], is_cut| {
            let texts = texts.iter().map(|text| (*text).to_owned()).collect();
            (person(user), Notice::MoreToRetry { texts, is_cut })
        };
        let expected = [of("ann", &["1", "3"], false), of("bob", &["2", "5"], false), of("", &["4"], true)];
        assert_eq!(notices, expected);
        assert_eq!(more_to_retry(Vec::new()), []);
    }
}
