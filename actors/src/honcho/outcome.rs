//! The outcome of one refresh.

use std::path::PathBuf;
use std::time::Duration;

use tracing::{error, info, warn};

use super::grant::Grant;

/// The outcome of one refresh. Reasons are free of secrets.
#[derive(Debug, Clone)]
pub enum RefreshOutcome {
    /// Exchanged, and on disk.
    Rotated {
        /// The new grant.
        grant: Grant,
        /// Lifetime of its access token in seconds; 0 if the server gave none.
        life_s: i64,
        /// Where it was written because the file no longer parses.
        beside: Option<PathBuf>,
    },
    /// Exchanged and on disk, but without a new refresh token: the old one may be spent.
    Withheld {
        /// The grant with the new access token and the old refresh token.
        grant: Grant,
        /// Lifetime of its access token in seconds; 0 if the server gave none.
        life_s: i64,
    },
    /// Exchanged, but not on disk: it must not be used before it is.
    Unsaved {
        /// The grant to be saved.
        unsaved: Unsaved,
        /// Why it is not.
        why: String,
    },
    /// Nothing was exchanged: the file has a grant that another process rotated.
    Adopted(Grant),
    /// Nothing was exchanged: the grant in the file is still valid.
    StillValid(Grant),
    /// The file no longer has a grant.
    NoGrant,
    /// The file cannot be read or does not parse; nothing was exchanged.
    Unreadable(String),
    /// The refresh token remains valid: it was not sent.
    Failed(String),
    /// The refresh token remains valid: the server refused for another reason, here or in another process.
    Denied {
        /// Why.
        why: String,
        /// When any process may try again.
        retry_in: Duration,
    },
    /// The refresh token may be spent.
    Ambiguous {
        /// Why.
        why: String,
        /// When it may be tried once more without a person's request; `None` for never.
        retry_in: Option<Duration>,
    },
    /// The refresh token is spent or revoked: a person must log in.
    Refused {
        /// The grant it belongs to.
        grant: Grant,
        /// Why.
        why: String,
    },
}

impl RefreshOutcome {
    /// Logs it, at the level that matches the need for action.
    pub(super) fn log(&self, host: &str) {
        match self {
            Self::Rotated { beside: None, .. } => info!(host, "grant refreshed"),
            Self::Rotated { beside: Some(path), .. } => {
                error!(host, kept = %path.display(), "grant refreshed, but its file does not parse: repair it, then the grant kept beside it is restored");
            }
            Self::Adopted(_) => info!(host, "grant refreshed by another process"),
            Self::StillValid(_) => info!(host, "grant in the file is still valid; nothing was exchanged"),
            Self::NoGrant => info!(host, "grant removed"),
            Self::Withheld { .. } => {
                error!(host, "no new refresh token from the server; the old one is presented again only on request");
            }
            Self::Unsaved { .. } => {} // Logged where it happened, with its cause.
            Self::Unreadable(why) => warn!(host, why, "grant file cannot be used; nothing was exchanged"),
            Self::Failed(why) => warn!(host, why, "grant not refreshed; the old token stays in use"),
            Self::Denied { why, retry_in } => {
                let retry_in_s = retry_in.as_secs();
                warn!(host, why, retry_in_s, "grant not refreshed; the old token stays in use");
            }
            Self::Ambiguous { why, retry_in: Some(wait) } => {
                warn!(
                    host,
                    why,
                    retry_in_s = wait.as_secs(),
                    "refresh token may be spent; it is presented once more after the wait"
                );
            }
            Self::Ambiguous { why, retry_in: None } => {
                error!(host, why, "refresh token may be spent: log in, or request a refresh");
            }
            Self::Refused { why, .. } => error!(host, why, "grant is spent or revoked: log in again"),
        }
    }
}

/// A grant from the server that is not on disk yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unsaved {
    /// The grant.
    pub grant: Grant,
    /// Lifetime of its access token in seconds, counted from the exchange.
    pub life_s: i64,
    /// The grant it replaces.
    pub replaces: Grant,
}
