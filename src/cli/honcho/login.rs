//! `caduceus honcho login`: authorization code with PKCE, with a browser and a loopback address.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use actix_web::rt::System;
use actix_web::rt::time::timeout;
use caduceus_actors::honcho::authorize::{EndpointError, Endpoints, LoginAttempt, LoginCallback, shown_path};
use caduceus_actors::honcho::exchange::{ExchangeError, TokenResponse, redeem};
use caduceus_actors::honcho::file::HonchoFile;
use caduceus_actors::honcho::grant::Grant;
use caduceus_actors::honcho::inspect::inspect;
use caduceus_actors::honcho::location::HonchoProfile;
use caduceus_actors::honcho::lock::{ConfigLock, LockError};
use caduceus_actors::honcho::refresh::{RefreshTimeouts, unix_now_ms};
use caduceus_actors::honcho::store::{self, Installed, ReadError, SaveError};
use caduceus_actors::http_client::HttpClient;
use caduceus_actors::settings::Environment;
use serde_json::Value;

use super::grant_selector::GrantSelector;
use super::loopback::{Loopback, Page, Redirect};
use super::time::approximate;
use crate::cli::failure::fail;
use crate::cli::secrets::{no_randomness, random};
use crate::cli::{CONFIGURATION, DENIED, PROTOCOL, REFUSED, TRY_AGAIN};
use crate::out::print;

/// Log in to Honcho with a browser, and save the grant for a profile.
///
/// Exits with 0 once the grant is saved, with 69 if another login is under way, with 75 if the time limit is reached or the server
/// cannot be reached, with 76 if an answer is not for this login or is invalid, with 77 if the login was denied, with 78
/// if the grant's file or an address cannot be used.
#[derive(Debug, clap::Args)]
pub(super) struct LoginGrantArguments {
    #[command(flatten)]
    selector: GrantSelector,
    /// Start no browser, only print the address to open.
    #[arg(long)]
    no_browser: bool,
    /// Save the tokens only, and not the settings that come with them.
    #[arg(long)]
    tokens_only: bool,
    /// How long to wait for the login.
    #[arg(long, hide = true, value_name = "SECONDS", default_value_t = 300)]
    limit_s: u64,
}

/// Why there is no new grant.
#[derive(Debug, thiserror::Error)]
enum LoginError {
    #[error("another login for {0} is under way; end it first, or wait until it ends by itself")]
    Pending(PathBuf),
    #[error("a grant could not be saved, so the login did not begin")]
    NotReady(#[source] SaveError),
    #[error("the grant's file cannot be locked")]
    Lock(#[source] LockError),
    #[error("the login cannot begin")]
    Endpoint(#[source] EndpointError),
    #[error("no loopback address for the redirect")]
    Loopback(#[source] std::io::Error),
    #[error("no login within {0} s; run the command again")]
    TimeOver(u64),
    #[error("the login was denied ({0})")]
    Denied(String),
    #[error("the redirect belongs to another login (its state differs); nothing was saved, run the command again")]
    Foreign,
    #[error("the redirect holds neither a code nor an error")]
    Empty,
    #[error("the server did not accept the code: it is used or expired; run the command again")]
    CodeRefused,
    #[error("the server cannot be reached or did not answer; run the command again")]
    Unreachable(#[source] ExchangeError),
    #[error("the server's answer cannot be used")]
    InvalidAnswer(#[source] ExchangeError),
    #[error("the server's answer cannot be used: it holds no refresh token")]
    NoRefreshToken,
    #[error("the grant was issued and cannot be saved; correct the cause and log in again")]
    Unsaved(#[source] SaveError),
    #[error(
        "the file became unreadable during the login, so the grant is kept in {}; correct the file and log in again", .0.display()
    )]
    KeptBeside(PathBuf),
}

impl LoginError {
    fn code(&self) -> u8 {
        match self {
            Self::Pending(_) => REFUSED,
            Self::Lock(_) | Self::Loopback(_) | Self::TimeOver(_) | Self::Unreachable(_) => TRY_AGAIN,
            Self::Foreign | Self::Empty | Self::InvalidAnswer(_) | Self::NoRefreshToken => PROTOCOL,
            Self::Denied(_) | Self::CodeRefused => DENIED,
            Self::NotReady(_) | Self::Endpoint(_) | Self::Unsaved(_) | Self::KeptBeside(_) => CONFIGURATION,
        }
    }
}

impl From<ExchangeError> for LoginError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::NotSent(_)
            | ExchangeError::NoAnswer(_)
            | ExchangeError::Unclear(_)
            | ExchangeError::Status { status: 500.., .. } => Self::Unreachable(error),
            ExchangeError::InvalidGrant => Self::CodeRefused,
            ExchangeError::Unusable(_) | ExchangeError::Status { .. } => Self::InvalidAnswer(error),
        }
    }
}

pub(super) fn run(arguments: LoginGrantArguments) -> ExitCode {
    let LoginGrantArguments { selector, no_browser, tokens_only, limit_s } = arguments;
    let (settings, profile) = match selector.find() {
        Ok(found) => found,
        Err(code) => return code,
    };
    let Some(random) = random() else { return no_randomness() };
    let client = settings.client.clone();
    let login = LoginFlow { client, browser: !no_browser, tokens_only, limit: Duration::from_secs(limit_s) };
    match login.run(&profile, &settings.environment, &random) {
        Ok(good_for_s) => {
            print(&format!(
                "Logged in: profile {} has a token that is valid for {}.\n",
                profile.name,
                approximate(good_for_s)
            ));
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error, error.code()),
    }
}

/// How to log in.
struct LoginFlow {
    client: HttpClient,
    browser: bool,
    tokens_only: bool,
    limit: Duration,
}

/// The file and host of the grant.
struct LoginTarget {
    path: PathBuf,
    host: String,
}

impl LoginFlow {
    /// Returns for how many seconds the new token is valid.
    fn run(&self, profile: &HonchoProfile, environment: &Environment, random: &[u8; 64]) -> Result<u64, LoginError> {
        let found = inspect(profile, unix_now_ms());
        let target = LoginTarget { path: found.path, host: found.host };
        let _pending = claim(&target.path)?;
        let endpoints = target.rehearse(environment)?;
        let loopback = Loopback::bind().map_err(LoginError::Loopback)?;
        let attempt = LoginAttempt::new(loopback.redirect(), random);
        let address = attempt.address(&endpoints, &shown_path(&target.path, profile.homes.user.as_deref()));
        System::new().block_on(async {
            let (server, redirects) = loopback.serve().map_err(LoginError::Loopback)?;
            self.show_address(address.as_str());
            let ended = match timeout(self.limit, redirects).await {
                Ok(Ok(redirect)) => self.receive(redirect, &attempt, &endpoints, &target).await,
                Ok(Err(_)) | Err(_) => Err(LoginError::TimeOver(self.limit.as_secs())),
            };
            server.stop(true).await;
            ended
        })
    }

    fn show_address(&self, address: &str) {
        let opened = self.browser && open_browser(address);
        let first = if opened { "A browser should open" } else { "Open in a browser on this machine" };
        print(&format!("{first}\n\n  {address}\n\nand log in within {}.\n", approximate(self.limit.as_secs())));
    }

    /// Finishes the login, and shows the result in the browser.
    async fn receive(
        &self,
        redirect: Redirect,
        attempt: &LoginAttempt,
        endpoints: &Endpoints,
        target: &LoginTarget,
    ) -> Result<u64, LoginError> {
        let ended = self.complete(&redirect.query, attempt, endpoints, target).await;
        let page = match &ended {
            Ok(_) => Page { good: true, sentence: "You may close this page and go back to the terminal.".to_owned() },
            Err(error) => Page { good: false, sentence: format!("{error}. You may close this page.") },
        };
        // If the browser is gone, the terminal still shows the result.
        let _ = redirect.show.send(page);
        ended
    }

    async fn complete(
        &self,
        query: &str,
        attempt: &LoginAttempt,
        endpoints: &Endpoints,
        target: &LoginTarget,
    ) -> Result<u64, LoginError> {
        let code = match attempt.callback(query) {
            LoginCallback::Approved(code) => code,
            LoginCallback::Denied(word) => return Err(LoginError::Denied(word)),
            LoginCallback::Foreign => return Err(LoginError::Foreign),
            LoginCallback::Empty => return Err(LoginError::Empty),
        };
        let mut answer = redeem(&self.client, endpoints, attempt, &code, RefreshTimeouts::default().exchange).await?;
        let config = answer.config.take().filter(|_| !self.tokens_only);
        let good_for_s = u64::try_from(answer.life_s).unwrap_or(0);
        let grant = granted(answer, endpoints)?;
        // Waits for the lock and the disk; the server has a separate thread, so this thread may block.
        target.install(&grant, config.as_deref()).map(|()| good_for_s)
    }
}

impl LoginTarget {
    /// Checks that a grant could be saved, before a person logs in.
    fn rehearse(&self, environment: &Environment) -> Result<Endpoints, LoginError> {
        let lock = self.lock()?;
        store::check_install(&lock, &self.host).map_err(LoginError::NotReady)?;
        let file = store::read(lock.target()).map_err(|error: ReadError| LoginError::NotReady(error.into()))?;
        let file = file.unwrap_or_else(HonchoFile::empty);
        Endpoints::resolve(environment, &file, &self.host).map_err(LoginError::Endpoint)
    }

    fn install(&self, grant: &Grant, config: Option<&Value>) -> Result<(), LoginError> {
        let lock = self.lock()?;
        let config = config.and_then(Value::as_object);
        match store::install(&lock, &self.host, grant, config).map_err(LoginError::Unsaved)? {
            Installed::InPlace => Ok(()),
            Installed::Beside(path) => Err(LoginError::KeptBeside(path)),
        }
    }

    fn lock(&self) -> Result<ConfigLock, LoginError> {
        ConfigLock::take(&self.path, RefreshTimeouts::default().lock_wait).map_err(LoginError::Lock)
    }
}

/// Makes this the only login for the file at `path`, until the returned lock is dropped. A separate lock, because a login may
/// take minutes and must not delay a refresh.
fn claim(path: &Path) -> Result<ConfigLock, LoginError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".login");
    ConfigLock::take(Path::new(&name), Duration::ZERO).map_err(|error| match error {
        LockError::Busy { .. } => LoginError::Pending(path.to_owned()),
        LockError::Io { .. } => LoginError::Lock(error),
    })
}

fn granted(answer: TokenResponse, endpoints: &Endpoints) -> Result<Grant, LoginError> {
    Ok(Grant {
        access_token: answer.access_token,
        refresh_token: answer.refresh_token.ok_or(LoginError::NoRefreshToken)?,
        expires_at_ms: unix_now_ms().saturating_add(answer.life_s.saturating_mul(1_000)).into(),
        client_id: endpoints.client_id.clone(),
        token_endpoint: endpoints.token.to_string(),
        scope: answer.scope.unwrap_or_else(|| endpoints.scope.clone()),
        token_type: answer.token_type.unwrap_or_else(|| "Bearer".to_owned()),
    })
}

/// Asks the system for a browser. Whether one opens is unknown.
fn open_browser(address: &str) -> bool {
    let command = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let spawn = |browser: &mut Command| {
        // In a separate process group: Ctrl-C ends the login and not the browser.
        browser.arg(address).process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    };
    spawn(&mut Command::new(command)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unavailable_server_is_a_temporary_failure_and_a_used_code_is_denied() {
        let code = |error: ExchangeError| LoginError::from(error).code();
        assert_eq!(code(ExchangeError::NotSent("x".to_owned())), TRY_AGAIN);
        assert_eq!(code(ExchangeError::Status { status: 503, code: None, retry_after: None }), TRY_AGAIN);
        assert_eq!(code(ExchangeError::InvalidGrant), DENIED);
        assert_eq!(code(ExchangeError::Status { status: 400, code: None, retry_after: None }), PROTOCOL);
        assert_eq!(code(ExchangeError::Unusable("x")), PROTOCOL);
    }
}
