//! The one table from what went wrong to status and code.
//!
//! A client sees the code and one sentence; the cause goes to the log with the request's id (see `door.rs`).

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use caduceus_actors::dispatch::messages::{NotTaken, UnknownTurn};
use caduceus_actors::drain::messages::CancelError;
use caduceus_actors::relay::event::EventError;
use caduceus_actors::supervision::{AskError, OperateError};
use serde_json::json;

/// When a client may try again what an actor did not answer: a restart takes milliseconds, a backoff seconds.
const RETRY: Duration = Duration::from_secs(2);

/// Why a request was not done. The text is what the client sees.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// There is no such route.
    #[error("nothing is at this path")]
    UnknownPath,
    /// The `Host` is missing, doubled or not ours: the request may come from a website in the operator's browser.
    #[error("this host name is not one of the gateway's own")]
    ForbiddenHost,
    /// See [`ApiError::ForbiddenHost`].
    #[error("requests from other websites are not answered")]
    ForbiddenOrigin,
    /// For the machine itself only.
    #[error("this is answered on the gateway's own machine only")]
    LoopbackOnly,
    /// No token, an unknown one, or none that could be read.
    #[error("Unauthorized")]
    Unauthenticated,
    /// Nobody recognised the token, and this provider could not be asked.
    #[error("the token provider {0} cannot be reached")]
    ProviderUnreachable(String),
    /// The token is good for other things.
    #[error("the token lacks the scope {0}")]
    MissingScope(String),
    /// Too many failures from one address.
    #[error("too many failed attempts; try again later")]
    SlowDown(Duration),
    /// The body is above the route's limit, in bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The body did not come in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The body broke off.
    #[error("the body could not be read")]
    BrokenBody(#[source] actix_web::Error),
    /// The body is no JSON.
    #[error("the body is not valid JSON")]
    InvalidJson(#[source] serde_json::Error),
    /// It is JSON, but not an object.
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// A field has a kind or value that it may not have.
    #[error("{field} must be {expected}")]
    WrongField { field: &'static str, expected: &'static str },
    /// A part of the path or of the query has a value that it may not have.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The request is no WebSocket handshake.
    #[error("this path is for WebSocket clients")]
    NotAWebSocket(#[source] actix_web::Error),
    /// Enough status pages are open.
    #[error("too many clients watch the status")]
    TooManyViewers,
    /// The action is neither of the two.
    #[error("action must be \"drain\" or \"cancel\"")]
    UnknownAction,
    /// The default profile's marker is the gateway's.
    #[error("the default profile is the gateway itself; leave the profile out")]
    ProfileIsGateway,
    /// No such profile is served.
    #[error("no such profile is served")]
    UnknownProfile,
    /// The drain goes on.
    #[error(transparent)]
    Cancel(CancelDenied),
    /// The order on an actor was refused.
    #[error(transparent)]
    Operate(#[from] OperateError),
    /// No such turn.
    #[error(transparent)]
    Turn(#[from] UnknownTurn),
    /// No turn would be admitted, and why.
    #[error("{0}")]
    NotReady(String),
    /// A thread does not turn.
    #[error("the gateway does not turn")]
    Unhealthy,
    /// A delivery of which it is not proven whose it is. Why, its sender is not told.
    #[error("the delivery is not signed by a known key, or not now")]
    Unsigned,
    /// The body is JSON, and no event.
    #[error("the event cannot be understood")]
    InvalidEvent(#[source] EventError),
    /// Too many bodies wait to be verified.
    #[error("too many deliveries at a time; try again")]
    TooManyDeliveries,
    /// The event is not on disk.
    #[error("the event could not be taken; try again")]
    NotTaken(#[source] NotTaken),
    /// An actor did not answer.
    #[error("a part of the gateway does not answer at the moment")]
    Ask(#[from] AskError),
    /// A bug of ours.
    #[error("the answer could not be made")]
    Unanswerable(#[source] Box<dyn std::error::Error>),
}

/// A refused cancel in words for a client: what the system said of the file stays in the source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CancelDenied {
    /// See [`CancelError::MarkerNotRemoved`].
    #[error("the drain marker could not be removed; the gateway is still draining")]
    Marker(#[source] CancelError),
    /// See [`CancelError::Stopping`].
    #[error("the gateway is stopping, which cannot be cancelled")]
    Stopping,
}

impl ApiError {
    /// The table. A code, once used, keeps its meaning.
    fn row(&self) -> (StatusCode, &'static str) {
        match self {
            Self::UnknownPath => (StatusCode::NOT_FOUND, "not_found"),
            Self::ForbiddenHost => (StatusCode::FORBIDDEN, "forbidden_host"),
            Self::ForbiddenOrigin => (StatusCode::FORBIDDEN, "forbidden_origin"),
            Self::LoopbackOnly => (StatusCode::FORBIDDEN, "loopback_only"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Self::ProviderUnreachable(_) => (StatusCode::SERVICE_UNAVAILABLE, "provider_unreachable"),
            Self::MissingScope(_) => (StatusCode::FORBIDDEN, "missing_scope"),
            Self::SlowDown(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_attempts"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
            Self::BrokenBody(_) => (StatusCode::BAD_REQUEST, "broken_body"),
            Self::InvalidJson(_) => (StatusCode::BAD_REQUEST, "invalid_json"),
            Self::NotAnObject => (StatusCode::BAD_REQUEST, "not_an_object"),
            Self::WrongField { .. } => (StatusCode::BAD_REQUEST, "wrong_field"),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::NotAWebSocket(_) => (StatusCode::BAD_REQUEST, "not_a_websocket"),
            Self::TooManyViewers => (StatusCode::SERVICE_UNAVAILABLE, "too_many_viewers"),
            Self::UnknownAction => (StatusCode::BAD_REQUEST, "unknown_action"),
            Self::ProfileIsGateway => (StatusCode::BAD_REQUEST, "profile_is_gateway"),
            Self::UnknownProfile => (StatusCode::NOT_FOUND, "unknown_profile"),
            Self::Cancel(CancelDenied::Marker(_)) => (StatusCode::INTERNAL_SERVER_ERROR, "marker_not_removed"),
            Self::Operate(OperateError::NoSuchChild(_)) => (StatusCode::NOT_FOUND, "no_such_actor"),
            Self::Operate(OperateError::NotRunning(_)) => (StatusCode::CONFLICT, "actor_not_running"),
            Self::Operate(OperateError::FaultsRefused) => (StatusCode::FORBIDDEN, "faults_refused"),
            Self::Operate(OperateError::Closing) | Self::Cancel(CancelDenied::Stopping) => {
                (StatusCode::CONFLICT, "stopping")
            }
            Self::Operate(OperateError::Unreachable { .. }) => (StatusCode::SERVICE_UNAVAILABLE, "actor_unavailable"),
            Self::Turn(_) => (StatusCode::NOT_FOUND, "unknown_turn"),
            Self::NotReady(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
            Self::Unhealthy => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
            Self::Unsigned => (StatusCode::UNAUTHORIZED, "unsigned_delivery"),
            Self::InvalidEvent(_) => (StatusCode::BAD_REQUEST, "invalid_event"),
            Self::TooManyDeliveries => (StatusCode::SERVICE_UNAVAILABLE, "too_many_deliveries"),
            Self::NotTaken(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_taken"),
            Self::Ask(AskError::Closed | AskError::Full | AskError::Fenced) => {
                (StatusCode::SERVICE_UNAVAILABLE, "actor_unavailable")
            }
            Self::Ask(AskError::Timeout) => (StatusCode::SERVICE_UNAVAILABLE, "actor_timeout"),
            Self::Unanswerable(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// Whether someone who reads the log should hear of it. A probe that is told "not yet" is none of these.
    pub(super) fn is_news(&self) -> bool {
        self.status_code().is_server_error() && !matches!(self, Self::NotReady(_) | Self::Unhealthy)
    }
}

impl From<CancelError> for ApiError {
    fn from(error: CancelError) -> Self {
        Self::Cancel(match error {
            CancelError::MarkerNotRemoved(_) => CancelDenied::Marker(error),
            CancelError::Stopping => CancelDenied::Stopping,
        })
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.row().0
    }

    fn error_response(&self) -> HttpResponse {
        let (status, code) = self.row();
        let mut answer = HttpResponseBuilder::new(status);
        if let Self::SlowDown(after) = self {
            answer.insert_header((RETRY_AFTER, after.as_secs().max(1)));
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.insert_header((RETRY_AFTER, RETRY.as_secs()));
        } else if status == StatusCode::UNAUTHORIZED && !matches!(self, Self::Unsigned) {
            answer.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        answer.json(body(code, &self.to_string()))
    }
}

/// The body of every error.
pub(super) fn body(code: &str, detail: &str) -> serde_json::Value {
    json!({"error": code, "detail": detail})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_never_sees_what_the_system_said_of_the_marker() {
        let error = ApiError::from(CancelError::MarkerNotRemoved("/home/x/.drain_request.json: EROFS".into()));
        assert!(!error.to_string().contains("EROFS"));
        assert_eq!(error.row(), (StatusCode::INTERNAL_SERVER_ERROR, "marker_not_removed"));
    }

    #[test]
    fn an_actor_that_is_not_there_may_be_asked_again() {
        for cause in [AskError::Closed, AskError::Timeout, AskError::Full, AskError::Fenced] {
            let answer = ApiError::from(cause).error_response();
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(answer.headers().contains_key(RETRY_AFTER), "{cause:?}");
        }
    }

    #[test]
    fn refused_orders_say_whether_trying_again_helps() {
        let name = || "drain".to_owned();
        let rows = [
            (OperateError::NoSuchChild(name()), 404),
            (OperateError::NotRunning(name()), 409),
            (OperateError::FaultsRefused, 403),
            (OperateError::Closing, 409),
            (OperateError::Unreachable { id: name(), source: AskError::Closed }, 503),
        ];
        for (error, status) in rows {
            assert_eq!(ApiError::from(error).status_code().as_u16(), status);
        }
        assert_eq!(ApiError::from(CancelError::Stopping).status_code().as_u16(), 409);
    }
}
