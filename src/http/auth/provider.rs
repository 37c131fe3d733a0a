//! What recognises a token, and what it says of one.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use futures_util::future::{LocalBoxFuture, Ready, ready};

use crate::http::error::ApiError;

/// The scope of everything that changes how the gateway runs.
pub(in crate::http) const DRAIN: &str = "drain";

/// Who asks, as a provider knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct TokenPrincipal {
    /// Stands in the marker and in the logs.
    pub(in crate::http) principal: String,
    /// Who recognised them.
    pub(in crate::http) provider: &'static str,
    /// What they may do.
    pub(in crate::http) scopes: Vec<String>,
}

/// What a provider says of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) enum TokenVerdict {
    /// It is good.
    Recognised(TokenPrincipal),
    /// Someone else's, or nobody's.
    NotMine,
    /// It may be good; this cannot be known now.
    #[cfg_attr(not(test), expect(dead_code, reason = "for providers that ask someone; the drain secret is known here"))]
    OutOfReach,
}

/// A provider broke in a way of its own; it is skipped.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::http) struct ProviderFailed(pub(in crate::http) String);

/// Verifies bearer tokens of one kind.
pub(in crate::http) trait TokenProvider: Send + Sync {
    /// Stands in the logs.
    fn name(&self) -> &'static str;

    /// Says whose `token` is. It must take the same time for every wrong one.
    fn verify<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<TokenVerdict, ProviderFailed>>;
}

/// The principal that the seam let pass; only on routes that opted in.
impl FromRequest for TokenPrincipal {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get::<Self>().cloned().ok_or(ApiError::Unauthenticated))
    }
}
