//! A refused upgrade to a WebSocket, with the data of the answer; awc keeps only its status.

use std::time::Duration;

use actix_service::{Service, forward_ready};
use awc::error::SendRequestError;
use awc::http::StatusCode;
use awc::http::header::RETRY_AFTER;
use awc::middleware::Transform;
use awc::{ConnectRequest, ConnectResponse};
use futures_util::future::LocalBoxFuture;

use super::answer::retry_after;

/// An answer to an upgrade with another status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connector answered the upgrade with {status}")]
pub struct UpgradeRefused {
    /// Its status.
    pub status: StatusCode,
    /// The wait before the next attempt, if it has one.
    pub retry_after: Option<Duration>,
}

/// Converts a refused upgrade into an [`UpgradeRefused`].
pub(super) struct ReportRefusals;

pub(super) struct RefusalsReported<S> {
    service: S,
}

impl<S> Transform<S, ConnectRequest> for ReportRefusals
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError>,
    S::Future: 'static,
{
    type Transform = RefusalsReported<S>;

    fn new_transform(self, service: S) -> Self::Transform {
        RefusalsReported { service }
    }
}

impl<S> Service<ConnectRequest> for RefusalsReported<S>
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError>,
    S::Future: 'static,
{
    type Response = ConnectResponse;
    type Error = SendRequestError;
    type Future = LocalBoxFuture<'static, Result<ConnectResponse, SendRequestError>>;

    forward_ready!(service);

    fn call(&self, request: ConnectRequest) -> Self::Future {
        let answering = self.service.call(request);
        Box::pin(async move {
            match answering.await? {
                ConnectResponse::Tunnel(head, _) if head.status != StatusCode::SWITCHING_PROTOCOLS => {
                    let wait = head.headers().get(RETRY_AFTER).and_then(|text| wait_of(text.to_str().ok()?));
                    let refused = UpgradeRefused { status: head.status, retry_after: wait };
                    Err(SendRequestError::Custom(Box::new(refused), Box::new("upgrade")))
                }
                answer => Ok(answer),
            }
        })
    }
}

/// A number of seconds beyond the range of a time is a long time nevertheless.
fn wait_of(text: &str) -> Option<Duration> {
    let digits = !text.trim().is_empty() && text.trim().bytes().all(|byte| byte.is_ascii_digit());
    retry_after(text).or(digits.then_some(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_beyond_the_range_is_the_longest_wait() {
        assert_eq!((wait_of(" 7 "), wait_of(&"9".repeat(30))), (Some(Duration::from_secs(7)), Some(Duration::MAX)));
        assert_eq!((wait_of(""), wait_of("soon"), wait_of("-1")), (None, None, None));
    }
}
