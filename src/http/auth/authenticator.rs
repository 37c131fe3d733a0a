//! Authenticates requests, checks scopes, and records every decision.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use caduceus_actors::locked::locked;
use caduceus_actors::profile::Redactor;
use caduceus_actors::settings::DrainAuth;
use futures_util::FutureExt as _;
use tracing::{error, info, warn};

use super::audit::{self, AuditEntry, AuthAudit};
use super::auth_request::{AuthRequest, RequestCredential, RequiredScope};
use super::drain_secret::DrainSecret;
use super::provider::{DRAIN, ProviderFailed, TokenPrincipal, TokenProvider, TokenVerdict};
use super::rate_limit::PeerRateLimit;
use crate::http::admission::Admission;
use crate::http::connection::ClientConnection;
use crate::http::error::ApiError;

/// Longest wait for one provider; after that it counts as unreachable.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(5);

/// Decides on tokens.
pub(in crate::http) struct Authenticator {
    providers: Vec<Box<dyn TokenProvider>>,
    /// The principal of a client on loopback without a token, where that is enough.
    on_loopback: Option<TokenPrincipal>,
    audit: AuthAudit,
    failures: Mutex<PeerRateLimit>,
}

impl Authenticator {
    /// The authenticator of one gateway. A weak secret is not used; requests that need it are refused.
    pub(in crate::http) fn new(drain: &DrainAuth, insecure_loopback: bool, home: &Path, redactor: Redactor) -> Self {
        let mut providers: Vec<Box<dyn TokenProvider>> = Vec::new();
        let mut on_loopback = None;
        match DrainSecret::load(drain) {
            None if insecure_loopback => {
                warn!(
                    "every process on this machine may drain, and retry and drop rows of the ledger, without a token. Texts of the ledger need the token of a drain secret"
                );
                let scopes = vec![DRAIN.to_owned()];
                on_loopback = Some(TokenPrincipal { principal: "dashboard".into(), provider: "loopback", scopes });
            }
            None => info!("no drain secret is set; drain requests over HTTP are refused"),
            Some(Err(weakness)) => {
                error!(reason = weakness.word(), %weakness, "drain secret refused; drain requests over HTTP are refused");
            }
            Some(Ok(secret)) => providers.push(Box::new(secret)),
        }
        Self { on_loopback, ..Self::with(providers, home, redactor) }
    }

    pub(super) fn with(providers: Vec<Box<dyn TokenProvider>>, home: &Path, redactor: Redactor) -> Self {
        let audit = AuthAudit::open(home.join("logs").join("dashboard-auth.log"), audit::MAX_FILE_BYTES, redactor);
        Self { providers, on_loopback: None, audit, failures: Mutex::default() }
    }

    /// Whether the client gets the full status: it is on this machine, or has a valid token.
    ///
    /// # Errors
    /// [`ApiError`] for an invalid token; a request without a token is `false`.
    pub(in crate::http) async fn is_authenticated(&self, request: &HttpRequest) -> Result<bool, ApiError> {
        let auth_request = AuthRequest::new(request, None);
        if auth_request.loopback {
            return Ok(true);
        }
        match auth_request.credential {
            RequestCredential::None => Ok(false),
            RequestCredential::Unreadable | RequestCredential::Bearer(_) => {
                self.admit(request, None).await.map(|_| true)
            }
        }
    }

    /// Whether a request has a valid token; its address does not count.
    pub(in crate::http) async fn has_valid_token(&self, request: &HttpRequest) -> bool {
        let auth_request = AuthRequest::new(request, None);
        matches!(auth_request.credential, RequestCredential::Bearer(_)) && self.admit(request, None).await.is_ok()
    }

    /// Decides on a request; a valid token marks its peer and its connection as known.
    pub(super) async fn admit(
        &self,
        request: &HttpRequest,
        scope: Option<RequiredScope>,
    ) -> Result<TokenPrincipal, ApiError> {
        let auth_request = AuthRequest::new(request, scope);
        let decision = self.decide(auth_request).await;
        let recognised = matches!(decision, Ok(_) | Err(ApiError::MissingScope(_)));
        if recognised
            && matches!(auth_request.credential, RequestCredential::Bearer(_))
            && let Some(admission) = request.app_data::<Admission>()
        {
            admission.note(auth_request.peer, None);
            if let Some(connection) = ClientConnection::of(request) {
                connection.mark_known();
            }
        }
        decision
    }

    /// Decides, and records the decision.
    ///
    /// # Errors
    /// [`ApiError`] with the reason.
    pub(in crate::http) async fn decide(&self, request: AuthRequest<'_>) -> Result<TokenPrincipal, ApiError> {
        let decision = self.recognise(request).await.and_then(|principal| permitted(principal, request.scope));
        self.audit.note(AuditEntry::of(request, &decision));
        match decision {
            Ok(principal) => Ok(principal),
            // Only guesses are limited; a known principal without the scope does not guess, nor a client without a token where none is set.
            Err(error @ (ApiError::MissingScope(_) | ApiError::TokenRequired)) => Err(error),
            Err(error) => Err(self.rate_limited(request.peer).map_or(error, ApiError::TooManyAttempts)),
        }
    }

    async fn recognise(&self, request: AuthRequest<'_>) -> Result<TokenPrincipal, ApiError> {
        let token = match request.credential {
            RequestCredential::Bearer(token) => token,
            RequestCredential::Unreadable => return Err(ApiError::Unauthenticated),
            RequestCredential::None => {
                let principal =
                    self.on_loopback.clone().filter(|_| request.loopback).ok_or(ApiError::Unauthenticated)?;
                return match request.scope {
                    Some(RequiredScope::ByToken(_)) => Err(ApiError::TokenRequired),
                    Some(RequiredScope::ByTokenOrFlag(_)) | None => Ok(principal),
                };
            }
        };
        let mut unreachable = None;
        for provider in &self.providers {
            match tokio::time::timeout(PROVIDER_TIMEOUT, verdict(&**provider, token)).await {
                Ok(Ok(TokenVerdict::Recognised(principal))) => return Ok(principal),
                Ok(Ok(TokenVerdict::NotRecognised)) => {}
                Ok(Ok(TokenVerdict::Unreachable)) | Err(_) => {
                    unreachable.get_or_insert(provider.name());
                }
                Ok(Err(error)) => warn!(provider = provider.name(), %error, "token provider failed"),
            }
        }
        Err(unreachable.map_or(ApiError::Unauthenticated, |name| ApiError::ProviderUnreachable(name.to_owned())))
    }

    /// How long `peer` has to wait after one more failure, if it has had too many.
    fn rate_limited(&self, peer: IpAddr) -> Option<Duration> {
        // Every critical section leaves the table valid, so a poisoned lock can be used.
        locked(&self.failures).record(peer, Instant::now())
    }
}

/// A provider that panics has failed; the next one is called.
async fn verdict(provider: &dyn TokenProvider, token: &str) -> Result<TokenVerdict, ProviderFailed> {
    let panicked = |_| ProviderFailed("it panicked".to_owned());
    // The call and the wait may each panic. A provider is responsible for its own state after a panic.
    let answer = catch_unwind(AssertUnwindSafe(|| provider.verify(token))).map_err(panicked)?;
    AssertUnwindSafe(answer).catch_unwind().await.map_err(panicked)?
}

fn permitted(principal: TokenPrincipal, scope: Option<RequiredScope>) -> Result<TokenPrincipal, ApiError> {
    match scope.map(RequiredScope::name) {
        Some(scope) if !principal.scopes.iter().any(|held| held == scope) => {
            Err(ApiError::MissingScope(scope.to_owned()))
        }
        _ => Ok(principal),
    }
}
