//! The seam with providers of all kinds.

use std::net::IpAddr;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};

use super::{Asked, Credential, ProviderFailed, Seam, TokenPrincipal, TokenProvider, Verdict};
use crate::http::error::ApiError;

/// Says the same of every token; `None` breaks, as does one that takes for ever (`Slow`).
struct Says(&'static str, Option<Verdict>);
struct Slow;

impl TokenProvider for Says {
    fn name(&self) -> &'static str {
        self.0
    }
    fn verify<'a>(&'a self, _: &'a str) -> LocalBoxFuture<'a, Result<Verdict, ProviderFailed>> {
        ready(self.1.clone().ok_or_else(|| ProviderFailed("broken".into()))).boxed_local()
    }
}

impl TokenProvider for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }
    fn verify<'a>(&'a self, _: &'a str) -> LocalBoxFuture<'a, Result<Verdict, ProviderFailed>> {
        std::future::pending().boxed_local()
    }
}

fn knows(provider: &'static str) -> Box<dyn TokenProvider> {
    let scopes = vec!["drain".to_owned()];
    Box::new(Says(provider, Some(Verdict::Recognised(TokenPrincipal { principal: "p".into(), provider, scopes }))))
}

fn says(name: &'static str, verdict: Option<Verdict>) -> Box<dyn TokenProvider> {
    Box::new(Says(name, verdict))
}

async fn decide(providers: Vec<Box<dyn TokenProvider>>) -> Result<&'static str, ApiError> {
    let home = tempfile::tempdir().unwrap();
    let peer = IpAddr::from([10, 0, 0, 1]);
    let credential = Credential::Bearer("token");
    let asked = Asked { credential, path: "/x", peer, loopback: false, scope: Some("drain") };
    Seam::with(providers, home.path()).decide(asked).await.map(|principal| principal.provider)
}

#[actix_web::test]
async fn the_first_to_recognise_wins() {
    let others = || vec![says("a", Some(Verdict::NotMine)), says("b", Some(Verdict::OutOfReach)), says("c", None)];
    let mut providers = others();
    providers.extend([knows("first"), knows("second")]);
    assert_eq!(decide(providers).await.unwrap(), "first");
}

#[actix_web::test]
async fn a_provider_out_of_reach_counts_only_when_nobody_recognised() {
    let providers = vec![says("a", Some(Verdict::OutOfReach)), says("b", Some(Verdict::NotMine))];
    assert!(matches!(decide(providers).await, Err(ApiError::ProviderUnreachable(name)) if name == "a"));
}

#[actix_web::test]
async fn a_provider_that_breaks_is_skipped() {
    assert!(matches!(decide(vec![says("a", None)]).await, Err(ApiError::Unauthenticated)));
    assert_eq!(decide(vec![says("a", None), knows("b")]).await.unwrap(), "b");
}

#[actix_web::test]
async fn a_provider_that_never_answers_is_out_of_reach() {
    assert!(matches!(decide(vec![Box::new(Slow)]).await, Err(ApiError::ProviderUnreachable(name)) if name == "slow"));
}

#[actix_web::test]
async fn without_providers_nobody_is_known() {
    assert!(matches!(decide(Vec::new()).await, Err(ApiError::Unauthenticated)));
}
