//! The authenticator with providers of all kinds.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use caduceus_actors::profile::Redactor;
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};

use super::audit::{AuditEntry, AuthAudit};
use super::provider::{ProviderFailed, TokenProvider, TokenVerdict};
use super::{AuthRequest, Authenticator, RequestCredential, RequiredScope, TokenPrincipal};
use crate::http::error::ApiError;

/// Gives every token the same verdict; `None` fails. `Silent` never answers.
struct FixedVerdict(&'static str, Option<TokenVerdict>);
struct Silent;
/// Panics when it is called, or when its answer is awaited.
struct Panics {
    at_once: bool,
}

impl TokenProvider for Panics {
    fn name(&self) -> &'static str {
        "panics"
    }
    fn verify<'a>(&'a self, _: &'a str) -> LocalBoxFuture<'a, Result<TokenVerdict, ProviderFailed>> {
        assert!(!self.at_once, "planted: at once");
        async { panic!("planted: later") }.boxed_local()
    }
}

impl TokenProvider for FixedVerdict {
    fn name(&self) -> &'static str {
        self.0
    }
    fn verify<'a>(&'a self, _: &'a str) -> LocalBoxFuture<'a, Result<TokenVerdict, ProviderFailed>> {
        ready(self.1.clone().ok_or_else(|| ProviderFailed("broken".into()))).boxed_local()
    }
}

impl TokenProvider for Silent {
    fn name(&self) -> &'static str {
        "slow"
    }
    fn verify<'a>(&'a self, _: &'a str) -> LocalBoxFuture<'a, Result<TokenVerdict, ProviderFailed>> {
        std::future::pending().boxed_local()
    }
}

fn recognises(provider: &'static str) -> Box<dyn TokenProvider> {
    let scopes = vec!["drain".to_owned()];
    Box::new(FixedVerdict(
        provider,
        Some(TokenVerdict::Recognised(TokenPrincipal { principal: "p".into(), provider, scopes })),
    ))
}

fn with_verdict(name: &'static str, verdict: Option<TokenVerdict>) -> Box<dyn TokenProvider> {
    Box::new(FixedVerdict(name, verdict))
}

async fn decide(providers: Vec<Box<dyn TokenProvider>>) -> Result<&'static str, ApiError> {
    let home = tempfile::tempdir().unwrap();
    let peer = IpAddr::from([10, 0, 0, 1]);
    let credential = RequestCredential::Bearer("token");
    let request = AuthRequest {
        credential,
        path: "/x",
        peer,
        loopback: false,
        scope: Some(RequiredScope::ByTokenOrFlag("drain")),
    };
    Authenticator::with(providers, home.path(), Redactor::default())
        .decide(request)
        .await
        .map(|principal| principal.provider)
}

#[actix_web::test]
async fn the_first_provider_that_recognises_a_token_decides() {
    let others = || {
        vec![
            with_verdict("a", Some(TokenVerdict::NotRecognised)),
            with_verdict("b", Some(TokenVerdict::Unreachable)),
            with_verdict("c", None),
        ]
    };
    let mut providers = others();
    providers.extend([recognises("first"), recognises("second")]);
    assert_eq!(decide(providers).await.unwrap(), "first");
}

#[actix_web::test]
async fn an_unreachable_provider_counts_only_if_no_other_recognised_the_token() {
    let providers =
        vec![with_verdict("a", Some(TokenVerdict::Unreachable)), with_verdict("b", Some(TokenVerdict::NotRecognised))];
    assert!(matches!(decide(providers).await, Err(ApiError::ProviderUnreachable(name)) if name == "a"));
}

#[actix_web::test]
async fn a_provider_that_fails_is_skipped() {
    assert!(matches!(decide(vec![with_verdict("a", None)]).await, Err(ApiError::Unauthenticated)));
    assert_eq!(decide(vec![with_verdict("a", None), recognises("b")]).await.unwrap(), "b");
}

#[actix_web::test]
async fn a_provider_that_never_answers_is_unreachable() {
    assert!(matches!(decide(vec![Box::new(Silent)]).await, Err(ApiError::ProviderUnreachable(name)) if name == "slow"));
}

#[actix_web::test]
async fn a_provider_that_panics_is_skipped() {
    for at_once in [true, false] {
        let alone: Vec<Box<dyn TokenProvider>> = vec![Box::new(Panics { at_once })];
        assert!(matches!(decide(alone).await, Err(ApiError::Unauthenticated)));
        assert_eq!(decide(vec![Box::new(Panics { at_once }), recognises("b")]).await.unwrap(), "b");
    }
}

#[actix_web::test]
async fn an_unreachable_provider_is_logged_by_its_name() {
    let home = tempfile::tempdir().unwrap();
    let request = AuthRequest {
        credential: RequestCredential::Bearer("hunter2"),
        path: "/x",
        peer: IpAddr::from([10, 0, 0, 1]),
        loopback: false,
        scope: None,
    };
    let authenticator = Authenticator::with(
        vec![with_verdict("far", Some(TokenVerdict::Unreachable))],
        home.path(),
        Redactor::default(),
    );
    assert!(authenticator.decide(request).await.is_err());
    let log = home.path().join("logs/dashboard-auth.log");
    let line = written(&log, |text| text.ends_with('\n'));
    let rest = line.split_once(r#"","event""#).unwrap().1;
    assert_eq!(
        rest,
        ":\"token_auth_failure\",\"provider\":\"far\",\"reason\":\"provider_unreachable\",\"path\":\"/x\",\"ip\":\"10.0.0.1\"}\n"
    );
}

/// The text of a file, once `is` accepts it.
fn written(path: &Path, is: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if is(&text) {
            return text;
        }
        assert!(Instant::now() < deadline, "{} was not written: {text}", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn refused(path: &str) -> AuditEntry {
    let peer = IpAddr::from([10, 0, 0, 1]);
    let request = AuthRequest { credential: RequestCredential::None, path, peer, loopback: false, scope: None };
    AuditEntry::of(request, &Err(ApiError::Unauthenticated))
}

#[test]
fn the_size_of_the_log_is_bounded() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("logs/dashboard-auth.log");
    let audit = AuthAudit::open(log.clone(), 4_096, Redactor::default());
    for n in 0..500 {
        audit.note(refused(&format!("/{}/{n}", "x".repeat(100_000))));
        std::thread::sleep(Duration::from_micros(200));
    }
    audit.note(refused("/last"));
    written(&log, |text| text.contains("/last"));
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    let (now, before) = (size(&log), size(&log.with_extension("log.1")));
    assert!(now <= 4_096 + 512 && (4_096..=4_096 + 512).contains(&before), "{now} and {before} bytes");
    assert_eq!(std::fs::read_dir(home.path().join("logs")).unwrap().count(), 2);
}

#[test]
fn a_log_that_cannot_be_written_delays_no_request_and_is_retried() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("logs");
    std::fs::write(&folder, "in the way").unwrap();
    let audit = AuthAudit::open(folder.join("dashboard-auth.log"), 4_096, Redactor::default());
    let begun = Instant::now();
    for _ in 0..10_000 {
        audit.note(refused("/x"));
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    std::fs::remove_file(&folder).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !folder.join("dashboard-auth.log").exists() {
        assert!(Instant::now() < deadline, "the write was not tried again");
        audit.note(refused("/again"));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_renamed_or_removed_log_is_reopened_and_the_old_file_is_not_written() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("logs/dashboard-auth.log");
    let rotated = log.with_extension("log.old");
    let audit = AuthAudit::open(log.clone(), 4_096, Redactor::default());
    audit.note(refused("/first"));
    written(&log, |text| text.contains("/first"));
    std::fs::rename(&log, &rotated).unwrap();
    audit.note(refused("/second"));
    written(&log, |text| text.contains("/second"));
    std::fs::remove_dir_all(log.parent().unwrap()).unwrap();
    audit.note(refused("/third"));
    written(&log, |text| text.contains("/third"));
    std::fs::rename(&log, &rotated).unwrap();
    std::os::unix::fs::symlink(&rotated, &log).unwrap();
    audit.note(refused("/fourth"));
    std::fs::remove_file(&log).unwrap();
    audit.note(refused("/fifth"));
    written(&log, |text| text.contains("/fifth"));
    let old = std::fs::read_to_string(&rotated).unwrap();
    assert!(old.contains("/third") && !old.contains("/fourth") && !old.contains("/fifth"), "{old}");
}

#[actix_web::test]
async fn without_providers_no_client_is_authenticated() {
    assert!(matches!(decide(Vec::new()).await, Err(ApiError::Unauthenticated)));
}

#[test]
fn no_secret_in_a_path_is_logged() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("logs/dashboard-auth.log");
    let redactor = Redactor::default();
    redactor.replace("http authenticator", [("DRAIN_SECRET", &"drain/secret-1234".into())]);
    let audit = AuthAudit::open(log.clone(), 4_096, redactor);
    audit.note(refused("/x/drain/secret-1234/y"));
    audit.note(refused("/x/drain%2fsecret-1234/y"));
    // Longer than what is written of a path: no half of it is left where it ends.
    audit.note(refused(&format!("/{}drain%2Fsecret-1234/last", "x".repeat(220))));
    audit.note(refused("/last"));
    let text = written(&log, |text| text.contains("\"/last\""));
    assert_eq!(text.matches("/x/[redacted:DRAIN_SECRET]/y\"").count(), 2, "{text}");
    assert_eq!(text.matches("[redacted:DRAIN_SECRET]").count(), 3, "{text}");
    assert!(!text.contains("drain%") && !text.contains("secret-1"), "{text}");
}
