//! The provider of the drain secret: one shared value, of which only a digest is kept.

use caduceus_actors::profile::strength::{self, Weakness};
use caduceus_actors::settings::DrainAuth;
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::provider::{DRAIN, ProviderFailed, TokenPrincipal, TokenProvider, TokenVerdict};

/// Recognises the drain secret.
pub(super) struct DrainSecret {
    digest: [u8; 32],
    scope: String,
}

impl DrainSecret {
    /// The configured secret, if there is one and it is strong enough.
    pub(super) fn load(auth: &DrainAuth) -> Option<Result<Self, Weakness>> {
        let secret = auth.secret.as_ref()?.expose_secret().trim();
        let scope = match auth.scope.trim() {
            "" => DRAIN,
            scope => scope,
        };
        let digest = || Sha256::digest(secret.as_bytes()).into();
        Some(strength::assess(secret, auth.min_chars).map(|()| Self { digest: digest(), scope: scope.to_owned() }))
    }
}

impl TokenProvider for DrainSecret {
    fn name(&self) -> &'static str {
        "drain-secret"
    }

    // Digests have one length, so the comparison takes the same time for every token.
    fn verify<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<TokenVerdict, ProviderFailed>> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let verdict = if bool::from(digest.ct_eq(&self.digest)) {
            TokenVerdict::Recognised(TokenPrincipal {
                principal: "drain-control".to_owned(),
                provider: self.name(),
                scopes: vec![self.scope.clone()],
            })
        } else {
            TokenVerdict::NotRecognised
        };
        ready(Ok(verdict)).boxed_local()
    }
}
