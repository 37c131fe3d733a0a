//! When a growing reply becomes messages: which to post, which to edit, when to wait.
//!
//! If messages can be edited, one message grows; otherwise a message is posted once nothing more fits into it. A message that is
//! posted or edited for the last time is sent durably: its caller records it first.

use std::time::{Duration, Instant};

use super::split::{ReplySplitter, RestOfText};
use caduceus_contract::wire::action::{ActionResult, allowed};
use caduceus_contract::wire::descriptor::Descriptor;

/// Interval of edits of one message; platforms throttle a client that edits more often.
const GROW_EVERY: Duration = Duration::from_secs(1);
/// From the first text to the first message, so that a quick reply is one message without an edit.
const FIRST_AFTER: Duration = Duration::from_millis(700);

/// One reply in progress.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Reply {
    splitter: ReplySplitter,
    /// Whether a message may grow.
    grows: bool,
    text: String,
    /// The current message, as of the last update.
    part: Option<MessagePart>,
    /// Its state in the chat.
    shown: ShownMessage,
    /// There is text since the last update.
    stale: bool,
    /// A message is complete: the next one is determined at once.
    more: bool,
    /// The time of the next update; `None` before the first text. An update at every line of a flood would take too much of the
    /// arbiter's time.
    update_at: Option<Instant>,
    /// When a message may grow again; `None` before the first one.
    grow_at: Option<Instant>,
    /// A part of it may be in the chat.
    begun: bool,
    finished: bool,
    /// It ends with the message that was begun, and this mark.
    abandoned: bool,
    mark: Option<&'static str>,
    /// The end is not applied yet.
    cut_pending: bool,
    /// The connector refused a message of it.
    refused: bool,
}

/// One message, as derived from the text.
#[derive(Debug)]
struct MessagePart {
    content: String,
    /// Nothing can be added to it.
    whole: bool,
    /// Closes the fence that is left open because the agent did.
    close: String,
}

/// A message in the chat.
#[derive(Debug, Default)]
struct ShownMessage {
    /// `None` if the connector gave no id for it, so that it cannot be edited.
    message_id: Option<String>,
    content: String,
    /// It may be in the chat although there was no answer.
    posted: bool,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReplyStep {
    /// Put a message into the chat and call [`Reply::report`].
    Do(ReplyAction),
    /// Nothing before this time, unless there is more text.
    Wait(Instant),
    /// Nothing until there is more text.
    Idle,
    /// The whole text is sent.
    Done,
}

/// One action for a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReplyAction {
    /// The message to edit; a new one otherwise.
    pub(super) edits: Option<String>,
    /// Its text.
    pub(super) content: String,
    /// Whether this is the final state of the message, and so recorded.
    pub(super) last: bool,
    /// The chat shows it already: it is recorded as delivered and not sent.
    pub(super) shown_already: bool,
}

impl Reply {
    /// A reply to a platform with this `descriptor`. `grows` may be false, for a reply without an id by which it can be edited.
    pub(super) fn new(descriptor: &Descriptor, grows: bool) -> Self {
        Self {
            splitter: ReplySplitter::new(descriptor.max_message_length, descriptor.len_unit),
            grows: grows && allowed("edit", descriptor),
            text: String::new(),
            part: None,
            shown: ShownMessage::default(),
            stale: false,
            more: false,
            update_at: None,
            grow_at: None,
            begun: false,
            finished: false,
            abandoned: false,
            mark: None,
            cut_pending: false,
            refused: false,
        }
    }

    /// The whole text. Of an abandoned reply, the part that was sent.
    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }

    /// As [`Reply::text`], for the end of the turn.
    pub(super) fn into_text(mut self) -> String {
        let end = self.text.trim_end().len();
        self.text.truncate(end);
        let start = self.text.len() - self.text.trim_start().len();
        self.text.drain(..start);
        self.text
    }

    /// Whether the connector refused a message, so that the chat does not have the whole reply.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }

    /// Adds text.
    pub(super) fn push(&mut self, text: &str, now: Instant) {
        if !text.is_empty() {
            self.text.push_str(text);
            self.stale = true;
            self.update_at.get_or_insert(now + FIRST_AFTER);
        }
    }

    /// The text ends. `last` is added; if it repeats the whole text, it replaces it.
    pub(super) fn finish(&mut self, last: Option<&str>, now: Instant) {
        if let Some(last) = last {
            let more = last.strip_prefix(self.text());
            if more.is_some() {
                self.splitter.trim(&mut self.text);
            }
            self.push(more.unwrap_or(last), now);
        }
        self.finished = true;
        self.stale = true;
    }

    /// The text ends, although the agent did not finish: open code is closed.
    pub(super) fn finish_broken(&mut self, now: Instant) {
        if !self.finished {
            self.close_fence();
        }
        self.finish(None, now);
    }

    /// The text ends, and only the message that has begun to be posted is finished, with `mark` at its end.
    pub(super) fn abandon(&mut self, mark: Option<&'static str>) {
        if !std::mem::replace(&mut self.abandoned, true) {
            (self.mark, self.cut_pending) = (mark, true);
        }
        self.finished = true;
        self.stale = true;
    }

    /// The next step. The caller carries out one action at a time and reports it before the next call.
    pub(super) fn next(&mut self, now: Instant) -> ReplyStep {
        // Not before: the action that was running when it was abandoned is answered by now.
        if std::mem::take(&mut self.cut_pending) {
            self.cut_at_shown();
        }
        let due = self.update_at.unwrap_or(now);
        if self.more || (self.stale && (self.finished || now >= due)) {
            self.update_part(now);
        }
        let step = self
            .part
            .as_ref()
            .and_then(|part| if part.whole { Some(self.complete(part)) } else { self.grow(part, now) });
        match step {
            Some(step) => step,
            None if self.finished => ReplyStep::Done,
            None if self.stale => ReplyStep::Wait(self.update_at.unwrap_or(now)),
            None => ReplyStep::Idle,
        }
    }

    /// Determines the next message. A complete one is not determined again.
    fn update_part(&mut self, now: Instant) {
        (self.stale, self.more) = (false, false);
        self.update_at = Some(now + GROW_EVERY);
        if self.part.as_ref().is_some_and(|part| part.whole) {
            return;
        }
        let part = |content: String, whole, close| MessagePart { content, whole, close };
        self.part = if let Some(content) = self.splitter.full(&self.text, self.finished) {
            Some(part(content, true, String::new()))
        } else if self.finished {
            let rest = self.splitter.rest(&self.text);
            rest.map(|RestOfText { content, close }| part(content.trim_end().to_owned(), true, close))
        } else if self.grows {
            self.splitter.tail(&self.text).map(|tail| part(tail.trim_end().to_owned(), false, String::new()))
        } else {
            None
        };
    }

    /// A message that is complete.
    fn complete(&self, part: &MessagePart) -> ReplyStep {
        let (shown, content) = (&self.shown, &part.content);
        let shown_already = shown.posted && shown.content == *content;
        let edits = shown.message_id.clone();
        ReplyStep::Do(ReplyAction { edits, content: content.clone(), last: true, shown_already })
    }

    /// A message that may grow.
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

    /// Reports the result of an action.
    pub(super) fn report(&mut self, action: &ReplyAction, result: &ActionResult, now: Instant) {
        self.grow_at = Some(now + GROW_EVERY);
        let shown = &mut self.shown;
        let refused = !result.success && !result.ambiguous;
        if action.last && action.edits.is_some() && refused && !action.shown_already {
            // The message was deleted or is too old to be edited: the text is posted as a new one.
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
            self.refused |= refused && result.not_sent.is_none();
            self.shown = ShownMessage::default();
            self.part = None;
            self.more = true;
        }
    }

    /// Removes all except the message that was begun, and adds the mark at the end of the text in the chat.
    fn cut_at_shown(&mut self) {
        if !self.shown.posted {
            self.part = None;
        } else if !self.part.as_ref().is_some_and(|part| part.whole) {
            self.part = self.splitter.full(&self.text, true).map(|content| MessagePart {
                content,
                whole: true,
                close: String::new(),
            });
            if self.part.is_none() {
                self.close_fence();
            }
        }
        if self.part.is_some() || !self.shown.posted {
            self.splitter.drop_rest(&mut self.text);
        }
        if let Some(part) = &mut self.part {
            let close = std::mem::take(&mut part.close);
            append(part, &close, &self.splitter);
        }
        let Some(mark) = self.mark.filter(|_| self.begun) else { return };
        let mark = format!("\n\n{mark}");
        if !self.part.as_mut().is_some_and(|part| append(part, &mark, &self.splitter)) {
            self.text.push_str(&mark);
        }
    }

    fn close_fence(&mut self) {
        let close = self.splitter.close(&self.text);
        self.splitter.trim(&mut self.text);
        self.text.push_str(&close);
    }
}

/// Adds to a message, if there is room.
fn append(part: &mut MessagePart, more: &str, splitter: &ReplySplitter) -> bool {
    let longer = format!("{}{more}", part.content);
    let fits = splitter.fits(&longer);
    if fits {
        part.content = longer;
    }
    fits
}

#[cfg(test)]
mod tests;
