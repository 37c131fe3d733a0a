//! The messages of the actor of the grants.

use actix::Message;
use secrecy::SecretString;
use serde::Serialize;

use crate::profile_name::ProfileName;

/// Requests the profile's access token, refreshed first if it is about to expire. Sent by `ProfileActor` only.
///
/// `None` if there is no grant. If a refresh fails, the answer is the current token.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Option<FreshAnswer>, GrantUnknown>")]
pub struct FreshToken {
    /// The profile.
    pub profile: ProfileName,
}

/// It is unknown whether there is a grant: its files were not checked in time, or the profile is no longer served. The
/// current token remains valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the state of the grant of {0} is unknown")]
pub struct GrantUnknown(pub ProfileName);

/// Answer to [`FreshToken`].
#[derive(Debug, Clone)]
pub struct FreshAnswer {
    /// The access token.
    pub token: SecretString,
    /// Whether it was rotated for this request.
    pub refreshed: bool,
}

/// Refreshes a grant now, unless another refresh is running.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Option<GrantView>")]
pub struct RefreshGrant {
    /// The profile.
    pub profile: ProfileName,
}

/// Requests the views of the grants.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<GrantView>")]
pub struct GetGrants;

/// State of one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// The file has no grant for this profile.
    None,
    /// The token is valid.
    Fresh,
    /// A refresh is running.
    Refreshing,
    /// The last refresh failed; the next one waits.
    Backoff,
    /// The refresh token may have been used already.
    Uncertain,
    /// The refresh token was refused; a person must log in.
    ReauthRequired,
    /// The file cannot be read or does not parse.
    Unreadable,
}

impl GrantState {
    /// The remedy, if anything is wrong.
    #[must_use]
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Fresh | Self::Refreshing => None,
            Self::Backoff => Some("fix the reported error; the refresh is tried again automatically"),
            Self::Uncertain => Some("wait a minute; if it stays so, run `caduceus honcho login`"),
            Self::ReauthRequired => Some("run `caduceus honcho login`"),
            Self::Unreadable => {
                Some("make it a JSON file that the gateway's user can read and write; until then it is left as it is")
            }
        }
    }
}

/// Answer to [`GetGrants`], one per profile with a grant. Never a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantView {
    /// The profile.
    pub profile: ProfileName,
    /// The host's name in the file.
    pub host: String,
    /// Its state. The status shows it beside that of the actor, see `status::shown`.
    #[serde(skip)]
    pub state: GrantState,
    /// Seconds until the access token expires; negative after that.
    pub expires_in_s: Option<i64>,
    /// Seconds since the last exchange.
    pub last_refresh_age_s: Option<u64>,
    /// The last error, free of secrets.
    pub last_error: Option<String>,
    /// The remedy.
    pub remedy: Option<&'static str>,
    /// Exchanges made since the process started.
    pub exchanges: u64,
}
