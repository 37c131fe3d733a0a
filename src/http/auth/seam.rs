//! The token seam: authenticates requests, checks scopes, and records every decision.

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

use super::asked::{Asked, RequestCredential};
use super::audit::{self, AuditEntry, AuthAudit};
use super::drain_secret::DrainSecret;
use super::provider::{DRAIN, ProviderFailed, TokenPrincipal, TokenProvider, TokenVerdict};
use super::slow::SlowDown;
use crate::http::admission::Admission;
use crate::http::connection::ClientConnection;
use crate::http::error::ApiError;

/// Longest wait for one provider; after that it counts as unreachable.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(5);

/// Decides on tokens.
pub(in crate::http) struct Seam {
    providers: Vec<Box<dyn TokenProvider>>,
    /// The principal of a client on loopback without a token, where that is enough.
    on_loopback: Option<TokenPrincipal>,
    audit: AuthAudit,
    slow: Mutex<SlowDown>,
}

impl Seam {
    /// The seam of one gateway. A weak secret is refused, and so is what needs it.
    pub(in crate::http) fn new(drain: &DrainAuth, insecure_loopback: bool, home: &Path, redactor: Redactor) -> Self {
        let mut providers: Vec<Box<dyn TokenProvider>> = Vec::new();
        let mut on_loopback = None;
        match DrainSecret::load(drain) {
            None if insecure_loopback => {
                warn!("drain orders from loopback are accepted without a token");
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

    pub(super) fn with(providers: Vec<Box<dyn TokenProvider>>, home: &Path, redactor: Redactor) -> Self {
        let audit = AuthAudit::open(home.join("logs").join("dashboard-auth.log"), audit::LARGEST, redactor);
        Self { providers, on_loopback: None, audit, slow: Mutex::default() }
    }

    /// Whether the client may see everything: it is on this machine, or authenticated.
    ///
    /// # Errors
    /// A token that is not good is an error, never the same as none.
    pub(in crate::http) async fn trusts(&self, request: &HttpRequest) -> Result<bool, ApiError> {
        let asked = Asked::by(request, None);
        if asked.loopback {
            return Ok(true);
        }
        match asked.credential {
            RequestCredential::None => Ok(false),
            RequestCredential::Unreadable | RequestCredential::Bearer(_) => {
                self.admit(request, None).await.map(|_| true)
            }
        }
    }

    /// Whether a request shows a good token, wherever it comes from.
    pub(in crate::http) async fn proves(&self, request: &HttpRequest) -> bool {
        let asked = Asked::by(request, None);
        matches!(asked.credential, RequestCredential::Bearer(_)) && self.admit(request, None).await.is_ok()
    }

    /// Decides on a request; a good token marks its peer and its connection as known.
    pub(super) async fn admit(
        &self,
        request: &HttpRequest,
        scope: Option<&'static str>,
    ) -> Result<TokenPrincipal, ApiError> {
        let asked = Asked::by(request, scope);
        let decision = self.decide(asked).await;
        let proven = matches!(decision, Ok(_) | Err(ApiError::MissingScope(_)));
        if proven
            && matches!(asked.credential, RequestCredential::Bearer(_))
            && let Some(admission) = request.app_data::<Admission>()
        {
            admission.note(asked.peer, None);
            if let Some(connection) = ClientConnection::of(request) {
                connection.prove();
            }
        }
        decision
    }

    /// Decides, and records the decision.
    ///
    /// # Errors
    /// [`ApiError`] with the reason.
    pub(in crate::http) async fn decide(&self, asked: Asked<'_>) -> Result<TokenPrincipal, ApiError> {
        let decision = self.recognise(asked).await.and_then(|principal| permitted(principal, asked.scope));
        self.audit.note(AuditEntry::of(asked, &decision));
        match decision {
            Ok(principal) => Ok(principal),
            // Only guesses are slowed down; a known principal without the scope does not guess.
            Err(error @ ApiError::MissingScope(_)) => Err(error),
            Err(error) => Err(self.slowed(asked.peer).map_or(error, ApiError::SlowDown)),
        }
    }

    async fn recognise(&self, asked: Asked<'_>) -> Result<TokenPrincipal, ApiError> {
        let token = match asked.credential {
            RequestCredential::Bearer(token) => token,
            RequestCredential::Unreadable => return Err(ApiError::Unauthenticated),
            RequestCredential::None => {
                let known = self.on_loopback.clone().filter(|_| asked.loopback);
                return known.ok_or(ApiError::Unauthenticated);
            }
        };
        let mut out_of_reach = None;
        for provider in &self.providers {
            match tokio::time::timeout(PROVIDER_TIMEOUT, verdict(&**provider, token)).await {
                Ok(Ok(TokenVerdict::Recognised(principal))) => return Ok(principal),
                Ok(Ok(TokenVerdict::NotMine)) => {}
                Ok(Ok(TokenVerdict::OutOfReach)) | Err(_) => {
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
        locked(&self.slow).failed(peer, Instant::now())
    }
}

/// A provider that panics has failed; the others are asked on.
async fn verdict(provider: &dyn TokenProvider, token: &str) -> Result<TokenVerdict, ProviderFailed> {
    let panicked = |_| ProviderFailed("it panicked".to_owned());
    // The call and the wait may each panic. The state of a provider after a panic is its own matter.
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
