//! The log of decisions on tokens, one JSON object per line.
//!
//! A separate thread writes; a decision is queued without waiting, also when the disk is full or the thread is behind.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use caduceus_actors::files::own;
use caduceus_actors::profile::Redactor;
use jiff::Timestamp;
use serde::Serialize;
use tracing::{error, warn};

use super::auth_request::AuthRequest;
use super::provider::TokenPrincipal;
use crate::http::error::ApiError;

/// Entries that may wait to be written; further ones are dropped, and each drop is logged.
const QUEUE_CAPACITY: usize = 1_024;
/// A file of this size, in bytes, is rotated; one rotated file is kept. It bounds what a flood of guesses can write.
pub(super) const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Longest path that is written, in bytes; the routes' own paths are shorter, and a client chooses the rest.
const MAX_PATH: usize = 256;
/// Bytes of a path that are searched for secrets.
const MAX_SCANNED_PATH: usize = 4 * 1024;

/// The queue of decisions.
pub(super) struct AuthAudit(Option<SyncSender<AuditEntry>>, Redactor);

/// One decision. It has no field that could hold a token.
#[derive(Debug, Serialize)]
pub(super) struct AuditEntry {
    ts: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    path: String,
    ip: String,
}

impl AuditEntry {
    pub(super) fn of(request: AuthRequest<'_>, decision: &Result<TokenPrincipal, ApiError>) -> Self {
        let (event, provider, principal, reason) = match decision {
            Ok(principal) => {
                ("token_auth_success", Some(principal.provider.to_owned()), Some(principal.principal.clone()), None)
            }
            Err(ApiError::ProviderUnreachable(name)) => {
                ("token_auth_failure", Some(name.clone()), None, Some("provider_unreachable"))
            }
            Err(ApiError::MissingScope(_)) => ("token_auth_failure", None, None, Some("missing_scope")),
            Err(ApiError::TokenRequired) => ("token_auth_failure", None, None, Some("token_required")),
            Err(_) => ("token_auth_failure", None, None, Some("no_provider_recognises_token")),
        };
        let path = request.path[..request.path.floor_char_boundary(MAX_SCANNED_PATH)].to_owned();
        let ip = request.peer.to_string();
        Self { ts: Timestamp::now().to_string(), event, provider, principal, reason, path, ip }
    }

    /// Redacts secrets in what a client sent. Before the path is cut, because half a secret is not found.
    fn redact(&mut self, redactor: &Redactor) {
        for text in [self.provider.as_mut(), self.principal.as_mut(), Some(&mut self.path)].into_iter().flatten() {
            *text = redactor.redact(text).into_owned();
        }
        self.path.truncate(self.path.floor_char_boundary(MAX_PATH));
    }
}

impl AuthAudit {
    /// Starts the writer; a file of `largest` bytes is rotated. If the writer cannot be started, that is logged once; decisions are then made without it.
    pub(super) fn open(path: PathBuf, largest: u64, redactor: Redactor) -> Self {
        let (sender, receiver) = sync_channel(QUEUE_CAPACITY);
        let started =
            thread::Builder::new().name("auth-log".into()).spawn(move || write_all(&path, largest, &receiver));
        match started {
            Ok(_) => Self(Some(sender), redactor),
            Err(error) => {
                error!(%error, "token log not started");
                Self(None, redactor)
            }
        }
    }

    /// Queues an entry without waiting.
    pub(super) fn note(&self, mut entry: AuditEntry) {
        entry.redact(&self.1);
        let Some(sender) = &self.0 else { return };
        if let Err(TrySendError::Full(entry) | TrySendError::Disconnected(entry)) = sender.try_send(entry) {
            warn!(event = entry.event, path = entry.path, ip = entry.ip, "token decision not logged");
        }
    }
}

/// Ends when the authenticator is dropped.
fn write_all(path: &Path, largest: u64, entries: &Receiver<AuditEntry>) {
    let mut file = None;
    let mut writable = true;
    for entry in entries {
        let written = append(path, largest, &mut file, &entry);
        if let Err(error) = &written {
            file = None;
            // Logged for each failed attempt; the next entry tries again.
            if writable {
                error!(path = %path.display(), %error, "writing the token log failed");
            }
        }
        writable = written.is_ok();
    }
}

fn append(path: &Path, largest: u64, file: &mut Option<File>, entry: &AuditEntry) -> io::Result<()> {
    if let Some(open) = file {
        // A person, or logrotate, may have renamed or removed it: lines written to it would be lost.
        if !own::is_at(open, path)? {
            *file = None;
        } else if open.metadata()?.len() >= largest {
            fs::rename(path, path.with_extension("log.1"))?;
            *file = None;
        }
    }
    let open = match file {
        Some(open) => open,
        None => file.insert(create(path)?),
    };
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    open.write_all(&line)
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        own::make_directory(directory)?;
    }
    Ok(own::open_or_create(path, own::OpenMode::Append, 0o600).map_err(|error| error.why)?)
}
