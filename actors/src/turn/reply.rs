//! When a growing reply becomes messages: what to post, what to change, what to wait for.
//!
//! Where messages can be changed, one message grows; elsewhere a message is posted once nothing more fits into it. What is
//! posted or changed for the last time is sent durably: its caller writes it down first.

use std::time::{Duration, Instant};

use super::split::{Cutter, RestOfText};
use caduceus_contract::wire::action::{ActionResult, allowed};
use caduceus_contract::wire::descriptor::Descriptor;

/// Between two changes of one message; platforms slow down a client that edits more often.
const GROW_EVERY: Duration = Duration::from_secs(1);
/// From the first word to the first message, so that a quick reply is one message and no edit.
const FIRST_AFTER: Duration = Duration::from_millis(700);

/// One reply on its way.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Reply {
    cutter: Cutter,
    /// Whether a message may grow.
    grows: bool,
    text: String,
    /// The message that is being made, as of the last look.
    part: Option<MessagePart>,
    /// Its way into the chat so far.
    shown: ShownMessage,
    /// There is text that the last look did not see.
    stale: bool,
    /// A message is done: the next one is looked for at once.
    more: bool,
    /// When the text is next looked at; `None` before the first word. Looking at every line of a flood would take the
    /// arbiter's time.
    look_at: Option<Instant>,
    /// When a message may grow again; `None` before the first one.
    grow_at: Option<Instant>,
    /// Something of it may be in the chat.
    begun: bool,
    finished: bool,
    /// It ends with the message that was begun, and this mark.
    abandoned: bool,
    mark: Option<&'static str>,
    /// That is yet to be seen to.
    to_cut: bool,
    /// The connector did not take a message of it.
    refused: bool,
}

/// One message, as the text gives it.
#[derive(Debug)]
struct MessagePart {
    content: String,
    /// Nothing can be added to it.
    whole: bool,
    /// What closes the fence that it leaves open because the agent did.
    close: String,
}

/// A message in the chat.
#[derive(Debug, Default)]
struct ShownMessage {
    /// `None` when the connector gave no name for it, so that it cannot be changed.
    message_id: Option<String>,
    content: String,
    /// It may be in the chat although no answer said so.
    posted: bool,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReplyStep {
    /// Put a message into the chat and tell [`Reply::did`].
    Do(ReplyAction),
    /// Nothing before this moment, unless there is more text.
    Wait(Instant),
    /// Nothing until there is more text.
    Idle,
    /// Everything said is out.
    Done,
}

/// One thing done for a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReplyAction {
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
            cutter: Cutter::new(descriptor.max_message_length, descriptor.len_unit),
            grows: grows && allowed("edit", descriptor),
            text: String::new(),
            part: None,
            shown: ShownMessage::default(),
            stale: false,
            more: false,
            look_at: None,
            grow_at: None,
            begun: false,
            finished: false,
            abandoned: false,
            mark: None,
            to_cut: false,
            refused: false,
        }
    }

    /// All that was said. Of a reply that was abandoned, what was let out.
    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }

    /// Whether the connector refused a message, so that the chat does not have all of the reply.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
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
            let more = last.strip_prefix(self.text());
            if more.is_some() {
                self.cutter.trim(&mut self.text);
            }
            self.push(more.unwrap_or(last), now);
        }
        self.finished = true;
        self.stale = true;
    }

    /// Nothing more will be said, although the agent had not come to its end: the code that it left open is closed.
    pub(super) fn finish_broken(&mut self, now: Instant) {
        if !self.finished {
            self.close_fence();
        }
        self.finish(None, now);
    }

    /// Nothing more will be said, and of what was said only what has begun to be posted is finished, with `mark` at its end.
    pub(super) fn abandon(&mut self, mark: Option<&'static str>) {
        if !std::mem::replace(&mut self.abandoned, true) {
            (self.mark, self.to_cut) = (mark, true);
        }
        self.finished = true;
        self.stale = true;
    }

    /// What comes next. The caller carries out one action at a time and reports it before it asks again.
    pub(super) fn next(&mut self, now: Instant) -> ReplyStep {
        // Not before: what was under way when it was abandoned has its answer by now.
        if std::mem::take(&mut self.to_cut) {
            self.cut_short();
        }
        let due = self.look_at.unwrap_or(now);
        if self.more || (self.stale && (self.finished || now >= due)) {
            self.look(now);
        }
        let step = self
            .part
            .as_ref()
            .and_then(|part| if part.whole { Some(self.complete(part)) } else { self.grow(part, now) });
        match step {
            Some(step) => step,
            None if self.finished => ReplyStep::Done,
            None if self.stale => ReplyStep::Wait(self.look_at.unwrap_or(now)),
            None => ReplyStep::Idle,
        }
    }

    /// Finds out what the next message is. One that is whole is not looked at again.
    fn look(&mut self, now: Instant) {
        (self.stale, self.more) = (false, false);
        self.look_at = Some(now + GROW_EVERY);
        if self.part.as_ref().is_some_and(|part| part.whole) {
            return;
        }
        let part = |content: String, whole, close| MessagePart { content, whole, close };
        self.part = if let Some(content) = self.cutter.full(&self.text, self.finished) {
            Some(part(content, true, String::new()))
        } else if self.finished {
            let rest = self.cutter.rest(&self.text);
            rest.map(|RestOfText { content, close }| part(content.trim_end().to_owned(), true, close))
        } else if self.grows {
            self.cutter.tail(&self.text).map(|tail| part(tail.trim_end().to_owned(), false, String::new()))
        } else {
            None
        };
    }

    /// A message to which nothing will be added.
    fn complete(&self, part: &MessagePart) -> ReplyStep {
        let (shown, content) = (&self.shown, &part.content);
        let shown_already = shown.posted && shown.content == *content;
        let edits = shown.message_id.clone();
        ReplyStep::Do(ReplyAction { edits, content: content.clone(), last: true, shown_already })
    }

    /// The message to which something may be added.
    fn grow(&self, part: &MessagePart, now: Instant) -> Option<ReplyStep> {
        let (shown, content) = (&self.shown, &part.content);
        let frozen = shown.posted && shown.message_id.is_none();
        if frozen || shown.content == *content {
            return None;
        }
        if let Some(due) = self.grow_at.filter(|due| *due > now) {
            return Some(ReplyStep::Wait(due));
        }
        let edits = shown.message_id.clone();
        Some(ReplyStep::Do(ReplyAction { edits, content: content.clone(), last: false, shown_already: false }))
    }

    /// Reports what became of an action.
    pub(super) fn did(&mut self, action: &ReplyAction, result: &ActionResult, now: Instant) {
        self.grow_at = Some(now + GROW_EVERY);
        let shown = &mut self.shown;
        let refused = !result.success && !result.ambiguous;
        if action.last && action.edits.is_some() && refused && !action.shown_already {
            // The message is gone or too old to be changed: the text goes out as a new one.
            *shown = ShownMessage::default();
            return;
        }
        if action.edits.is_none() {
            shown.posted = !refused;
            shown.message_id.clone_from(&result.message_id);
            self.begun |= !refused;
        }
        if result.success {
            shown.content.clone_from(&action.content);
        }
        if action.last {
            self.refused |= refused && !result.never_left;
            self.shown = ShownMessage::default();
            self.part = None;
            self.more = true;
        }
    }

    /// Takes away all but the message that was begun, and puts the mark at the end of what the chat has.
    fn cut_short(&mut self) {
        if !self.shown.posted {
            self.part = None;
        } else if !self.part.as_ref().is_some_and(|part| part.whole) {
            self.part = self.cutter.full(&self.text, true).map(|content| MessagePart {
                content,
                whole: true,
                close: String::new(),
            });
            if self.part.is_none() {
                self.close_fence();
            }
        }
        if self.part.is_some() || !self.shown.posted {
            self.cutter.drop_rest(&mut self.text);
        }
        if let Some(part) = &mut self.part {
            let close = std::mem::take(&mut part.close);
            append(part, &close, &self.cutter);
        }
        let Some(mark) = self.mark.filter(|_| self.begun) else { return };
        let mark = format!("\n\n{mark}");
        if !self.part.as_mut().is_some_and(|part| append(part, &mark, &self.cutter)) {
            self.text.push_str(&mark);
        }
    }

    fn close_fence(&mut self) {
        let close = self.cutter.close(&self.text);
        self.cutter.trim(&mut self.text);
        self.text.push_str(&close);
    }
}

/// Adds to a message, if there is room.
fn append(part: &mut MessagePart, more: &str, cutter: &Cutter) -> bool {
    let longer = format!("{}{more}", part.content);
    let fits = cutter.fits(&longer);
    if fits {
        part.content = longer;
    }
    fits
}

#[cfg(test)]
mod tests;
