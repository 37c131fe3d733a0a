//! The description of an operation: its clients, its input, its answers. Plain data, for `openapi.rs`.

use std::borrow::Cow;

use actix_web::http::Method;

use super::code::ApiErrorCode;

/// The clients that a path answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Every client.
    Public,
    /// Every client gets a public summary; an authenticated client gets all.
    PublicSummary,
    /// Clients on this machine, or with a token.
    Authenticated,
    /// Clients on this machine.
    Loopback,
    /// Clients with a token of this scope, and with `--insecure-loopback-drain` those on this machine.
    Scope(&'static str),
    /// Clients with a token of this scope, also with `--insecure-loopback-drain`.
    TokenScope(&'static str),
    /// Clients that sign with a profile's delivery key.
    Signed,
}

/// One operation, as the document has it.
#[derive(Debug)]
pub(super) struct RouteEntry {
    pub(super) path: Cow<'static, str>,
    pub(super) access: Access,
    pub(super) method: Method,
    pub(super) doc: OperationDoc,
}

/// The description of an operation.
#[derive(Debug)]
pub(super) struct OperationDoc {
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Field],
    /// The fields of the request body; `None` if there is no body.
    pub(super) body: Option<&'static [Field]>,
    pub(super) answer: AnswerDoc,
    pub(super) errors: &'static [ApiErrorCode],
}

/// The answer on success.
#[derive(Debug, Clone, Copy)]
pub(super) enum AnswerDoc {
    /// A JSON object.
    Fields(u16, &'static [Field]),
    /// A node of the supervision tree.
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
    pub(super) description: &'static str,
}

/// The type of a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum FieldKind {
    Text,
    Flag,
    Count,
    Number,
    /// It may be null.
    NumberOrNull,
    TextOrNull,
    /// An integer or null.
    IntegerOrNull,
    /// An integer of at least 0, or null.
    CountOrNull,
    /// An object of any form, such as an inbound event.
    Object,
    /// An object with these fields.
    Fields(&'static [Field]),
    /// The same, or null.
    FieldsOrNull(&'static [Field]),
    /// An array of values of this type.
    List(&'static FieldKind),
    /// An object with any names and values of this type.
    Map(&'static FieldKind),
    /// A node of the supervision tree, with its children.
    Node,
    /// One of these strings.
    Word(&'static [&'static str]),
    /// One of these states of a part, or one of `views::NOT_ANSWERING`.
    PartState(&'static [&'static str]),
}

/// A required field.
pub(super) const fn field(name: &'static str, kind: FieldKind, description: &'static str) -> Field {
    Field { name, kind, required: true, description }
}

/// An optional field.
pub(super) const fn optional(name: &'static str, kind: FieldKind, description: &'static str) -> Field {
    Field { name, kind, required: false, description }
}

impl OperationDoc {
    /// An operation that answers `{"ok": true}`.
    pub(super) const fn new(summary: &'static str) -> Self {
        const OK: &[Field] = &[field("ok", FieldKind::Flag, "always true")];
        Self { summary, parameters: &[], body: None, answer: AnswerDoc::Fields(200, OK), errors: &[] }
    }

    pub(super) const fn answer(self, answer: AnswerDoc) -> Self {
        Self { answer, ..self }
    }

    pub(super) const fn parameters(self, parameters: &'static [Field]) -> Self {
        Self { parameters, ..self }
    }

    /// The request body: a JSON object with these fields, or none.
    pub(super) const fn body(self, fields: &'static [Field]) -> Self {
        Self { body: Some(fields), ..self }
    }

    /// The errors besides those of every operation with the same access and body.
    pub(super) const fn errors(self, errors: &'static [ApiErrorCode]) -> Self {
        Self { errors, ..self }
    }
}
