//! The one way to register a route: what describes it is what registers it, so no route is missing from `/openapi.json`.
//!
//! A [`RouteRegistry`] is written once for each worker, while its application is made; `openapi.rs` prints it.

use std::borrow::Cow;

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, Resource, Responder, web::Bytes};

use super::auth;
use super::code::Code;
use super::openapi;

/// Collects what is registered.
pub(super) struct RouteRegistry<'c> {
    config: &'c mut ServiceConfig,
    pub(super) entries: Vec<Entry>,
}

/// Who is answered at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Everyone.
    Anyone,
    /// Everyone gets an outline; whoever is known gets all.
    PublicSummary,
    /// Whoever is on this machine, or has a token.
    Known,
    /// Whoever is on this machine.
    Loopback,
    /// Whoever has a token with this scope.
    Scope(&'static str),
    /// Whoever signs with a profile's delivery key.
    Signed,
}

/// One operation, as the document has it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: Cow<'static, str>,
    pub(super) who: Who,
    pub(super) method: Method,
    pub(super) page: OperationDoc,
}

/// What is to be said of an operation.
#[derive(Debug)]
pub(super) struct OperationDoc {
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Field],
    /// The fields of the body that it takes, if it takes one.
    pub(super) takes: Option<&'static [Field]>,
    pub(super) answer: AnswerDoc,
    pub(super) errors: &'static [Code],
}

/// What is answered when all goes well.
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
    pub(super) kind: Kind,
    pub(super) required: bool,
    pub(super) meaning: &'static str,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
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
    List(&'static Kind),
    /// An object with names of its own, each with one of these.
    Map(&'static Kind),
    /// A node of the supervision tree, which holds others.
    Node,
    /// One of some words.
    Word(&'static [&'static str]),
}

/// A field that is always there.
pub(super) const fn field(name: &'static str, kind: Kind, meaning: &'static str) -> Field {
    Field { name, kind, required: true, meaning }
}

/// A field that may be missing.
pub(super) const fn maybe(name: &'static str, kind: Kind, meaning: &'static str) -> Field {
    Field { name, kind, required: false, meaning }
}

/// A path under way into the registry; [`Place::done`] registers it.
#[must_use]
pub(super) struct Place<'b, 'c> {
    registry: &'b mut RouteRegistry<'c>,
    path: Cow<'static, str>,
    who: Who,
    resource: Resource,
}

impl<'c> RouteRegistry<'c> {
    /// An empty registry, for the application that is being made.
    pub(super) fn new(config: &'c mut ServiceConfig) -> Self {
        Self { config, entries: Vec::new() }
    }

    /// Begins a path.
    pub(super) fn at(&mut self, path: impl Into<Cow<'static, str>>, who: Who) -> Place<'_, 'c> {
        let path = path.into();
        Place { registry: self, resource: web::resource(&*path), path, who }
    }

    /// Registers the registry itself, as the last page of it.
    pub(super) fn close(mut self) {
        const PATH: &str = "/openapi.json";
        let page = OperationDoc::new("This document").answers(AnswerDoc::Document);
        self.entries.push(Entry { path: PATH.into(), who: Who::Anyone, method: Method::GET, page });
        let text = Bytes::from(openapi::print(&self.entries));
        let answer = move || std::future::ready(openapi::answer(text.clone()));
        let resource = web::resource(PATH).route(web::get().to(answer.clone())).route(web::head().to(answer));
        self.config.service(resource);
    }
}

impl Place<'_, '_> {
    /// Answers GET, and HEAD with it.
    pub(super) fn get<F, A>(mut self, handler: F, page: OperationDoc) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let resource = self.resource.route(web::get().to(handler.clone()));
        self.resource = resource.route(web::head().to(handler));
        self.note(Method::GET, page)
    }

    /// Answers POST.
    pub(super) fn post<F, A>(mut self, handler: F, page: OperationDoc) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.resource = self.resource.route(web::post().to(handler));
        self.note(Method::POST, page)
    }

    /// Registers it, behind whatever keeps out those it is not for.
    pub(super) fn done(self) {
        let (config, resource) = (&mut *self.registry.config, self.resource);
        match self.who {
            // In outline or in full, and whose signature it is, the handler says.
            Who::Anyone | Who::PublicSummary | Who::Signed => config.service(resource),
            Who::Known => config.service(resource.wrap(auth::known())),
            Who::Loopback => config.service(resource.wrap(auth::near())),
            Who::Scope(scope) => config.service(resource.wrap(auth::scoped(scope))),
        };
    }

    fn note(self, method: Method, page: OperationDoc) -> Self {
        self.registry.entries.push(Entry { path: self.path.clone(), who: self.who, method, page });
        self
    }
}

impl OperationDoc {
    /// An operation that answers `{"ok": true}`.
    pub(super) const fn new(summary: &'static str) -> Self {
        const OK: &[Field] = &[field("ok", Kind::Flag, "always true")];
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
