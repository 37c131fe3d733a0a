//! When a growing reply becomes messages: what to post, what to change, what to wait for.
//!
//! Where messages can be changed, one message grows; elsewhere a message is posted once nothing more fits into it. What is
//! posted or changed for the last time is an obligation, which its caller writes down first.

use std::time::{Duration, Instant};

use super::split::split;
use crate::relay::action::{ActionResult, allowed};
use crate::relay::descriptor::{Descriptor, LenUnit};

/// Between two changes of one message; platforms slow down whoever edits more often.
const GROW_EVERY: Duration = Duration::from_secs(1);
/// From the first word to the first message, so that a quick reply is one message and no edit.
const FIRST_AFTER: Duration = Duration::from_millis(700);

/// One reply on its way.
#[derive(Debug)]
pub(super) struct Reply {
    limit: usize,
    unit: LenUnit,
    /// Whether a message may grow.
    grows: bool,
    text: String,
    /// The text as messages, as of the last look.
    parts: Vec<String>,
    stale: bool,
    /// How far each message has come.
    shown: Vec<Shown>,
    /// When the text is next cut into messages; `None` before the first word. Cutting at every line of a flood would take
    /// the arbiter's time.
    look_at: Option<Instant>,
    /// When a message may grow again; `None` before the first one.
    grow_at: Option<Instant>,
    finished: bool,
}

/// One message of the reply in the chat.
#[derive(Debug, Default)]
struct Shown {
    /// `None` when the connector gave no name for it, so that it cannot be changed.
    message_id: Option<String>,
    content: String,
    /// It is done, or at least in the ledger.
    settled: bool,
    /// It may be in the chat although nobody said so.
    posted: bool,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Put a message into the chat and tell [`Reply::did`].
    Do(Deed),
    /// Nothing before this moment, unless there is more text.
    Wait(Instant),
    /// Nothing until there is more text.
    Idle,
    /// Everything said is out.
    Done,
}

/// One thing done for a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deed {
    /// Which message of the reply.
    part: usize,
    /// The message to change; a new one otherwise.
    pub(super) edits: Option<String>,
    /// Its text.
    pub(super) content: String,
    /// Whether this is the last word on this message, and so written down.
    pub(super) last: bool,
    /// The chat shows it already: it is written down as delivered and not sent.
    pub(super) shown_already: bool,
}

impl Reply {
    /// A reply to a platform that can do `descriptor`. `grows` may be denied, as for a reply that has no name to be changed by.
    pub(super) fn new(descriptor: &Descriptor, grows: bool) -> Self {
        Self {
            limit: descriptor.max_message_length,
            unit: descriptor.len_unit,
            grows: grows && allowed("edit", descriptor),
            text: String::new(),
            parts: Vec::new(),
            stale: false,
            shown: Vec::new(),
            look_at: None,
            grow_at: None,
            finished: false,
        }
    }

    /// All that was said.
    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }

    /// Adds what was said.
    pub(super) fn push(&mut self, text: &str, now: Instant) {
        if !text.is_empty() {
            self.text.push_str(text);
            self.stale = true;
            self.look_at.get_or_insert(now + FIRST_AFTER);
        }
    }

    /// Nothing more will be said. `last` is said still; one that repeats all that was said takes its place.
    pub(super) fn finish(&mut self, last: Option<&str>, now: Instant) {
        if let Some(last) = last {
            if last.starts_with(self.text()) {
                self.text.clear();
            }
            self.push(last, now);
        }
        self.finished = true;
        self.stale = true;
    }

    /// Nothing more will be said, and of what was said only what has begun to be posted is finished.
    pub(super) fn abandon(&mut self) {
        self.parts.truncate(self.shown.iter().filter(|shown| shown.posted).count());
        self.finished = true;
        self.stale = false;
    }

    /// What comes next. The caller does one deed at a time and reports it before it asks again.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        let due = self.look_at.unwrap_or(now);
        if self.stale && (self.finished || now >= due) {
            self.stale = false;
            self.look_at = Some(now + GROW_EVERY);
            self.parts = split(self.text.trim_end().trim_start_matches(['\n', '\r']), self.limit, self.unit);
            self.shown.resize_with(self.parts.len().max(self.shown.len()), Shown::default);
        }
        for part in 0..self.parts.len() {
            let whole = self.finished || part + 1 < self.parts.len();
            let step = if whole { self.complete(part) } else { self.grow(part, now) };
            if let Some(step) = step {
                return step;
            }
        }
        match () {
            () if self.finished => Step::Done,
            () if self.stale => Step::Wait(due),
            () => Step::Idle,
        }
    }

    /// A message to which nothing will be added.
    fn complete(&self, part: usize) -> Option<Step> {
        let (shown, content) = (&self.shown[part], &self.parts[part]);
        if shown.settled {
            return None;
        }
        let shown_already = shown.posted && shown.content == *content;
        let edits = shown.message_id.clone();
        Some(Step::Do(Deed { part, edits, content: content.clone(), last: true, shown_already }))
    }

    /// The message to which something may be added.
    fn grow(&self, part: usize, now: Instant) -> Option<Step> {
        let (shown, content) = (&self.shown[part], &self.parts[part]);
        let frozen = shown.posted && shown.message_id.is_none();
        if !self.grows || frozen || shown.settled || shown.content == *content {
            return None;
        }
        if let Some(due) = self.grow_at.filter(|due| *due > now) {
            return Some(Step::Wait(due));
        }
        let edits = shown.message_id.clone();
        Some(Step::Do(Deed { part, edits, content: content.clone(), last: false, shown_already: false }))
    }

    /// Reports what became of a deed.
    pub(super) fn did(&mut self, deed: &Deed, result: &ActionResult, now: Instant) {
        self.grow_at = Some(now + GROW_EVERY);
        let shown = &mut self.shown[deed.part];
        let refused = !result.success && !result.ambiguous;
        if deed.last && deed.edits.is_some() && refused && !deed.shown_already {
            // The message is gone or too old to be changed: the text goes out as a new one.
            *shown = Shown::default();
            return;
        }
        shown.settled = deed.last;
        if deed.edits.is_none() {
            shown.posted = !refused;
            shown.message_id.clone_from(&result.message_id);
        }
        if result.success {
            shown.content.clone_from(&deed.content);
        }
    }
}

#[cfg(test)]
mod tests;
