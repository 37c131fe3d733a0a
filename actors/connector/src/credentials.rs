//! Credentials and grants of gateways, and the reasons of a refusal. Plain data.

use std::fmt;

use caduceus_contract::wire::token;
use serde::Serialize;

/// Longest gateway id; it is in every token and every log line.
pub(super) const ID_LIMIT: usize = 128;

/// Everything that a gateway needs to dial, to enroll and to provision itself.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Name of the gateway at this connector.
    pub gateway_id: String,
    /// Signs upgrade tokens.
    pub secret: String,
    /// Verifies signed deliveries.
    pub delivery_key: String,
    /// Valid once at `/relay/enroll`.
    pub enrollment_token: String,
    /// Proves the tenant at `/relay/enroll` and `/relay/provision`.
    pub access_token: String,
}

/// Why a dial is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialRefusal {
    /// No token, an unknown gateway, or a signature of no valid secret.
    Unauthorized,
    /// The signature is valid and the token has expired: a new token will be accepted.
    Expired,
}

impl DialRefusal {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Unauthorized => token::UNAUTHORIZED,
            Self::Expired => token::EXPIRED,
        }
    }
}

/// Why credentials were not issued. In every case nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The id is empty, too long or holds control characters.
    #[error("a gateway id has 1 to {ID_LIMIT} characters, none of them a control character")]
    Id,
    /// The access token is missing or unknown.
    #[error("the access token is missing or unknown")]
    Identity,
    /// The enrollment token is unknown, used, too old or another tenant's.
    #[error("the enrollment token is invalid, expired, already used or another tenant's")]
    Enrollment,
    /// The id belongs to another tenant.
    #[error("this gateway id belongs to another tenant")]
    Tenant,
    /// There is no gateway with that id.
    #[error("no such gateway")]
    Unknown,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("gateway_id", &self.gateway_id).finish_non_exhaustive()
    }
}
