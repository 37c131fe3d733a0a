//! One upgrade request to the connector, which checks whether it answers and accepts the credentials.

use std::time::Duration;

use actix_http::ws::{CloseCode, CloseReason, Frame, Message};
use futures_util::{SinkExt as _, StreamExt as _};
use secrecy::SecretString;

use super::dial::{DialError, Socket, dial};
use crate::http_client::HttpClient;
use caduceus_contract::wire::url::RelayUrl;

/// A connector that refuses the credentials after the upgrade does so within this time.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);
/// Longest wait for the connector's half of the closing handshake.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// The result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// It accepted the link. No frame was sent, and the link was closed.
    Opened,
    /// It accepted the link and closed it with this code.
    Closed(u16),
    /// It answered the upgrade with this status.
    Answered(u16),
    /// There was no answer, for this reason.
    Unreachable(String),
}

/// Requests the upgrade as a link does, with a token if one is given, and sends no frame. For a connector, a link with a token is
/// the gateway's: it closes the gateway's other link. Has no timeout; the caller drops it when it takes too long.
pub async fn probe(client: &HttpClient, url: &RelayUrl, token: Option<SecretString>) -> ProbeResult {
    let with_token = token.is_some();
    match dial(client.clone(), url.dial().to_owned(), token).await {
        Ok(socket) if with_token => leave(socket).await,
        Ok(_) => ProbeResult::Opened,
        Err(DialError::Refused(refused)) => ProbeResult::Answered(refused.status.as_u16()),
        Err(error @ (DialError::Unreachable(_) | DialError::Token)) => ProbeResult::Unreachable(error.to_string()),
    }
}

/// Waits whether the connector closes the link, and closes it if not.
async fn leave(mut socket: Socket) -> ProbeResult {
    let first = tokio::time::timeout(REFUSED_WITHIN, socket.next()).await;
    if let Ok(Some(Ok(Frame::Close(reason)))) = first {
        return ProbeResult::Closed(reason.map_or(CloseCode::Abnormal, |reason| reason.code).into());
    }
    let closing = async {
        let reason = CloseReason { code: CloseCode::Normal, description: None };
        if socket.send(Message::Close(Some(reason))).await.is_ok() {
            while let Some(Ok(frame)) = socket.next().await {
                if matches!(frame, Frame::Close(_)) {
                    break;
                }
            }
        }
    };
    // The link was accepted, however it ends.
    let _ = tokio::time::timeout(CLOSED_WITHIN, closing).await;
    ProbeResult::Opened
}
