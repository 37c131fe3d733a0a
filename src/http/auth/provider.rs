//! Token providers and their verdicts.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use futures_util::future::{LocalBoxFuture, Ready, ready};

use crate::http::error::ApiError;

/// The scope of everything that changes how the gateway runs.
pub(in crate::http) const DRAIN: &str = "drain";

/// The authenticated client, as its provider names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct TokenPrincipal {
    /// Written to the marker and the logs.
    pub(in crate::http) principal: String,
    /// The provider that recognised the token.
    pub(in crate::http) provider: &'static str,
    /// The scopes that are granted.
    pub(in crate::http) scopes: Vec<String>,
}

/// A provider's verdict on a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) enum TokenVerdict {
    /// The token is valid.
    Recognised(TokenPrincipal),
    /// Not a token of this provider.
    NotRecognised,
    /// The token cannot be verified at the moment.
    #[cfg_attr(not(test), expect(dead_code, reason = "for providers that call a service; the drain secret is local"))]
    Unreachable,
}

/// A provider failed; it is skipped.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::http) struct ProviderFailed(pub(in crate::http) String);

/// Verifies bearer tokens of one kind.
pub(in crate::http) trait TokenProvider: Send + Sync {
    /// Written to the logs.
    fn name(&self) -> &'static str;

    /// Verifies `token`. It must take the same time for every invalid token.
    fn verify<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<TokenVerdict, ProviderFailed>>;
}

/// The authenticated principal; only on routes that require a scope.
impl FromRequest for TokenPrincipal {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get::<Self>().cloned().ok_or(ApiError::Unauthenticated))
    }
}
