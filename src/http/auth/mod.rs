//! Authentication by token, and scopes: decided in one place for every route that requires them.
//!
//! Providers are called in order; the first that recognises a token decides. Every decision is written to the audit log; a failure
//! of the log changes no decision.

mod audit;
mod auth_request;
mod authenticator;
mod drain_secret;
mod provider;
pub(super) mod rate_limit;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpMessage as _, HttpRequest, HttpResponse};

pub(super) use self::auth_request::{AuthRequest, RequestCredential, RequiredScope};
pub(super) use self::authenticator::Authenticator;
pub(super) use self::provider::{DRAIN, TokenPrincipal};
use super::caller::HttpCaller;
use super::error::ApiError;

/// Restricts a resource to principals with `scope`, for every method.
pub(super) fn scoped<S, B>(
    scope: RequiredScope,
) -> impl Transform<S, ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    from_fn(move |request: ServiceRequest, next: Next<B>| async move {
        let decision = decide_on(request.request(), scope).await;
        let decision = decision.map(|principal| {
            request.extensions_mut().insert(principal);
        });
        call_if(decision, request, next).await
    })
}

/// Restricts a resource to authenticated clients: on this machine, or with a token.
pub(super) fn authenticated<S, B>()
-> impl Transform<S, ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    from_fn(|request: ServiceRequest, next: Next<B>| async move {
        let http_request = request.request();
        let allowed = match (HttpCaller::of(http_request).loopback, http_request.app_data::<Arc<Authenticator>>()) {
            (true, _) => Ok(()),
            (false, Some(authenticator)) => authenticator.admit(http_request, None).await.map(|_| ()),
            (false, None) => Err(ApiError::Unauthenticated),
        };
        call_if(allowed, request, next).await
    })
}

/// Restricts a resource to this machine.
pub(super) fn loopback<S, B>()
-> impl Transform<S, ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    from_fn(|request: ServiceRequest, next: Next<B>| async move {
        let allowed = if HttpCaller::of(request.request()).loopback { Ok(()) } else { Err(ApiError::LoopbackOnly) };
        call_if(allowed, request, next).await
    })
}

/// Passes an allowed request on, and answers any other with its error.
async fn call_if<B: MessageBody + 'static>(
    allowed: Result<(), ApiError>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match allowed {
        Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
        Err(error) => Ok(request.into_response(HttpResponse::from_error(error))),
    }
}

async fn decide_on(request: &HttpRequest, scope: RequiredScope) -> Result<TokenPrincipal, ApiError> {
    // Routes are made with the authenticator; without it no token is recognised.
    let authenticator = request.app_data::<Arc<Authenticator>>().ok_or(ApiError::Unauthenticated)?;
    authenticator.admit(request, Some(scope)).await
}
