//! Messages of a `ProfileActor` that are values, and its view. The others carry processes, pipes, calls or settings and are in
//! `caduceus-actors`.

use actix::Message;
use bytes::Bytes;
use secrecy::SecretString;
use serde::Serialize;

use crate::profile_name::ProfileName;
use crate::wire::delivery::DeliveryError;

/// Reads the profile's `.env` again, even if its stamp is unchanged. Answered once that is done, or the disk did not answer.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ReloadEnv;

/// Verifies that a delivery is signed with one of this profile's keys.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), DeliveryError>")]
pub struct VerifyDelivery {
    /// The body, byte for byte.
    pub body: Bytes,
    /// The header with the time of signing.
    pub timestamp: Option<String>,
    /// The header with the signature.
    pub signature: Option<String>,
}

/// The grant has a new token: the next child receives it as `HONCHO_API_KEY`, and so do running ones that support it.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct TokenChanged {
    /// `None` if the profile no longer has a grant.
    pub token: Option<SecretString>,
}

/// Requests the view of the profile.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "ProfileView")]
pub struct GetProfile;

/// Answer to [`GetProfile`]: names and counts, never a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProfileView {
    /// The profile.
    pub name: ProfileName,
    /// Whether it is fully functional. The status shows it beside that of the actor, see `status::shown`.
    #[serde(skip)]
    pub state: ProfileState,
    /// Why it is degraded, one sentence each.
    pub troubles: Vec<String>,
    /// Names held in its scope.
    pub secrets: usize,
    /// Names that its configuration needs and its scope lacks.
    pub missing: Vec<String>,
    /// The kind of its agent: `exec`, `openai`, `echo`.
    pub agent: &'static str,
    /// Children started since the process started.
    pub children_started: u64,
}

impl ProfileView {
    /// The view of a profile that has not reported yet.
    #[must_use]
    pub fn not_reported(name: ProfileName) -> Self {
        Self {
            name,
            state: ProfileState::Degraded,
            troubles: Vec::new(),
            secrets: 0,
            missing: Vec::new(),
            agent: "unknown",
            children_started: 0,
        }
    }
}

/// Whether a profile is fully functional.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileState {
    /// Fully functional.
    Ready,
    /// It serves, with a problem.
    Degraded,
}
