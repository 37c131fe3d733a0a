//! The description of an operation: its clients, its input, its answers. Plain data, for `openapi.rs`.

use std::borrow::Cow;

use actix_web::http::Method;

use super::code::Code;

/// The clients that are answered at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Every client.
    Public,
    /// Every client gets a public summary; an authenticated client gets all.
    PublicSummary,
    /// Clients on this machine, or with a token.
    Authenticated,
    /// Clients on this machine.
    Loopback,
    /// Clients with a token of this scope.
    Scope(&'static str),
    /// Clients that sign with a profile's delivery key.
    Signed,
}

/// One operation, as the document has it.
#[derive(Debug)]
pub(super) struct RouteEntry {
    pub(super) path: Cow<'static, str>,
    pub(super) who: Who,
    pub(super) method: Method,
    pub(super) page: OperationDoc,
}

/// The description of an operation.
#[derive(Debug)]
pub(super) struct OperationDoc {
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Field],
    /// The fields of the body that it takes, if it takes one.
    pub(super) takes: Option<&'static [Field]>,
    pub(super) answer: AnswerDoc,
    pub(super) errors: &'static [Code],
}

/// The answer on success.
#[derive(Debug, Clone, Copy)]
pub(super) enum AnswerDoc {
    /// A JSON object.
    Fields(u16, &'static [Field]),
    /// A JSON object, described by one of its own.
    Node(u16),
    /// The document itself.
    Document,
    /// Anything else, by its media type.
    Other(u16, &'static str),
    /// The protocol changes; each message is an object with these fields.
    WebSocket(&'static [Field]),
}

/// A field of an object, or a parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: FieldKind,
    pub(super) required: bool,
    pub(super) meaning: &'static str,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum FieldKind {
    Text,
    Flag,
    Count,
    Number,
    /// It may be null.
    NumberOrNull,
    TextOrNull,
    /// A whole number, perhaps below zero, or null.
    IntegerOrNull,
    /// A whole number from 0 on, or null.
    CountOrNull,
    /// An object of any shape, such as an event on its way in.
    Object,
    /// An object with these fields.
    Fields(&'static [Field]),
    /// The same, or null.
    FieldsOrNull(&'static [Field]),
    /// An array of these.
    List(&'static FieldKind),
    /// An object with names of its own, each with one of these.
    Map(&'static FieldKind),
    /// A node of the supervision tree, which holds others.
    Node,
    /// One of some words.
    Word(&'static [&'static str]),
}

/// A field that is always there.
pub(super) const fn field(name: &'static str, kind: FieldKind, meaning: &'static str) -> Field {
    Field { name, kind, required: true, meaning }
}

/// A field that may be missing.
pub(super) const fn maybe(name: &'static str, kind: FieldKind, meaning: &'static str) -> Field {
    Field { name, kind, required: false, meaning }
}

impl OperationDoc {
    /// An operation that answers `{"ok": true}`.
    pub(super) const fn new(summary: &'static str) -> Self {
        const OK: &[Field] = &[field("ok", FieldKind::Flag, "always true")];
        Self { summary, parameters: &[], takes: None, answer: AnswerDoc::Fields(200, OK), errors: &[] }
    }

    pub(super) const fn answers(self, answer: AnswerDoc) -> Self {
        Self { answer, ..self }
    }

    pub(super) const fn asks(self, parameters: &'static [Field]) -> Self {
        Self { parameters, ..self }
    }

    /// It takes a JSON object with these fields, or nothing.
    pub(super) const fn takes(self, fields: &'static [Field]) -> Self {
        Self { takes: Some(fields), ..self }
    }

    /// What can go wrong beyond what can go wrong with every operation of its kind.
    pub(super) const fn fails(self, errors: &'static [Code]) -> Self {
        Self { errors, ..self }
    }
}
