//! The token seam: who may do what, decided in one place for every route that opts in.
//!
//! Providers are asked in order; the first to recognise a token wins. Every decision is written to the audit log, and
//! nothing about the log can change one.

mod audit;
mod drain_secret;
pub(super) mod slow;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, HttpResponse};
use caduceus_actors::profile::Redactor;
use caduceus_actors::settings::DrainAuth;
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, Ready, ready};
use tracing::{error, info, warn};

use self::audit::{Audit, Entry};
use self::drain_secret::DrainSecret;
use self::slow::SlowDown;
use super::Shared;
use super::caller::Caller;
use super::connection::Connection;
use super::error::ApiError;

/// The scope of everything that changes how the gateway runs.
pub(super) const DRAIN: &str = "drain";

/// Longest wait for one provider; after that it is out of reach.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(5);

/// Who asks, as a provider knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenPrincipal {
    /// Stands in the marker and in the logs.
    pub(super) principal: String,
    /// Who recognised them.
    pub(super) provider: &'static str,
    /// What they may do.
    pub(super) scopes: Vec<String>,
}

/// What a provider says of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
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
pub(super) struct ProviderFailed(pub(super) String);

/// Verifies bearer tokens of one kind.
pub(super) trait TokenProvider: Send + Sync {
    /// Stands in the logs.
    fn name(&self) -> &'static str;

    /// Says whose `token` is. It must take the same time for every wrong one.
    fn verify<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<Verdict, ProviderFailed>>;
}

/// Decides on tokens.
pub(super) struct Seam {
    providers: Vec<Box<dyn TokenProvider>>,
    /// Who is on loopback without a token, where that is enough.
    on_loopback: Option<TokenPrincipal>,
    audit: Audit,
    slow: Mutex<SlowDown>,
}

/// What a request brings to prove itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    /// No `Authorization`.
    None,
    /// Two of them, or one that is no bearer token.
    Unreadable,
    /// A token, known to nobody yet.
    Bearer(&'a str),
}

/// A request, as far as the seam looks at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) credential: Credential<'a>,
    pub(super) path: &'a str,
    pub(super) peer: IpAddr,
    /// It comes from this machine itself.
    pub(super) loopback: bool,
    /// What the route requires, if anything beyond being known.
    pub(super) scope: Option<&'static str>,
}

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

/// Makes a resource one for those who are known: on this machine, or with a token.
pub(super) fn known<S, B>()
-> impl Transform<S, ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    from_fn(|request: ServiceRequest, next: Next<B>| async move {
        let asked = request.request();
        let allowed = match (Caller::of(asked).loopback, asked.app_data::<Shared>()) {
            (true, _) => Ok(()),
            (false, Some(state)) => state.seam.admit(asked, None).await.map(|_| ()),
            (false, None) => Err(ApiError::Unauthenticated),
        };
        match allowed {
            Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
            Err(error) => Ok(request.into_response(HttpResponse::from_error(error))),
        }
    })
}

/// Makes a resource one for this machine alone.
pub(super) fn near<S, B>()
-> impl Transform<S, ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    from_fn(|request: ServiceRequest, next: Next<B>| async move {
        if Caller::of(request.request()).loopback {
            Ok(next.call(request).await?.map_into_boxed_body())
        } else {
            Ok(request.into_response(HttpResponse::from_error(ApiError::LoopbackOnly)))
        }
    })
}

async fn decide_on(request: &HttpRequest, scope: &'static str) -> Result<TokenPrincipal, ApiError> {
    // Routes are made with the state; without it there is nobody to recognise a token.
    let state = request.app_data::<Shared>().ok_or(ApiError::Unauthenticated)?;
    state.seam.admit(request, Some(scope)).await
}

impl Seam {
    /// The seam of one gateway. A weak secret is refused, and what it guards stays closed.
    pub(super) fn new(drain: &DrainAuth, insecure_loopback: bool, home: &Path, redactor: Redactor) -> Self {
        let mut providers: Vec<Box<dyn TokenProvider>> = Vec::new();
        let mut on_loopback = None;
        match DrainSecret::load(drain) {
            None if insecure_loopback => {
                warn!("drain orders from loopback are taken without a token");
                let scopes = vec![DRAIN.to_owned()];
                on_loopback = Some(TokenPrincipal { principal: "dashboard".into(), provider: "loopback", scopes });
            }
            None => info!("no drain secret is set; drain orders over HTTP are refused"),
            Some(Err(weakness)) => {
                error!(reason = weakness.word(), %weakness, "drain secret refused; drain orders over HTTP are refused");
            }
            Some(Ok(secret)) => providers.push(Box::new(secret)),
        }
        Self { on_loopback, ..Self::with(providers, home, redactor) }
    }

    fn with(providers: Vec<Box<dyn TokenProvider>>, home: &Path, redactor: Redactor) -> Self {
        let audit = Audit::open(home.join("logs").join("dashboard-auth.log"), audit::LARGEST, redactor);
        Self { providers, on_loopback: None, audit, slow: Mutex::default() }
    }

    /// Whether whoever asks may see everything: they are on this machine, or known.
    ///
    /// # Errors
    /// A token that is not good is an error, never the same as none.
    pub(super) async fn trusts(&self, request: &HttpRequest) -> Result<bool, ApiError> {
        let asked = Asked::by(request, None);
        if asked.loopback {
            return Ok(true);
        }
        match asked.credential {
            Credential::None => Ok(false),
            Credential::Unreadable | Credential::Bearer(_) => self.admit(request, None).await.map(|_| true),
        }
    }

    /// Whether a request shows a good token, wherever it comes from.
    pub(super) async fn proves(&self, request: &HttpRequest) -> bool {
        let asked = Asked::by(request, None);
        matches!(asked.credential, Credential::Bearer(_)) && self.admit(request, None).await.is_ok()
    }

    /// Decides on a request; one with a good token makes its peer and its connection known.
    async fn admit(&self, request: &HttpRequest, scope: Option<&'static str>) -> Result<TokenPrincipal, ApiError> {
        let asked = Asked::by(request, scope);
        let decision = self.decide(asked).await;
        let proven = matches!(decision, Ok(_) | Err(ApiError::MissingScope(_)));
        if proven
            && matches!(asked.credential, Credential::Bearer(_))
            && let Some(state) = request.app_data::<Shared>()
        {
            state.admission.note(asked.peer, None);
            if let Some(connection) = Connection::of(request) {
                connection.prove();
            }
        }
        decision
    }

    /// Decides, and writes the decision down.
    ///
    /// # Errors
    /// [`ApiError`] that says why not.
    pub(super) async fn decide(&self, asked: Asked<'_>) -> Result<TokenPrincipal, ApiError> {
        let decision = self.recognise(asked).await.and_then(|principal| permitted(principal, asked.scope));
        self.audit.note(Entry::of(asked, &decision));
        match decision {
            Ok(principal) => Ok(principal),
            // What is told to wait is a guess; a known principal without the scope has nothing to guess.
            Err(error @ ApiError::MissingScope(_)) => Err(error),
            Err(error) => Err(self.slowed(asked.peer).map_or(error, ApiError::SlowDown)),
        }
    }

    async fn recognise(&self, asked: Asked<'_>) -> Result<TokenPrincipal, ApiError> {
        let token = match asked.credential {
            Credential::Bearer(token) => token,
            Credential::Unreadable => return Err(ApiError::Unauthenticated),
            Credential::None => {
                let known = self.on_loopback.clone().filter(|_| asked.loopback);
                return known.ok_or(ApiError::Unauthenticated);
            }
        };
        let mut out_of_reach = None;
        for provider in &self.providers {
            match tokio::time::timeout(PROVIDER_TIMEOUT, verdict(&**provider, token)).await {
                Ok(Ok(Verdict::Recognised(principal))) => return Ok(principal),
                Ok(Ok(Verdict::NotMine)) => {}
                Ok(Ok(Verdict::OutOfReach)) | Err(_) => {
                    out_of_reach.get_or_insert(provider.name());
                }
                Ok(Err(error)) => warn!(provider = provider.name(), %error, "token provider failed"),
            }
        }
        Err(out_of_reach.map_or(ApiError::Unauthenticated, |name| ApiError::ProviderUnreachable(name.to_owned())))
    }

    /// How long `peer` has to wait after yet another failure, if it has had too many.
    fn slowed(&self, peer: IpAddr) -> Option<Duration> {
        // Every critical section leaves the table whole, so a poisoned lock is still a good one.
        self.slow.lock().unwrap_or_else(PoisonError::into_inner).failed(peer, Instant::now())
    }
}

/// A provider that panics has failed, and nobody else has.
async fn verdict(provider: &dyn TokenProvider, token: &str) -> Result<Verdict, ProviderFailed> {
    let panicked = |_| ProviderFailed("it panicked".to_owned());
    // Asking and waiting may each panic. What a provider leaves half done is its own.
    let asked = catch_unwind(AssertUnwindSafe(|| provider.verify(token))).map_err(panicked)?;
    AssertUnwindSafe(asked).catch_unwind().await.map_err(panicked)?
}

fn permitted(principal: TokenPrincipal, scope: Option<&str>) -> Result<TokenPrincipal, ApiError> {
    match scope {
        Some(scope) if !principal.scopes.iter().any(|held| held == scope) => {
            Err(ApiError::MissingScope(scope.to_owned()))
        }
        _ => Ok(principal),
    }
}

impl<'a> Asked<'a> {
    fn by(request: &'a HttpRequest, scope: Option<&'static str>) -> Self {
        let Caller { address, loopback } = Caller::of(request);
        Self { credential: Credential::of(request.headers()), path: request.path(), peer: address, loopback, scope }
    }
}

impl<'a> Credential<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION);
        let (Some(value), second) = (values.next(), values.next()) else { return Self::None };
        // A secret may be of any characters, and a header is of bytes.
        let text = std::str::from_utf8(value.as_bytes()).ok().filter(|_| second.is_none());
        match text.and_then(|text| text.trim().split_once(' ')) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
                Self::Bearer(token.trim())
            }
            _ => Self::Unreadable,
        }
    }
}

/// The principal that the seam let pass; only on routes that opted in.
impl FromRequest for TokenPrincipal {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get::<Self>().cloned().ok_or(ApiError::Unauthenticated))
    }
}
