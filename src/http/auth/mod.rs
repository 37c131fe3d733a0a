//! The token seam: authentication and scopes, decided in one place for every route that opts in.
//!
//! Providers are asked in order; the first to recognise a token wins. Every decision is written to the audit log, and
//! nothing about the log can change one.

mod asked;
mod audit;
mod drain_secret;
mod provider;
mod seam;
pub(super) mod slow;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpMessage as _, HttpRequest, HttpResponse};

pub(super) use self::asked::{Asked, RequestCredential};
pub(super) use self::provider::{DRAIN, TokenPrincipal};
pub(super) use self::seam::Seam;
use super::caller::HttpCaller;
use super::error::ApiError;

/// Makes a resource opt in: only a principal with `scope` passes, whatever the method.
pub(super) fn scoped<S, B>(
    scope: &'static str,
) -> impl Transform<S, ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    from_fn(move |request: ServiceRequest, next: Next<B>| async move {
        match decide_on(request.request(), scope).await {
            Ok(principal) => {
                request.extensions_mut().insert(principal);
                Ok(next.call(request).await?.map_into_boxed_body())
            }
            Err(error) => Ok(request.into_response(HttpResponse::from_error(error))),
        }
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
        let asked = request.request();
        let allowed = match (HttpCaller::of(asked).loopback, asked.app_data::<Arc<Seam>>()) {
            (true, _) => Ok(()),
            (false, Some(seam)) => seam.admit(asked, None).await.map(|_| ()),
            (false, None) => Err(ApiError::Unauthenticated),
        };
        match allowed {
            Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
            Err(error) => Ok(request.into_response(HttpResponse::from_error(error))),
        }
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
        if HttpCaller::of(request.request()).loopback {
            Ok(next.call(request).await?.map_into_boxed_body())
        } else {
            Ok(request.into_response(HttpResponse::from_error(ApiError::LoopbackOnly)))
        }
    })
}

async fn decide_on(request: &HttpRequest, scope: &'static str) -> Result<TokenPrincipal, ApiError> {
    // Routes are made with the seam; without it no token is recognised.
    let seam = request.app_data::<Arc<Seam>>().ok_or(ApiError::Unauthenticated)?;
    seam.admit(request, Some(scope)).await
}
