//! What gateways are given and refused: credentials, grants, the reasons of a refusal. Plain data.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest gateway id; it travels in every token and stands in every log line.
pub(super) const ID_LIMIT: usize = 128;

/// Everything a gateway needs in order to dial, and what it needs in order to enroll or provision itself.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Name of the gateway at this connector.
    pub gateway_id: String,
    /// Signs upgrade tokens.
    pub secret: String,
    /// Verifies signed deliveries.
    pub delivery_key: String,
    /// Opens `/relay/enroll` once.
    pub enrollment_token: String,
    /// Proves the tenant at `/relay/enroll` and `/relay/provision`.
    pub access_token: String,
}

/// What enrolling, provisioning and rotating answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GatewayGrant {
    pub(super) gateway_id: String,
    pub(super) secret: String,
    pub(super) delivery_key: String,
    pub(super) tenant: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route_keys: Option<Vec<String>>,
}

/// Why a dial is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialRefusal {
    /// No token, an unknown gateway, or a signature of no valid secret.
    Unauthorized,
    /// The signature is good and the time is over: a fresh token will do.
    Expired,
}

impl DialRefusal {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Expired => "expired",
        }
    }
}

/// Why credentials were not given. In every case nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The id is empty, too long or holds control characters.
    #[error("a gateway id has 1 to {ID_LIMIT} characters, none of them a control character")]
    Id,
    /// The access token is missing or unknown.
    #[error("the access token is not known here")]
    Identity,
    /// The enrollment token is unknown, used, too old or another tenant's.
    #[error("the enrollment token is invalid, expired, already used or another tenant's")]
    Enrollment,
    /// The id belongs to another tenant.
    #[error("this gateway id belongs to another tenant")]
    Tenant,
    /// There is no gateway of that name.
    #[error("no such gateway")]
    Unknown,
}

/// Body of `/relay/provision`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Provision {
    pub(super) gateway_id: String,
    pub(super) platform: String,
    #[serde(default)]
    pub(super) bot_id: String,
    #[serde(default)]
    pub(super) gateway_endpoint: String,
    #[serde(default)]
    pub(super) route_keys: Vec<String>,
    pub(super) instance_id: Option<String>,
    pub(super) wake_url: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("gateway_id", &self.gateway_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for GatewayGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("gateway_id", &self.gateway_id).finish_non_exhaustive()
    }
}
