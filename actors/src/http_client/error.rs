//! The limits of a call, and its errors.

use std::time::Duration;

use super::connect::ConnectError;

/// The limits of a call, in time and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// For the connection, from the name lookup to the end of the TLS handshake.
    pub connect: Duration,
    /// From the request to the head of the answer.
    pub head: Duration,
    /// Between two pieces of the body.
    pub idle: Duration,
    /// For the whole call; without it, only the others apply.
    pub total: Option<Duration>,
    /// Bytes of the body, after decompression.
    pub body: usize,
}

impl HttpLimits {
    /// A call within `total`, with at most `body` bytes. Part of the time is for the connection, so that an
    /// unreachable server differs from one that does not answer.
    #[must_use]
    pub fn within(total: Duration, body: usize) -> Self {
        Self { connect: total.mul_f64(0.6), head: total, idle: total, total: Some(total), body }
    }
}

/// Why a call failed. No text in here contains an address, a header or a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The address or a header cannot be sent.
    #[error("the request cannot be sent: {0}")]
    Unusable(&'static str),
    /// There was no connection.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// The certificate was refused, or the handshake failed.
    #[error("no connection: {0}")]
    Tls(String),
    /// The proxy refused the call.
    #[error("no connection: {0}")]
    Proxy(String),
    /// The request was sent, and the connection ended before there was an answer.
    #[error("the connection was closed without an answer: {0}")]
    NoAnswer(String),
    /// The request was sent, and no answer began in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// The data is not an HTTP answer, or its head is too large.
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
    /// The answer is a redirect.
    #[error("it answered with a redirect ({status}), which is not followed{}", .to.as_ref().map(|to| format!("; it leads to {to}")).unwrap_or_default())]
    Redirect {
        /// The status.
        status: u16,
        /// Scheme and host of its target, if it has one.
        to: Option<String>,
    },
    /// The body is in an encoding that was not accepted and is unsupported.
    #[error("the body is compressed as {0}, which was not accepted")]
    Compressed(String),
    /// The body ended early.
    #[error("the body ended early: {0}")]
    Cut(String),
    /// The next piece of the body did not arrive in time.
    #[error("the body stopped for {} s", .0.as_secs_f64())]
    Stalled(Duration),
    /// The whole call took too long.
    #[error("the answer was not complete within {} s", .0.as_secs_f64())]
    TooSlow(Duration),
    /// The body exceeds the limit.
    #[error("the body is longer than {0} bytes")]
    TooLarge(usize),
}

impl HttpError {
    /// Whether the server can have read the request. If not, it had no effect.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        match self {
            Self::Unusable(_) | Self::Unreachable(_) | Self::Tls(_) | Self::Proxy(_) => false,
            Self::NoAnswer(_)
            | Self::Silent(_)
            | Self::Malformed(_)
            | Self::Redirect { .. }
            | Self::Compressed(_)
            | Self::Cut(_)
            | Self::Stalled(_)
            | Self::TooSlow(_)
            | Self::TooLarge(_) => true,
        }
    }
}

impl From<&ConnectError> for HttpError {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::Address => Self::Unusable("not an http or https address"),
            ConnectError::Tls(_) => Self::Tls(error.to_string()),
            ConnectError::Proxy { .. } => Self::Proxy(error.to_string()),
            ConnectError::Unreachable(_) | ConnectError::TooSlow(_) => Self::Unreachable(error.to_string()),
        }
    }
}
