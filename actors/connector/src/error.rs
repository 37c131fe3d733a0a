//! The table from errors to HTTP responses.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use caduceus_contract::wire::provisioning::ErrorBody;
use caduceus_supervision::AskError;

use super::credentials::{DialRefusal, GrantError};
use super::inbound::PushError;

/// An error response: `{"error":code,"detail":sentence}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("the body has at most {limit} bytes"))
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header(("Retry-After", "1"));
        }
        response.json(ErrorBody { error: self.code.into(), detail: self.detail.as_str().into() })
    }
}

impl From<AskError> for Problem {
    fn from(_: AskError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the connector is starting, stopping or overloaded")
    }
}

impl From<GrantError> for Problem {
    fn from(error: GrantError) -> Self {
        let (status, code) = match error {
            GrantError::Id => (StatusCode::BAD_REQUEST, "invalid_gateway_id"),
            GrantError::Identity => (StatusCode::UNAUTHORIZED, "unauthorized"),
            GrantError::Enrollment => (StatusCode::FORBIDDEN, "enrollment_refused"),
            GrantError::Tenant => (StatusCode::FORBIDDEN, "other_tenant"),
            GrantError::Unknown => (StatusCode::NOT_FOUND, "unknown_gateway"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<PushError> for Problem {
    fn from(error: PushError) -> Self {
        let (status, code) = match error {
            PushError::Unknown => (StatusCode::NOT_FOUND, "unknown_gateway"),
            PushError::Ambiguous => (StatusCode::BAD_REQUEST, "gateway_required"),
            PushError::NotAnObject => (StatusCode::BAD_REQUEST, "invalid_request"),
            PushError::Full => (StatusCode::SERVICE_UNAVAILABLE, "buffer_full"),
            PushError::Prompt => (StatusCode::CONFLICT, "prompt_answered"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<DialRefusal> for Problem {
    fn from(refusal: DialRefusal) -> Self {
        let detail = match refusal {
            DialRefusal::Unauthorized => "the upgrade token is missing or invalid",
            DialRefusal::Expired => "the upgrade token has expired",
        };
        Self::new(StatusCode::UNAUTHORIZED, refusal.reason(), detail)
    }
}
