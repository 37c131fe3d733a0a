//! Sends a message to an actor for a client and awaits the answer. The only place in HTTP that does.

use std::time::Duration;

use actix::Message;
use caduceus_supervision::Port;

use super::error::ApiError;

/// Longest wait for an answer from memory; a client's own timeout is rarely above it.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks with [`TIMEOUT`].
///
/// # Errors
/// [`ApiError::Ask`] without an answer.
pub(super) async fn ask<M>(port: &Port<M>, message: M) -> Result<M::Result, ApiError>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    ask_within(port, message, TIMEOUT).await
}

/// Asks, for at most `timeout`.
///
/// # Errors
/// [`ApiError::Ask`] without an answer.
pub(super) async fn ask_within<M>(port: &Port<M>, message: M, timeout: Duration) -> Result<M::Result, ApiError>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    Ok(port.ask(message, timeout).await?)
}
