//! How one refresh ended.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use tracing::{error, info, warn};

use super::grant::Grant;

/// How one refresh ended. Reasons are free of secrets.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Exchanged, and on disk.
    Rotated {
        /// The new grant.
        grant: Grant,
        /// Seconds that its access token lives; 0 where the server did not say so.
        life_s: i64,
        /// Where it was put because the file no longer parses.
        beside: Option<PathBuf>,
    },
    /// Exchanged and on disk, but no new refresh token came: the old one may be spent.
    Withheld {
        /// The grant with the new access token and the old refresh token.
        grant: Grant,
        /// Seconds that its access token lives; 0 where the server did not say so.
        life_s: i64,
    },
    /// Exchanged, but not on disk: it must not be used before it is.
    Unsaved {
        /// What is to be saved.
        unsaved: Unsaved,
        /// Why it is not.
        why: String,
    },
    /// Nothing was exchanged: the file holds what somebody else has rotated.
    Adopted(Grant),
    /// The file holds no grant any more.
    NoGrant,
    /// The file cannot be read or does not parse; nothing was exchanged.
    Unreadable(String),
    /// The refresh token is as good as before: it was not sent.
    Failed(String),
    /// The refresh token is as good as before: the server said no for another reason, to this process or to a sibling.
    Denied {
        /// Why.
        why: String,
        /// When any process may ask again.
        retry_in: Duration,
    },
    /// The refresh token may be spent.
    Ambiguous {
        /// Why.
        why: String,
        /// When it may be tried once more without a person's word; `None` for never.
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

impl Outcome {
    /// Says so in the log, as loudly as a person has to act.
    pub(super) fn log(&self, host: &str) {
        match self {
            Self::Rotated { beside: None, .. } => info!(host, "a grant was refreshed"),
            Self::Rotated { beside: Some(path), .. } => {
                error!(host, kept = %path.display(), "a grant was refreshed, but its file is broken; mend it, and the grant kept beside it is taken in");
            }
            Self::Adopted(_) => info!(host, "a grant refreshed by another process was taken over"),
            Self::NoGrant => info!(host, "there is no grant any more"),
            Self::Withheld { .. } => {
                error!(
                    host,
                    "the server gave no new refresh token; the old one is not presented again unless a person asks"
                );
            }
            Self::Unsaved { .. } => {} // Logged where it happened, with its cause.
            Self::Unreadable(why) => warn!(host, why, "a grant's file cannot be used; nothing was exchanged"),
            Self::Failed(why) => warn!(host, why, "a grant was not refreshed; the old token is used meanwhile"),
            Self::Denied { why, retry_in } => {
                let retry_in_s = retry_in.as_secs();
                warn!(host, why, retry_in_s, "a grant was not refreshed; the old token is used meanwhile");
            }
            Self::Ambiguous { why, retry_in: Some(wait) } => {
                warn!(host, why, retry_in_s = wait.as_secs(), "a refresh token may be spent; it is tried once more");
            }
            Self::Ambiguous { why, retry_in: None } => {
                error!(host, why, "a refresh token may be spent; log in, or ask for a refresh");
            }
            Self::Refused { why, .. } => error!(host, why, "a grant is spent or revoked; log in again"),
        }
    }
}

/// A grant that came from the server and is not on disk yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unsaved {
    /// It.
    pub grant: Grant,
    /// Seconds that its access token lives, counted from the exchange.
    pub life_s: i64,
    /// The grant it came for.
    pub replaces: Grant,
}

/// The texts of an error and of all its causes.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
