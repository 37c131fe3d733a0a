//! The only way to register a route: with its description, so no route is missing from `/openapi.json`.
//!
//! A [`RouteRegistry`] is filled once for each worker, while its application is made; `openapi.rs` renders it at the first request.

use std::borrow::Cow;
use std::rc::Rc;

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, Resource, Responder};

use super::auth::{self, RequiredScope};
use super::openapi::{self, ApiDocument};
use super::operation_doc::{Access, AnswerDoc, OperationDoc, RouteEntry};

/// Collects what is registered.
pub(super) struct RouteRegistry<'c> {
    config: &'c mut ServiceConfig,
    pub(super) entries: Vec<RouteEntry>,
}

/// A path that is being described; [`PathEntry::done`] registers it.
#[must_use]
pub(super) struct PathEntry<'b, 'c> {
    registry: &'b mut RouteRegistry<'c>,
    path: Cow<'static, str>,
    access: Access,
    resource: Resource,
}

impl<'c> RouteRegistry<'c> {
    /// An empty registry, for the application that is being made.
    pub(super) fn new(config: &'c mut ServiceConfig) -> Self {
        Self { config, entries: Vec::new() }
    }

    /// Begins a path.
    pub(super) fn at(&mut self, path: impl Into<Cow<'static, str>>, access: Access) -> PathEntry<'_, 'c> {
        let path = path.into();
        PathEntry { registry: self, resource: web::resource(&*path), path, access }
    }

    /// Registers the document itself, as the last operation.
    pub(super) fn close(mut self, document: &ApiDocument) {
        const PATH: &str = "/openapi.json";
        let doc = OperationDoc::new("This document").answer(AnswerDoc::Document);
        self.entries.push(RouteEntry { path: PATH.into(), access: Access::Public, method: Method::GET, doc });
        let (entries, document) = (Rc::new(self.entries), document.clone());
        let answer = move || std::future::ready(openapi::answer(document.text(&entries)));
        let resource = web::resource(PATH).route(web::get().to(answer.clone())).route(web::head().to(answer));
        self.config.service(resource);
    }
}

impl PathEntry<'_, '_> {
    /// Answers GET, and HEAD with it.
    pub(super) fn get<F, A>(mut self, handler: F, doc: OperationDoc) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let resource = self.resource.route(web::get().to(handler.clone()));
        self.resource = resource.route(web::head().to(handler));
        self.note(Method::GET, doc)
    }

    /// Answers POST.
    pub(super) fn post<F, A>(mut self, handler: F, doc: OperationDoc) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.resource = self.resource.route(web::post().to(handler));
        self.note(Method::POST, doc)
    }

    /// Registers it, behind the guard for its clients.
    pub(super) fn done(self) {
        let (config, resource) = (&mut *self.registry.config, self.resource);
        match self.access {
            // The handler decides between summary and full answer, and verifies the signature.
            Access::Public | Access::PublicSummary | Access::Signed => config.service(resource),
            Access::Authenticated => config.service(resource.wrap(auth::authenticated())),
            Access::Loopback => config.service(resource.wrap(auth::loopback())),
            Access::Scope(scope) => config.service(resource.wrap(auth::scoped(RequiredScope::ByTokenOrFlag(scope)))),
            Access::TokenScope(scope) => config.service(resource.wrap(auth::scoped(RequiredScope::ByToken(scope)))),
        };
    }

    fn note(self, method: Method, doc: OperationDoc) -> Self {
        self.registry.entries.push(RouteEntry { path: self.path.clone(), access: self.access, method, doc });
        self
    }
}
