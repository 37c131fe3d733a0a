//! Dialling the connector: the upgrade, TLS, and a codec that bounds what it holds.

use actix_codec::{Decoder, Encoder, Framed};
use actix_http::ws::{Codec, Frame, Message, ProtocolError};
use awc::BoxedSocket;
use awc::error::WsClientError;
use awc::http::{StatusCode, header};
use bytes::BytesMut;
use secrecy::{ExposeSecret, SecretString};

use super::lines::MAX_LINE_BYTES;
use crate::http_client::HttpClient;

/// Longest WebSocket frame. A message may hold several lines, so it is more than the longest line.
const MAX_FRAME_BYTES: usize = 2 * MAX_LINE_BYTES;

/// Longest head of a frame that a server sends.
const MAX_HEAD_BYTES: usize = 10;

/// An open connection.
pub(super) type Socket = Framed<BoxedSocket, Bounded>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The connector answered, and not with an upgrade.
    #[error("the connector answered the upgrade with {0}")]
    Refused(StatusCode),
    /// No connection came about.
    #[error("the connector cannot be reached: {0}")]
    Unreachable(WsClientError),
    /// The token cannot stand in a header.
    #[error("the upgrade token is malformed")]
    Token,
}

/// Opens a connection to `url`. Waits as long as it takes; the caller drops it when that is too long.
pub(super) async fn dial(trust: HttpClient, url: String, token: Option<SecretString>) -> Result<Socket, DialError> {
    let mut request = trust.websocket().ws(url).max_frame_size(MAX_FRAME_BYTES);
    if let Some(token) = token {
        let bearer = zeroize::Zeroizing::new(format!("Bearer {}", token.expose_secret()));
        let mut value = header::HeaderValue::from_str(&bearer).map_err(|_| DialError::Token)?;
        value.set_sensitive(true);
        request = request.set_header(header::AUTHORIZATION, value);
    }
    match request.connect().await {
        Ok((_, socket)) => Ok(socket.into_map_codec(|codec| Bounded { codec })),
        Err(WsClientError::InvalidResponseStatus(status)) => Err(DialError::Refused(status)),
        Err(error) => Err(DialError::Unreachable(error)),
    }
}

/// awc's codec looks at the length of a frame only once all of it is there; this one does not wait for the end of a frame
/// that is too long.
pub(super) struct Bounded {
    codec: Codec,
}

impl Decoder for Bounded {
    type Item = Frame;
    type Error = ProtocolError;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        match self.codec.decode(bytes)? {
            None if bytes.len() > MAX_FRAME_BYTES + MAX_HEAD_BYTES => Err(ProtocolError::Overflow),
            frame => Ok(frame),
        }
    }
}

impl Encoder<Message> for Bounded {
    type Error = ProtocolError;

    fn encode(&mut self, message: Message, bytes: &mut BytesMut) -> Result<(), ProtocolError> {
        self.codec.encode(message, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded() -> Bounded {
        Bounded { codec: Codec::new().max_size(MAX_FRAME_BYTES).client_mode() }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_its_end_came() {
        let mut bytes = BytesMut::from(&[0x81_u8, 127][..]);
        bytes.extend_from_slice(&(1_u64 << 40).to_be_bytes());
        assert!(matches!(bounded().decode(&mut bytes), Ok(None)));
        bytes.resize(MAX_FRAME_BYTES + MAX_HEAD_BYTES + 1, b'x');
        assert!(matches!(bounded().decode(&mut bytes), Err(ProtocolError::Overflow)));
    }

    #[test]
    fn a_frame_of_the_longest_line_passes() {
        let mut bytes = BytesMut::from(&[0x81_u8, 127][..]);
        bytes.extend_from_slice(&((MAX_LINE_BYTES + 1) as u64).to_be_bytes());
        bytes.resize(bytes.len() + MAX_LINE_BYTES + 1, b'x');
        assert!(
            matches!(bounded().decode(&mut bytes), Ok(Some(Frame::Text(text))) if text.len() == MAX_LINE_BYTES + 1)
        );
    }
}
