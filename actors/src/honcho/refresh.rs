//! One refresh, from the lock to the disk, as straight code on a separate thread.
//!
//! The lock is a value on that thread's stack: it is held until the thread ends, whatever happens to the actor that
//! requested the refresh. The decision here, under the lock, is *whether* to exchange; *when* is decided elsewhere.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{error, warn};

use super::exchange::{ExchangeError, TokenResponse, exchange};
use super::grant::Grant;
use super::lock::ConfigLock;
use super::note::{NO_ANSWER, Notes, TokenNote, TokenOutcome};
use super::outcome::{RefreshOutcome, Unsaved};
use super::steps::{RefreshStep, StepHook};
use super::store::{self, ReservedFile, Saved};
use super::verdict::{ExchangeVerdict, GrantUnderLock, RefreshReason};
use crate::error_chain::error_chain;
use crate::http_client::HttpClient;
use crate::profile::redact::Redactor;

/// The timeouts of a refresh.
#[derive(Debug, Clone, Copy)]
pub struct RefreshTimeouts {
    /// Timeout for the lock.
    pub lock_wait: Duration,
    /// Timeout of the whole exchange.
    pub exchange: Duration,
    /// Wait before a token that may be spent is presented once more.
    pub retry_wait: Duration,
}

impl Default for RefreshTimeouts {
    /// 20 s, 15 s, 60 s. Another process may hold the lock for one exchange, so its timeout is the longer one.
    fn default() -> Self {
        Self {
            lock_wait: Duration::from_secs(20),
            exchange: Duration::from_secs(15),
            retry_wait: Duration::from_mins(1),
        }
    }
}

/// A refresh to carry out.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// The path of the file, links not followed.
    pub path: PathBuf,
    /// The host's name in it.
    pub host: String,
    /// The grant as the caller last saw it; a file with another one was rotated by another process. `None` if unknown.
    pub known: Option<Grant>,
    /// A grant that an earlier refresh could not save.
    pub unsaved: Option<Unsaved>,
    /// Why it runs.
    pub reason: RefreshReason,
    /// The timeouts.
    pub timeouts: RefreshTimeouts,
    /// The client for the exchange.
    pub client: HttpClient,
    /// Called at every step.
    pub steps: StepHook,
    /// Removes the new tokens from the log, before they are in the file.
    pub redactor: Redactor,
}

/// The result of a refresh.
#[derive(Debug, Clone)]
pub struct RefreshReport {
    /// The outcome.
    pub outcome: RefreshOutcome,
    /// Whether the refresh token left this machine.
    pub presented: bool,
}

impl Refresh {
    /// Runs the refresh. Blocks for as long as [`RefreshTimeouts`] allow, and must not be called from within an async runtime.
    #[must_use]
    pub fn run(&self) -> RefreshReport {
        let mut presented = false;
        let outcome = self.under_lock(&mut presented).unwrap_or_else(|outcome| outcome);
        RefreshReport { outcome, presented }
    }

    /// Runs the refresh on a separate thread and calls `done` in any case.
    ///
    /// # Errors
    /// The system's error if there is no thread; `done` is called as well.
    pub fn spawn(self, done: impl FnOnce(RefreshReport) + Send + 'static) -> io::Result<()> {
        let mut report_guard = ReportGuard { done: Some(done), started: false, retry_wait: self.timeouts.retry_wait };
        let work = move || {
            report_guard.started = true;
            let report = self.run();
            report_guard.send(report);
        };
        thread::Builder::new().name("honcho-refresh".to_owned()).spawn(work).map(drop)
    }

    // `Err` ends the refresh as well as `Ok`, only earlier.
    #[expect(clippy::result_large_err, reason = "it is made once an hour")]
    fn under_lock(&self, presented: &mut bool) -> Result<RefreshOutcome, RefreshOutcome> {
        let failed = |error: &(dyn std::error::Error + 'static)| RefreshOutcome::Failed(error_chain(error));
        let lock = ConfigLock::take(&self.path, self.timeouts.lock_wait).map_err(|error| failed(&error))?;
        self.steps.reached(RefreshStep::Locked);
        let file = store::read(lock.target()).map_err(|error| RefreshOutcome::Unreadable(error_chain(&error)))?;
        let file = file.ok_or(RefreshOutcome::NoGrant)?;
        let block = file.block_name(&self.host);
        let current = file.grant(&block).ok_or(RefreshOutcome::NoGrant)?;
        self.steps.reached(RefreshStep::Read);
        let now = unix_now_ms();
        let now_s = now / 1_000;
        let mut locked = LockedRefresh { lock, block, current, notes: Notes::default(), steps: self.steps.clone() };
        locked.notes = locked.lock.notes();

        if let Some(unsaved) = locked.unsaved_grant(self.unsaved.as_ref(), now) {
            let reserved = ReservedFile::create(&locked.lock).map_err(|error| failed(&error))?;
            let note = TokenNote::presenting(&locked.current.refresh_token, locked.note(), now_s);
            return Ok(locked.keep(reserved, unsaved, &note));
        }
        match locked.verdict(self, now) {
            ExchangeVerdict::Exchange => {}
            ExchangeVerdict::Adopt => return Ok(RefreshOutcome::Adopted(locked.current)),
            ExchangeVerdict::StillValid => return Ok(RefreshOutcome::StillValid(locked.current)),
            ExchangeVerdict::Denied(retry_in) => {
                let why = "the server refused recently, in this process or another".to_owned();
                return Ok(RefreshOutcome::Denied { why, retry_in });
            }
            ExchangeVerdict::InDoubt(retry_in) => {
                let what_came = locked.note().map_or(NO_ANSWER, TokenNote::what_came);
                let why = format!("it was presented before: {what_came}");
                return Ok(RefreshOutcome::Ambiguous { why, retry_in });
            }
            ExchangeVerdict::Spent => {
                let why = "the refresh token in the file is spent or was refused before".to_owned();
                return Ok(RefreshOutcome::Refused { grant: locked.current, why });
            }
        }

        let reserved = ReservedFile::create(&locked.lock).map_err(|error| failed(&error))?;
        let before = locked.note().cloned();
        let note = TokenNote::presenting(&locked.current.refresh_token, before.as_ref(), now_s);
        locked.put_note(note.clone()).map_err(|error| failed(&error))?;
        self.steps.reached(RefreshStep::BeforeSend);
        let answer = exchange_blocking(&self.client, &locked.current, self.timeouts.exchange);
        self.steps.reached(RefreshStep::Answered);
        *presented = !matches!(answer, Err(ExchangeError::NotSent(_)));
        match answer {
            Ok(answer) => {
                let unsaved = to_grant(answer, &locked.current);
                let Grant { access_token, refresh_token, .. } = &unsaved.grant;
                let new = [("HONCHO_API_KEY", access_token), ("HONCHO_REFRESH_TOKEN", refresh_token)];
                self.redactor.replace(&format!("refresh of {} in {}", self.host, self.path.display()), new);
                Ok(locked.keep(reserved, unsaved, &note))
            }
            Err(error @ ExchangeError::NotSent(_)) => {
                locked.restore_note(before);
                Err(failed(&error))
            }
            Err(ref error @ ExchangeError::Status { retry_after, .. }) => {
                let (host, token) = (&locked.block, &locked.current.refresh_token);
                // In the notes, so that other processes need not try themselves.
                let retry_in = locked.notes.denied(host, token, unix_now_ms() / 1_000, retry_after, fastrand::f64());
                locked.restore_note(before);
                Err(RefreshOutcome::Denied { why: error_chain(error), retry_in })
            }
            Err(error @ (ExchangeError::NoAnswer(_) | ExchangeError::Unusable(_) | ExchangeError::Unclear(_))) => {
                let why = error_chain(&error);
                // The wait counts from now, not from before a long silence.
                let note = note.unanswered(unix_now_ms() / 1_000, &why);
                locked.notes.answered(&locked.block);
                let retry_in = note.may_retry().then_some(self.timeouts.retry_wait);
                locked.put_note_or_warn(note);
                Err(RefreshOutcome::Ambiguous { why, retry_in })
            }
            Err(error @ ExchangeError::InvalidGrant) => {
                locked.put_note_or_warn(note.with(TokenOutcome::Refused));
                Err(RefreshOutcome::Refused { grant: locked.current, why: error_chain(&error) })
            }
        }
    }
}

/// The state while the lock is held.
struct LockedRefresh {
    lock: ConfigLock,
    block: String,
    /// The grant in the file.
    current: Grant,
    notes: Notes,
    steps: StepHook,
}

impl LockedRefresh {
    fn note(&self) -> Option<&TokenNote> {
        self.notes.of(&self.block)
    }

    fn verdict(&self, refresh: &Refresh, now_ms: i64) -> ExchangeVerdict {
        let current = &self.current;
        let server_wait = self.notes.server_wait(&self.block, &current.refresh_token, now_ms / 1_000);
        let found = GrantUnderLock { current, known: refresh.known.as_ref(), note: self.note(), server_wait, now_ms };
        found.verdict(refresh.reason, refresh.timeouts.retry_wait)
    }

    fn put_note(&mut self, note: TokenNote) -> Result<(), super::lock::LockError> {
        self.notes.put(&self.block, note);
        self.lock.write_notes(&self.notes)
    }

    // The exchange is over: without the note other processes wait longer than necessary, or not long enough.
    fn put_note_or_warn(&mut self, note: TokenNote) {
        if let Err(error) = self.put_note(note) {
            warn!(error = error_chain(&error), "outcome of a refresh token not recorded");
        }
    }

    fn restore_note(&mut self, before: Option<TokenNote>) {
        self.notes.restore(&self.block, before);
        if let Err(error) = self.lock.write_notes(&self.notes) {
            warn!(error = error_chain(&error), "outcome of a refresh token not recorded");
        }
    }

    /// The grant that an earlier exchange returned for the token in the file, and that is not in the file.
    fn unsaved_grant(&self, unsaved: Option<&Unsaved>, now_ms: i64) -> Option<Unsaved> {
        let ours = unsaved.filter(|unsaved| store::same_refresh_token(&unsaved.replaces, &self.current));
        ours.cloned().or_else(|| {
            let presented = self.note().is_some_and(|note| note.is_about(&self.current.refresh_token));
            let grant =
                presented.then(|| store::find_replacement(self.lock.target(), &self.block, &self.current)).flatten()?;
            let life_s = (grant.left_ms(now_ms) / 1_000).max(0);
            Some(Unsaved { grant, life_s, replaces: self.current.clone() })
        })
    }

    /// Writes a new grant to disk; only then may it be used.
    fn keep(mut self, reserved: ReservedFile, unsaved: Unsaved, note: &TokenNote) -> RefreshOutcome {
        let Unsaved { grant, life_s, .. } = &unsaved;
        let withheld = store::same_refresh_token(grant, &self.current);
        match store::save(&self.lock, reserved, &self.block, grant, &self.current, &self.steps) {
            Ok(Saved::Overtaken(theirs)) => RefreshOutcome::Adopted(theirs),
            Ok(saved) => {
                let presented = if withheld { TokenOutcome::Withheld } else { TokenOutcome::Rotated };
                self.notes.answered(&self.block);
                self.put_note_or_warn(note.with(presented).with_lifetime(*life_s));
                let beside = if let Saved::Beside(path) = saved { Some(path) } else { None };
                let (grant, life_s) = (grant.clone(), *life_s);
                if withheld {
                    RefreshOutcome::Withheld { grant, life_s }
                } else {
                    RefreshOutcome::Rotated { grant, life_s, beside }
                }
            }
            Err(error) => {
                error!(error = error_chain(&error), "new grant not written; until it is, the old token stays in use");
                RefreshOutcome::Unsaved { why: error_chain(&error), unsaved }
            }
        }
    }
}

fn to_grant(answer: TokenResponse, current: &Grant) -> Unsaved {
    let grant = Grant {
        access_token: answer.access_token,
        refresh_token: answer.refresh_token.unwrap_or_else(|| current.refresh_token.clone()),
        expires_at_ms: unix_now_ms().saturating_add(answer.life_s.saturating_mul(1_000)).into(),
        scope: answer.scope.unwrap_or_else(|| current.scope.clone()),
        token_type: answer.token_type.unwrap_or_else(|| current.token_type.clone()),
        client_id: current.client_id.clone(),
        token_endpoint: current.token_endpoint.clone(),
    };
    Unsaved { grant, life_s: answer.life_s, replaces: current.clone() }
}

/// The exchange on a separate runtime, because this thread has none.
fn exchange_blocking(client: &HttpClient, grant: &Grant, limit: Duration) -> Result<TokenResponse, ExchangeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ExchangeError::NotSent(error.to_string()))?;
    let answer = runtime.block_on(exchange(client, grant, limit));
    // A name lookup in progress must not hold the lock.
    runtime.shutdown_background();
    answer
}

/// Milliseconds since 1970.
#[must_use]
pub fn unix_now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Ensures that the caller receives the end, even if the thread panics or never starts.
struct ReportGuard<F: FnOnce(RefreshReport)> {
    done: Option<F>,
    started: bool,
    retry_wait: Duration,
}

impl<F: FnOnce(RefreshReport)> ReportGuard<F> {
    fn send(&mut self, report: RefreshReport) {
        if let Some(done) = self.done.take() {
            done(report);
        }
    }
}

impl<F: FnOnce(RefreshReport)> Drop for ReportGuard<F> {
    fn drop(&mut self) {
        let outcome = if self.started {
            let why = "the refresh ended without a report".to_owned();
            RefreshOutcome::Ambiguous { why, retry_in: Some(self.retry_wait) }
        } else {
            RefreshOutcome::Failed("there is no thread for the refresh".to_owned())
        };
        self.send(RefreshReport { outcome, presented: self.started });
    }
}
