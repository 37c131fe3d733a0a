//! The connector of the model: its events until they are acknowledged, and the chats.

use std::collections::BTreeSet;
use std::fmt;

/// What a message to a chat is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Content {
    /// The answer to an event.
    Reply(usize),
    /// The question whether an interrupted event is to run again.
    Question(usize),
}

/// A message to a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ChatMessage {
    pub(super) content: Content,
    /// It is marked as a possible repeat.
    pub(super) repeat: bool,
}

impl fmt::Display for ChatMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, event) = match self.content {
            Content::Reply(event) => ("reply", event),
            Content::Question(event) => ("question", event),
        };
        write!(f, "{kind} {event} {}", if self.repeat { "repeat" } else { "new" })
    }
}

impl ChatMessage {
    /// Reads the action of a reply on disk, a JSON text.
    pub(super) fn parse(action: &str) -> Self {
        let [kind, event, mark] = action.trim_matches('"').split(' ').collect::<Vec<_>>()[..] else {
            unreachable!("{action:?}")
        };
        let event = event.parse().expect("the number of an event");
        let content = if kind == "reply" { Content::Reply(event) } else { Content::Question(event) };
        Self { content, repeat: mark == "repeat" }
    }
}

/// The connector. It outlives every process of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Connector {
    /// By event: the gateway has acknowledged it.
    acknowledged: Vec<bool>,
    /// Events before this one were sent over the present connection, or are acknowledged.
    sent: usize,
    chats: BTreeSet<Content>,
}

impl Connector {
    pub(super) fn new(events: usize) -> Self {
        Self { acknowledged: vec![false; events], sent: 0, chats: BTreeSet::new() }
    }

    /// A new connection: what is not acknowledged is sent again.
    pub(super) fn connected(&mut self) {
        self.sent = 0;
    }

    /// The next event to send.
    pub(super) fn next(&self) -> Option<usize> {
        (self.sent..self.acknowledged.len()).find(|event| !self.acknowledged[*event])
    }

    /// The next event is sent.
    pub(super) fn send(&mut self) -> Option<usize> {
        let event = self.next()?;
        self.sent = event + 1;
        Some(event)
    }

    pub(super) fn acknowledge(&mut self, event: usize) {
        self.acknowledged[event] = true;
    }

    pub(super) fn is_acknowledged(&self, event: usize) -> bool {
        self.acknowledged[event]
    }

    /// A message arrives in its chat. Whether it was there already.
    pub(super) fn show(&mut self, content: Content) -> bool {
        !self.chats.insert(content)
    }

    pub(super) fn shows(&self, content: Content) -> bool {
        self.chats.contains(&content)
    }
}
