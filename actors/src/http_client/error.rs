//! How long a call may take, and why it came to nothing.

use std::time::Duration;

use super::connect::ConnectError;

/// How long a call may take, and how much it may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// To a connection, from the name to the end of the TLS handshake.
    pub connect: Duration,
    /// From the request to the head of the answer.
    pub head: Duration,
    /// Between two pieces of the body.
    pub idle: Duration,
    /// The whole call; without one, the others hold alone.
    pub total: Option<Duration>,
    /// Bytes of the body, after decompression.
    pub body: usize,
}

impl HttpLimits {
    /// A call that is over within `total` and brings at most `body` bytes. Part of the time is for the connection, so that an
    /// unreachable server differs from one that does not answer.
    #[must_use]
    pub fn within(total: Duration, body: usize) -> Self {
        Self { connect: total.mul_f64(0.6), head: total, idle: total, total: Some(total), body }
    }
}

/// Why a call came to nothing. No text in here holds an address, a header or a body.
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
    /// The proxy did not let the call through.
    #[error("no connection: {0}")]
    Proxy(String),
    /// The request was sent, and the connection ended before there was an answer.
    #[error("the connection was closed without an answer: {0}")]
    NoAnswer(String),
    /// The request was sent, and no answer began in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// What came is no answer, or has a head beyond all measure.
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
    /// The answer would lead elsewhere.
    #[error("it answered with a redirect ({status}), which is not followed{}", .to.as_ref().map(|to| format!("; it leads to {to}")).unwrap_or_default())]
    Redirect {
        /// The status.
        status: u16,
        /// Scheme and host of where it leads, if it says so.
        to: Option<String>,
    },
    /// The body is in an encoding that was not asked for and cannot be undone.
    #[error("the body is compressed, unasked, as {0}")]
    Compressed(String),
    /// The body ended before its end.
    #[error("the body was cut: {0}")]
    Cut(String),
    /// The next piece of the body did not come in time.
    #[error("the body stopped for {} s", .0.as_secs_f64())]
    Stalled(Duration),
    /// The whole call took too long.
    #[error("the answer was not whole within {} s", .0.as_secs_f64())]
    TooSlow(Duration),
    /// The body is longer than it may be.
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
            ConnectError::Address => Self::Unusable("it is no http or https address"),
            ConnectError::Tls(_) => Self::Tls(error.to_string()),
            ConnectError::Proxy { .. } => Self::Proxy(error.to_string()),
            ConnectError::Unreachable(_) | ConnectError::TooSlow(_) => Self::Unreachable(error.to_string()),
        }
    }
}
