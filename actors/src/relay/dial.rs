//! Dials the connector: the upgrade, TLS, and a codec with bounded buffers.

use actix_codec::{Decoder, Encoder, Framed};
use actix_http::ws::{Codec, Frame, Item, Message, ProtocolError};
use awc::BoxedSocket;
use awc::error::{SendRequestError, WsClientError};
use awc::http::header;
use bytes::{Buf, BytesMut};
use secrecy::{ExposeSecret, SecretString};

use crate::http_client::{HttpClient, UpgradeRefused};
use caduceus_contract::wire::lines::MAX_LINE_BYTES;

/// Longest WebSocket frame that is buffered whole. A message may hold several lines, so it is more than the longest line. A
/// longer message in a single frame is passed on in pieces as it arrives.
const MAX_FRAME_BYTES: usize = 2 * MAX_LINE_BYTES;

/// Longest head of a frame from a server.
const MAX_HEAD_BYTES: usize = 10;

/// An open connection.
pub(super) type Socket = Framed<BoxedSocket, Bounded>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The connector answered with another status than that of an upgrade.
    #[error(transparent)]
    Refused(UpgradeRefused),
    /// No connection was established.
    #[error("the connector cannot be reached: {0}")]
    Unreachable(WsClientError),
    /// The token has characters that a header cannot have.
    #[error("the upgrade token is malformed")]
    Token,
}

/// Opens a connection to `url`. Has no timeout; the caller drops it when it takes too long.
pub(super) async fn dial(client: HttpClient, url: String, token: Option<SecretString>) -> Result<Socket, DialError> {
    let mut request = client.websocket().ws(url).max_frame_size(MAX_FRAME_BYTES);
    if let Some(token) = token {
        let bearer = zeroize::Zeroizing::new(format!("Bearer {}", token.expose_secret()));
        let mut value = header::HeaderValue::from_str(&bearer).map_err(|_| DialError::Token)?;
        value.set_sensitive(true);
        request = request.set_header(header::AUTHORIZATION, value);
    }
    match request.connect().await {
        Ok((_, socket)) => Ok(socket.into_map_codec(|codec| Bounded { codec, left: 0 })),
        Err(WsClientError::InvalidResponseStatus(status)) => {
            Err(DialError::Refused(UpgradeRefused { status, retry_after: None }))
        }
        Err(WsClientError::SendRequest(SendRequestError::Custom(error, what))) => match error.downcast() {
            Ok(refused) => Err(DialError::Refused(*refused)),
            Err(error) => Err(DialError::Unreachable(SendRequestError::Custom(error, what).into())),
        },
        Err(error) => Err(DialError::Unreachable(error)),
    }
}

/// awc's codec checks the length of a frame only once all of it has arrived; this one does not wait for the end of a frame
/// that is too long: a whole message is passed on in pieces, anything else ends the connection.
pub(super) struct Bounded {
    codec: Codec,
    /// Bytes of the current message in pieces that have not arrived yet.
    left: u64,
}

impl Bounded {
    /// The next piece of a message in pieces.
    fn piece(&mut self, bytes: &mut BytesMut) -> Option<Frame> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        if length == 0 {
            return None;
        }
        let piece = bytes.split_to(length).freeze();
        self.left -= length as u64;
        Some(Frame::Continuation(if self.left == 0 { Item::Last(piece) } else { Item::Continue(piece) }))
    }
}

/// The length of a message in a single unmasked frame with an eight-byte length, as is every message that is too long to be
/// buffered.
fn long_message(bytes: &[u8]) -> Option<u64> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (length, _) = rest.split_first_chunk()?;
    (matches!(first, 0x81 | 0x82) && second == 127).then(|| u64::from_be_bytes(*length))
}

impl Decoder for Bounded {
    type Item = Frame;
    type Error = ProtocolError;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        if self.left == 0
            && let Some(length) = long_message(bytes)
            && length > MAX_FRAME_BYTES as u64
        {
            bytes.advance(MAX_HEAD_BYTES);
            self.left = length;
        }
        if self.left > 0 {
            return Ok(self.piece(bytes));
        }
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
        Bounded { codec: Codec::new().max_size(MAX_FRAME_BYTES).client_mode(), left: 0 }
    }

    fn head(first: u8, length: u64) -> BytesMut {
        let mut bytes = BytesMut::from(&[first, 127][..]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes
    }

    #[test]
    fn a_fragment_that_is_too_long_is_refused_before_its_end() {
        for first in [0x01, 0x00, 0x80] {
            let mut bytes = head(first, 1 << 40);
            assert!(matches!(bounded().decode(&mut bytes), Ok(None)));
            bytes.resize(MAX_FRAME_BYTES + MAX_HEAD_BYTES + 1, b'x');
            assert!(matches!(bounded().decode(&mut bytes), Err(ProtocolError::Overflow)), "{first:x}");
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_read_in_pieces_and_the_next_one_whole() {
        let length = MAX_FRAME_BYTES + 1;
        let mut wire = head(0x81, length as u64);
        wire.resize(MAX_HEAD_BYTES + length, b'x');
        wire.extend_from_slice(b"\x81\x02hi");
        let (mut codec, mut bytes, mut received, mut most) = (bounded(), BytesMut::new(), 0, 0);
        let mut last = false;
        for part in wire.chunks(1_000_003) {
            bytes.extend_from_slice(part);
            most = most.max(bytes.len());
            while let Some(frame) = codec.decode(&mut bytes).unwrap() {
                match frame {
                    Frame::Continuation(Item::Continue(piece)) if !last => received += piece.len(),
                    Frame::Continuation(Item::Last(piece)) if !last => {
                        received += piece.len();
                        last = true;
                    }
                    Frame::Text(text) => assert_eq!((&*text, last), (&b"hi"[..], true)),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!((received, bytes.len()), (length, 0));
        assert!(most < 2_000_000, "{most} bytes were held");
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
