//! What the keeper of the grants is told and asked.

use actix::Message;
use secrecy::SecretString;
use serde::Serialize;

use crate::profile_name::ProfileName;

/// The profile's access token, refreshed first when it is about to expire. Asked by `ProfileActor` only.
///
/// `None` where there is no grant. A refresh that fails is no error and answers the token there is.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Option<FreshAnswer>, GrantUnknown>")]
pub struct FreshToken {
    /// Whose.
    pub profile: ProfileName,
}

/// The keeper cannot say whether there is a grant: its files have not been looked at in time, or the profile is served no more. A
/// token in hand is as good as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nobody knows how the grant of {0} is")]
pub struct GrantUnknown(pub ProfileName);

/// Answer to [`FreshToken`].
#[derive(Debug, Clone)]
pub struct FreshAnswer {
    /// The access token.
    pub token: SecretString,
    /// Whether it was rotated for this question.
    pub refreshed: bool,
}

/// Refreshes a grant now, unless another refresh is under way.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Option<GrantView>")]
pub struct RefreshGrant {
    /// Whose.
    pub profile: ProfileName,
}

/// How the grants are.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<GrantView>")]
pub struct GetGrants;

/// State of one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// The file holds no grant for this profile.
    None,
    /// The token is good.
    Fresh,
    /// A refresh is under way.
    Refreshing,
    /// The last refresh failed; the next waits.
    Backoff,
    /// The refresh token may be spent.
    Uncertain,
    /// The refresh token was refused; a person must log in.
    ReauthRequired,
    /// The file cannot be read or does not parse.
    Unreadable,
}

impl GrantState {
    /// What a person can do about it, where anything is wrong.
    #[must_use]
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Fresh | Self::Refreshing => None,
            Self::Backoff => Some("see to what the error says; it is tried again by itself"),
            Self::Uncertain => Some("wait a minute; if it stays so, run `caduceus honcho login`"),
            Self::ReauthRequired => Some("run `caduceus honcho login`"),
            Self::Unreadable => {
                Some("make it a JSON file that the gateway's user can read and write; until then it is left as it is")
            }
        }
    }
}

/// Answer to [`GetGrants`], one for each profile with a grant. Never a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantView {
    /// Whose.
    pub profile: ProfileName,
    /// The host's name in the file.
    pub host: String,
    /// Its state. The status shows it beside that of the actor, see `status::shown`.
    #[serde(skip)]
    pub state: GrantState,
    /// Seconds until the access token expires; negative when it has.
    pub expires_in_s: Option<i64>,
    /// Seconds since the last exchange.
    pub last_refresh_age_s: Option<u64>,
    /// The last thing that went wrong, free of secrets.
    pub last_error: Option<String>,
    /// What a person can do about it.
    pub remedy: Option<&'static str>,
    /// Exchanges made since the process started.
    pub exchanges: u64,
}
