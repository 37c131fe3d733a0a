//! Maps each error to a code of the one table (`code.rs`).
//!
//! A client sees the code and one sentence; the cause goes to the log with the request's id (see `request_guard.rs`).

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use caduceus_contract::api::ledger_changes::RowRefusal;
use caduceus_contract::messages::dispatch::{NotRecorded, RowError, UnknownTurn};
use caduceus_contract::messages::drain::CancelError;
use caduceus_contract::messages::ledger::LedgerError;
use caduceus_contract::wire::event::EventError;
use caduceus_contract::wire::provisioning::ErrorBody;
use caduceus_supervision::{AskError, OperateError};

use super::code::ApiErrorCode;

/// When a client may repeat a request that an actor did not answer: a restart takes milliseconds, a backoff seconds.
const RETRY: Duration = Duration::from_secs(2);

/// Why a request failed. The text is what the client sees.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// There is no such route.
    #[error("nothing is at this path")]
    UnknownPath,
    /// The `Host` is missing, doubled or not a name of the gateway: the request may come from a website in the operator's browser.
    #[error("this host name is not one of the gateway's own")]
    ForbiddenHost,
    /// See [`ApiError::ForbiddenHost`].
    #[error("requests from other websites are not answered")]
    ForbiddenOrigin,
    /// The route is for clients on loopback.
    #[error("this is answered on the gateway's own machine only")]
    LoopbackOnly,
    /// No token, an unknown one, or none that could be read.
    #[error("Unauthorized")]
    Unauthenticated,
    /// No provider recognised the token, and this one could not be reached.
    #[error("the token provider {0} cannot be reached")]
    ProviderUnreachable(String),
    /// The token has other scopes.
    #[error("the token lacks the scope {0}")]
    MissingScope(String),
    /// The flag for trials does not open this route.
    #[error(
        "texts of the ledger are shown, exported and erased with the drain token only, also under --insecure-loopback-drain: set HERMES_DASHBOARD_DRAIN_SECRET for the gateway, restart it, and send the secret as the token"
    )]
    TokenRequired,
    /// Too many failures from one address.
    #[error("too many failed attempts; try again later")]
    TooManyAttempts(Duration),
    /// The body is above the route's limit, in bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The content type of the body is not JSON.
    #[error("the body must be JSON")]
    WrongType,
    /// The connection ended before the body.
    #[error("the body could not be read")]
    BrokenBody(#[source] actix_web::Error),
    /// The body is not JSON.
    #[error("the body is not valid JSON")]
    InvalidJson(#[source] serde_json::Error),
    /// The body is JSON, but not an object.
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// A field has a wrong type or value.
    #[error("{field} must be {expected}")]
    WrongField { field: &'static str, expected: &'static str },
    /// A part of the path or of the query has a wrong value.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The request is not a WebSocket handshake.
    #[error("this path is for WebSocket clients")]
    NotAWebSocket(#[source] actix_web::Error),
    /// Too many clients watch the status.
    #[error("too many clients watch the status")]
    TooManyViewers,
    /// The action is neither `drain` nor `cancel`.
    #[error("action must be \"drain\" or \"cancel\"")]
    UnknownAction,
    /// The default profile's marker is the gateway's.
    #[error("the default profile is the gateway itself; leave the profile out")]
    ProfileIsGateway,
    /// No such profile is served.
    #[error("no such profile is served")]
    UnknownProfile,
    /// The drain continues.
    #[error(transparent)]
    Cancel(CancelDenied),
    /// The command to an actor was refused.
    #[error(transparent)]
    Operate(#[from] OperateError),
    /// No such turn.
    #[error(transparent)]
    Turn(#[from] UnknownTurn),
    /// The ledger has no such row, or cannot read or write it.
    #[error("{}", ledger_text(.0))]
    Ledger(#[source] LedgerError),
    /// The state of a row does not allow it.
    #[error(transparent)]
    Row(RowRefusal),
    /// The part of the gateway that has the row cannot decide at present.
    #[error("not at the moment; try again")]
    NotNow,
    /// The process is stopping already.
    #[error("the gateway is stopping already")]
    Stopping,
    /// No turn would be admitted, and why.
    #[error("{0}")]
    NotReady(String),
    /// A thread is unresponsive.
    #[error("gateway is unresponsive")]
    Unhealthy,
    /// A delivery without a valid signature. The sender gets no reason.
    #[error("the delivery is not signed by a known key, or not now")]
    Unsigned,
    /// The body is JSON, but not an event.
    #[error("the event is not valid")]
    InvalidEvent(#[source] EventError),
    /// Too many bodies wait to be verified.
    #[error("too many deliveries at a time; try again")]
    TooManyDeliveries,
    /// The event is not on disk: the ledger does not take it, or too many of its link wait.
    #[error("the event was not taken; try again")]
    NotTaken(#[source] NotRecorded),
    /// An actor did not answer.
    #[error("a part of the gateway does not answer at the moment")]
    Ask(#[from] AskError),
    /// A bug of the gateway.
    #[error("the answer could not be rendered")]
    Unanswerable(#[source] Box<dyn std::error::Error>),
}

/// A refused cancel, for a client: the system's error about the file is only in the source.
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
    pub(super) fn code(&self) -> ApiErrorCode {
        match self {
            Self::UnknownPath => ApiErrorCode::NotFound,
            Self::ForbiddenHost => ApiErrorCode::ForbiddenHost,
            Self::ForbiddenOrigin => ApiErrorCode::ForbiddenOrigin,
            Self::LoopbackOnly => ApiErrorCode::LoopbackOnly,
            Self::Unauthenticated => ApiErrorCode::Unauthenticated,
            Self::ProviderUnreachable(_) => ApiErrorCode::ProviderUnreachable,
            Self::MissingScope(_) => ApiErrorCode::MissingScope,
            Self::TokenRequired => ApiErrorCode::TokenRequired,
            Self::TooManyAttempts(_) => ApiErrorCode::TooManyAttempts,
            Self::TooLarge(_) => ApiErrorCode::BodyTooLarge,
            Self::TooSlow => ApiErrorCode::BodyTooSlow,
            Self::WrongType => ApiErrorCode::UnsupportedMediaType,
            Self::BrokenBody(_) => ApiErrorCode::BrokenBody,
            Self::InvalidJson(_) => ApiErrorCode::InvalidJson,
            Self::NotAnObject => ApiErrorCode::NotAnObject,
            Self::WrongField { .. } => ApiErrorCode::WrongField,
            Self::BadRequest(_) => ApiErrorCode::BadRequest,
            Self::NotAWebSocket(_) => ApiErrorCode::NotAWebSocket,
            Self::TooManyViewers => ApiErrorCode::TooManyViewers,
            Self::UnknownAction => ApiErrorCode::UnknownAction,
            Self::ProfileIsGateway => ApiErrorCode::ProfileIsGateway,
            Self::UnknownProfile => ApiErrorCode::UnknownProfile,
            Self::Cancel(CancelDenied::Marker(_)) => ApiErrorCode::MarkerNotRemoved,
            Self::Operate(OperateError::NoSuchChild(_)) => ApiErrorCode::NoSuchActor,
            Self::Operate(OperateError::NotRunning(_)) => ApiErrorCode::ActorNotRunning,
            Self::Operate(OperateError::FaultsRefused) => ApiErrorCode::FaultsRefused,
            Self::Stopping | Self::Operate(OperateError::Closing) | Self::Cancel(CancelDenied::Stopping) => {
                ApiErrorCode::Stopping
            }
            Self::Turn(_) => ApiErrorCode::UnknownTurn,
            Self::Ledger(LedgerError::Missing { .. }) => ApiErrorCode::NoSuchRow,
            Self::Ledger(LedgerError::Corrupt { .. }) => ApiErrorCode::RowCorrupt,
            Self::Row(_) | Self::Ledger(LedgerError::Final { .. }) => ApiErrorCode::RowRefused,
            Self::NotNow => ApiErrorCode::NotNow,
            Self::Ledger(LedgerError::Unwritable(_) | LedgerError::Closed) => ApiErrorCode::LedgerUnavailable,
            Self::NotReady(_) => ApiErrorCode::NotReady,
            Self::Unhealthy => ApiErrorCode::Unhealthy,
            Self::Unsigned => ApiErrorCode::UnsignedDelivery,
            Self::InvalidEvent(_) => ApiErrorCode::InvalidEvent,
            Self::TooManyDeliveries => ApiErrorCode::TooManyDeliveries,
            Self::NotTaken(_) => ApiErrorCode::NotTaken,
            Self::Operate(OperateError::Unreachable { .. })
            | Self::Ask(AskError::Closed | AskError::Full | AskError::Fenced) => ApiErrorCode::ActorUnavailable,
            Self::Ask(AskError::Timeout) => ApiErrorCode::ActorTimeout,
            Self::Unanswerable(_) => ApiErrorCode::Internal,
        }
    }

    /// Whether it is logged as a warning. A probe that gets "not ready" is not, nor are errors that unknown peers can cause
    /// without limit: evictions are counted, and logged once a minute.
    pub(super) fn is_warning(&self) -> bool {
        let expected = matches!(
            self,
            Self::NotReady(_)
                | Self::NotNow
                | Self::Unhealthy
                | Self::TooManyDeliveries
                | Self::TooManyViewers
                // Counted and logged by the dispatcher.
                | Self::NotTaken(NotRecorded::TooManyWait)
        );
        self.status_code().is_server_error() && !expected
    }
}

impl From<RowError> for ApiError {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Refused(refusal) => Self::Row(refusal),
            RowError::Ledger(error) => Self::Ledger(error),
            RowError::OtherDispatcher | RowError::NotNow => Self::NotNow,
        }
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

/// The error of the ledger, for a client: the system's error is only in the source.
fn ledger_text(error: &LedgerError) -> String {
    match error {
        LedgerError::Unwritable(_) | LedgerError::Closed => "the ledger cannot be used at the moment".to_owned(),
        LedgerError::Missing { .. } => "the ledger has no such row".to_owned(),
        LedgerError::Corrupt { .. } => "the row is corrupt; it is kept and not used".to_owned(),
        LedgerError::Final { .. } => error.to_string(),
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
        self.code().status()
    }

    fn error_response(&self) -> HttpResponse {
        let code = self.code();
        let status = code.status();
        let mut answer = HttpResponseBuilder::new(status);
        if let Self::TooManyAttempts(after) = self {
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
pub(super) fn body(code: ApiErrorCode, detail: &str) -> ErrorBody<'_> {
    ErrorBody { error: code.word().into(), detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_error_about_the_marker_is_not_shown_to_clients() {
        let error = ApiError::from(CancelError::MarkerNotRemoved("/home/x/.drain_request.json: EROFS".into()));
        assert!(!error.to_string().contains("EROFS"));
        assert_eq!(error.code(), ApiErrorCode::MarkerNotRemoved);
    }

    #[test]
    fn an_actor_that_does_not_answer_is_503_with_a_time_to_try_again() {
        for cause in [AskError::Closed, AskError::Timeout, AskError::Full, AskError::Fenced] {
            let answer = ApiError::from(cause).error_response();
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(answer.headers().contains_key(RETRY_AFTER), "{cause:?}");
        }
    }

    #[test]
    fn the_status_of_a_refused_command_shows_whether_another_try_helps() {
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
