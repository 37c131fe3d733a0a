//! The one table of error codes, each with its status.

use actix_web::http::StatusCode;

/// What went wrong, for clients. A code, once used, keeps its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ApiErrorCode {
    ActorNotRunning,
    ActorTimeout,
    ActorUnavailable,
    BadRequest,
    BodyTooLarge,
    BodyTooSlow,
    BrokenBody,
    FaultsRefused,
    ForbiddenHost,
    ForbiddenOrigin,
    Internal,
    InvalidEvent,
    InvalidJson,
    LedgerUnavailable,
    LoopbackOnly,
    MarkerNotRemoved,
    MethodNotAllowed,
    MissingScope,
    NoSuchActor,
    NoSuchRow,
    NotAWebSocket,
    NotAnObject,
    NotFound,
    NotNow,
    NotReady,
    NotTaken,
    ProfileIsGateway,
    ProviderUnreachable,
    RowCorrupt,
    RowRefused,
    Stopping,
    TokenRequired,
    TooManyAttempts,
    TooManyDeliveries,
    TooManyViewers,
    Unauthenticated,
    Unhealthy,
    UnknownAction,
    UnknownProfile,
    UnknownTurn,
    UnsignedDelivery,
    UnsupportedMediaType,
    WrongField,
}

impl ApiErrorCode {
    /// Its status and its word.
    pub(super) fn row(self) -> (StatusCode, &'static str) {
        match self {
            Self::ActorNotRunning => (StatusCode::CONFLICT, "actor_not_running"),
            Self::ActorTimeout => (StatusCode::SERVICE_UNAVAILABLE, "actor_timeout"),
            Self::ActorUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "actor_unavailable"),
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
            Self::BrokenBody => (StatusCode::BAD_REQUEST, "broken_body"),
            Self::FaultsRefused => (StatusCode::FORBIDDEN, "faults_refused"),
            Self::ForbiddenHost => (StatusCode::FORBIDDEN, "forbidden_host"),
            Self::ForbiddenOrigin => (StatusCode::FORBIDDEN, "forbidden_origin"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            Self::InvalidEvent => (StatusCode::BAD_REQUEST, "invalid_event"),
            Self::InvalidJson => (StatusCode::BAD_REQUEST, "invalid_json"),
            Self::LedgerUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "ledger_unavailable"),
            Self::LoopbackOnly => (StatusCode::FORBIDDEN, "loopback_only"),
            Self::MarkerNotRemoved => (StatusCode::INTERNAL_SERVER_ERROR, "marker_not_removed"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::MissingScope => (StatusCode::FORBIDDEN, "missing_scope"),
            Self::NoSuchActor => (StatusCode::NOT_FOUND, "no_such_actor"),
            Self::NoSuchRow => (StatusCode::NOT_FOUND, "no_such_row"),
            Self::NotAWebSocket => (StatusCode::BAD_REQUEST, "not_a_websocket"),
            Self::NotAnObject => (StatusCode::BAD_REQUEST, "not_an_object"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::NotNow => (StatusCode::SERVICE_UNAVAILABLE, "not_now"),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
            Self::NotTaken => (StatusCode::SERVICE_UNAVAILABLE, "not_taken"),
            Self::ProfileIsGateway => (StatusCode::BAD_REQUEST, "profile_is_gateway"),
            Self::ProviderUnreachable => (StatusCode::SERVICE_UNAVAILABLE, "provider_unreachable"),
            Self::RowCorrupt => (StatusCode::CONFLICT, "row_corrupt"),
            Self::RowRefused => (StatusCode::CONFLICT, "row_refused"),
            Self::Stopping => (StatusCode::CONFLICT, "stopping"),
            Self::TokenRequired => (StatusCode::UNAUTHORIZED, "token_required"),
            Self::TooManyAttempts => (StatusCode::TOO_MANY_REQUESTS, "too_many_attempts"),
            Self::TooManyDeliveries => (StatusCode::SERVICE_UNAVAILABLE, "too_many_deliveries"),
            Self::TooManyViewers => (StatusCode::SERVICE_UNAVAILABLE, "too_many_viewers"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Self::Unhealthy => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
            Self::UnknownAction => (StatusCode::BAD_REQUEST, "unknown_action"),
            Self::UnknownProfile => (StatusCode::NOT_FOUND, "unknown_profile"),
            Self::UnknownTurn => (StatusCode::NOT_FOUND, "unknown_turn"),
            Self::UnsignedDelivery => (StatusCode::UNAUTHORIZED, "unsigned_delivery"),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::WrongField => (StatusCode::BAD_REQUEST, "wrong_field"),
        }
    }

    pub(super) fn status(self) -> StatusCode {
        self.row().0
    }

    pub(super) fn word(self) -> &'static str {
        self.row().1
    }
}
