//! The answers of the routes of the ledger, for the document of the API.

use crate::http::operation_doc::{Field, FieldKind, field};

const STATES: &[&str] = &[
    "received",
    "held",
    "running",
    "interrupted",
    "done",
    "failed",
    "pending",
    "sending",
    "ambiguous",
    "delivered",
    "refused",
    "dead",
    "corrupt",
];

const ID: Field = field("id", FieldKind::Text, "the row");
const STATE: Field = field("state", FieldKind::Word(STATES), "its state; of a corrupt row nothing else is known");
const PROFILE: Field = field("profile", FieldKind::TextOrNull, "its profile");
const LINK: Field = field("link", FieldKind::TextOrNull, "the link over which it came or goes");
const PLATFORM: Field = field("platform", FieldKind::TextOrNull, "the platform of its chat");
const CHAT: Field = field("chat_id", FieldKind::TextOrNull, "its chat");
const THREAD: Field = field("thread_id", FieldKind::TextOrNull, "its thread");
const ATTEMPTS: Field = field("attempts", FieldKind::CountOrNull, "how often its turn began, or it was sent");
const RECORDED: Field =
    field("recorded_at_ms", FieldKind::IntegerOrNull, "milliseconds since 1970: when it was recorded");
const AGE: Field = field("age_ms", FieldKind::CountOrNull, "milliseconds since then");
const NOTE: Field = field("note", FieldKind::TextOrNull, "of an event: why it is in its state");

const SUMMARY: &[Field] = &[ID, STATE, PROFILE, LINK, PLATFORM, CHAT, THREAD, ATTEMPTS, RECORDED, AGE, NOTE];

const WRITER: &[Field] = &[
    field("term", FieldKind::Count, "the number of the start of a process on this ledger; 0 for an earlier version"),
    field("host", FieldKind::TextOrNull, "its host"),
    field("started_at_ms", FieldKind::IntegerOrNull, "milliseconds since 1970: when it started"),
];

/// A page of rows.
pub(super) const PAGE: &[Field] = &[
    field(
        "rows",
        FieldKind::List(&FieldKind::Fields(SUMMARY)),
        "events, then replies, each from the oldest on; may be empty although others follow",
    ),
    field("next", FieldKind::TextOrNull, "`after` of the next page; null if this is the last one"),
];

/// One row.
pub(super) const DETAIL: &[Field] = &[
    ID,
    STATE,
    PROFILE,
    LINK,
    PLATFORM,
    CHAT,
    THREAD,
    ATTEMPTS,
    RECORDED,
    AGE,
    NOTE,
    field("answers", FieldKind::TextOrNull, "of a reply: the event that it answers"),
    field("session", FieldKind::TextOrNull, "of an event: its session"),
    field("user_id", FieldKind::TextOrNull, "the person"),
    field("scope_id", FieldKind::TextOrNull, "the scope of the chat"),
    field("bot_id", FieldKind::TextOrNull, "the bot"),
    field("turn", FieldKind::TextOrNull, "the turn that ran it, or that made it"),
    field("gateway", FieldKind::TextOrNull, "of an event: the id of the gateway at its connector"),
    field("message_id", FieldKind::TextOrNull, "the platform's id of the message"),
    field("error", FieldKind::TextOrNull, "of a reply: why it was refused, in the words of its connector"),
    field("sent_again_as", FieldKind::TextOrNull, "of a reply: the reply as which an operator has sent it again"),
    field("arrived_at_ms", FieldKind::IntegerOrNull, "of an event: when its frame was read"),
    field("begun_at_ms", FieldKind::IntegerOrNull, "of an event: when its turn began last"),
    field("sent_at_ms", FieldKind::IntegerOrNull, "of a reply: when it was sent last"),
    field("changed_at_ms", FieldKind::IntegerOrNull, "when it got its state"),
    field("recorded_by", FieldKind::FieldsOrNull(WRITER), "the process that recorded it"),
    field("changed_by", FieldKind::FieldsOrNull(WRITER), "the process that wrote its state"),
    field("text_bytes", FieldKind::CountOrNull, "the length of its text"),
];

/// What a row says.
pub(super) const TEXT: &[Field] = &[
    ID,
    field(
        "text",
        FieldKind::TextOrNull,
        "the event as received, or the action as sent: JSON; null if the row is corrupt",
    ),
];

const OK: Field = field("ok", FieldKind::Flag, "always true");
const WAS: Field = field("was", FieldKind::Word(STATES), "its state before");

/// A row that is sent again.
pub(super) const RETRIED: &[Field] = &[
    OK,
    ID,
    WAS,
    field("row", FieldKind::Text, "the row that waits: the same event, or the new row of the reply"),
    field("state", FieldKind::Word(STATES), "its state; an ambiguous reply is sent with the mark of a possible repeat"),
    field("waits_for", FieldKind::TextOrNull, "what it waits for, if that is known: drain or link"),
];

/// A row that is dropped.
pub(super) const DROPPED: &[Field] =
    &[OK, ID, WAS, field("notified", FieldKind::Flag, "whether its chat gets a notice that it is not answered")];

/// What a check found.
pub(super) const CHECK: &[Field] = &[
    field("runs", FieldKind::Flag, "whether a check runs, or is about to"),
    field("begun_at_ms", FieldKind::IntegerOrNull, "milliseconds since 1970: when the last one began"),
    field("ended_at_ms", FieldKind::IntegerOrNull, "when it ended"),
    field("error", FieldKind::TextOrNull, "why it ended before all was checked"),
    field("rows", FieldKind::Count, "events and replies in the ledger"),
    field("corrupt", FieldKind::Count, "rows found corrupt since the ledger was opened"),
    field("damage", FieldKind::List(&FieldKind::Text), "what else was found damaged since then"),
];

/// A page of an export.
pub(super) const EXPORTED: &[Field] = &[
    field("rows", FieldKind::List(&FieldKind::Object), "events, replies and parts of conversations; each has a type"),
    field("sessions", FieldKind::List(&FieldKind::Text), "the stored names of the sessions of these events"),
    field("next", FieldKind::TextOrNull, "`from` of the next page; null if this is the last one"),
];

/// A step of an erasure.
pub(super) const ERASED: &[Field] = &[
    field("events", FieldKind::Count, "events whose text and author are erased"),
    field("replies", FieldKind::Count, "replies whose text and recipient are erased"),
    field("conversations", FieldKind::Count, "conversations that are deleted"),
    field("shared_conversations", FieldKind::Count, "of these, those that other people may have taken part in"),
    field("open", FieldKind::Count, "events and replies that are not done, and were left"),
    field("next", FieldKind::TextOrNull, "`from` of the next step; null if this was the last one"),
    field(
        "left",
        FieldKind::List(&FieldKind::Text),
        "in the last answer: files that may still have texts of the person",
    ),
];
