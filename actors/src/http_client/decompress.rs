//! Bodies that are compressed although identity was requested. A refresh token is valid once: the answer to it must not be lost.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use zeroize::Zeroize;

use super::error::HttpError;

/// Bytes that are decompressed before their number is checked: they expand to at most a thousand times as many.
const STEP: usize = 1024;

/// The decoder of one body.
pub(super) enum Decompressor {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Zlib(ZlibDecoder<Vec<u8>>),
}

impl Decompressor {
    /// `None` for an unsupported encoding.
    pub(super) fn of(encoding: &str) -> Option<Self> {
        match encoding.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip(MultiGzDecoder::new(Vec::new()))),
            "deflate" => Some(Self::Zlib(ZlibDecoder::new(Vec::new()))),
            _ => None,
        }
    }

    /// The decompressed bytes; `None` if they are more than `most`.
    pub(super) fn feed(&mut self, bytes: &[u8], most: usize) -> Result<Option<Bytes>, HttpError> {
        for part in bytes.chunks(STEP) {
            self.write(part).map_err(|error| cut(&error))?;
            if self.out().len() > most {
                return Ok(None);
            }
        }
        Ok(Some(std::mem::take(self.out()).into()))
    }

    /// Why the body that has ended is incomplete, if it is.
    pub(super) fn end(mut self) -> Option<HttpError> {
        let ended = match &mut self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zlib(decoder) => decoder.try_finish(),
        };
        ended.err().map(|error| cut(&error))
    }

    fn write(&mut self, part: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.write_all(part).and_then(|()| decoder.flush()),
            Self::Zlib(decoder) => decoder.write_all(part).and_then(|()| decoder.flush()),
        }
    }

    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zlib(decoder) => decoder.get_mut(),
        }
    }
}

fn cut(error: &io::Error) -> HttpError {
    HttpError::Cut(format!("it cannot be decompressed: {error}"))
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        self.out().zeroize();
    }
}
