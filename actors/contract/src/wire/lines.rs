//! Splits the bytes of a socket into lines: a message may hold several lines, or a part of one.

use bytes::{Buf, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::scan::Scan;

/// Longest line that is read, in bytes without its end. The contract's limit: media is sent by address, not in frames.
pub const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// Longest line that is skipped unread. A line without an end must not occupy the link indefinitely.
const MAX_SKIPPED_BYTES: u64 = 8 * MAX_LINE_BYTES as u64;

/// A line above [`MAX_LINE_BYTES`] that cannot be answered. The link is closed (1009), because the line would be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {MAX_LINE_BYTES} bytes")]
pub struct LineTooLong;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketLine {
    /// As received, without its end.
    Whole(Bytes),
    /// A line above [`MAX_LINE_BYTES`] that can be answered.
    TooLong(SkippedLine),
}

/// The record of a line that was skipped unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedLine {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub digest: [u8; 32],
    /// The id that acknowledges it.
    pub buffer_id: String,
}

/// Bytes received on one connection and not yet split into lines.
#[derive(Debug, Default)]
pub struct LineBuffer {
    held: BytesMut,
    /// Bytes of `held` that contain no line end, so that a long line is not searched again.
    searched: usize,
    skipping: Option<Skipping>,
}

/// A line that is being skipped unread.
#[derive(Debug, Default)]
struct Skipping {
    bytes: u64,
    digest: Sha256,
    scan: Scan,
}

impl Skipping {
    fn feed(&mut self, part: &[u8]) -> Result<(), LineTooLong> {
        self.bytes += part.len() as u64;
        if self.bytes > MAX_SKIPPED_BYTES {
            return Err(LineTooLong);
        }
        self.digest.update(part);
        self.scan.feed(part);
        Ok(())
    }

    fn finish(self) -> Result<SocketLine, LineTooLong> {
        let buffer_id = self.scan.finish().ok_or(LineTooLong)?;
        Ok(SocketLine::TooLong(SkippedLine { bytes: self.bytes, digest: self.digest.finalize().into(), buffer_id }))
    }
}

impl LineBuffer {
    /// An empty buffer; each connection has its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one message, text or binary.
    pub fn push(&mut self, message: &[u8]) {
        self.held.extend_from_slice(message);
    }

    /// The next complete line; blank ones are skipped. `None`: more bytes are needed. A line above [`MAX_LINE_BYTES`] with
    /// an id is skipped unread and reported.
    ///
    /// # Errors
    /// [`LineTooLong`], after the lines before it: a long line that has no id to acknowledge it by, or does
    /// not end.
    pub fn next_line(&mut self) -> Result<Option<SocketLine>, LineTooLong> {
        if self.skipping.is_none()
            && let Ok(line) = self.next_whole_line()
        {
            return Ok(line.map(SocketLine::Whole));
        }
        self.skip()
    }

    /// As [`LineBuffer::next_line`], for a peer whose long lines are not acknowledged: each is refused before its end.
    ///
    /// # Errors
    /// [`LineTooLong`], after the lines before it.
    pub fn next_whole_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        loop {
            let (length, has_end) = self.first_line();
            if length > MAX_LINE_BYTES {
                return Err(LineTooLong);
            }
            if !has_end {
                self.searched = length;
                return Ok(None);
            }
            self.searched = 0;
            let line = self.held.split_to(length).freeze();
            self.held.advance(1);
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// Length of the first line as far as it was received, and whether its end was.
    fn first_line(&self) -> (usize, bool) {
        let end = self.held[self.searched..].iter().position(|byte| *byte == b'\n');
        (end.map_or(self.held.len(), |end| self.searched + end), end.is_some())
    }

    /// Skips what was received of a long line, and returns its record once it has ended.
    fn skip(&mut self) -> Result<Option<SocketLine>, LineTooLong> {
        let mut skipping = match self.skipping.take() {
            Some(skipping) => skipping,
            None if self.held.trim_ascii_start().first() == Some(&b'{') => Skipping::default(),
            // A line that is not an object has no id, wherever it ends.
            None => return Err(LineTooLong),
        };
        let (length, has_end) = self.first_line();
        self.searched = 0;
        skipping.feed(&self.held.split_to(length))?;
        if has_end {
            self.held.advance(1);
            return skipping.finish().map(Some);
        }
        self.skipping = Some(skipping);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(buffer: &mut LineBuffer) -> Vec<Bytes> {
        let whole = |line| match line {
            SocketLine::Whole(line) => line,
            SocketLine::TooLong(line) => panic!("{line:?}"),
        };
        std::iter::from_fn(|| buffer.next_line().unwrap().map(whole)).collect()
    }

    /// A frame of at least this many bytes, without its end.
    fn long(bytes: usize) -> Vec<u8> {
        format!(r#"{{"event":{{"text":"{}"}},"bufferId":"b1"}}"#, "x".repeat(bytes)).into_bytes()
    }

    #[test]
    fn the_lines_before_a_line_too_long_are_still_delivered() {
        let mut buffer = LineBuffer::new();
        buffer.push(b"one\ntwo\n");
        buffer.push(&vec![b'x'; MAX_LINE_BYTES]);
        assert_eq!(all(&mut buffer), ["one", "two"]);
        buffer.push(b"x\n");
        assert_eq!(buffer.next_line(), Err(LineTooLong));
    }

    #[test]
    fn the_longest_line_is_accepted() {
        let mut buffer = LineBuffer::new();
        buffer.push(&vec![b'x'; MAX_LINE_BYTES]);
        buffer.push(b"\n");
        assert_eq!(all(&mut buffer)[0].len(), MAX_LINE_BYTES);
    }

    #[test]
    fn the_record_of_a_skipped_line_has_its_acknowledgement_id() {
        let line = long(MAX_LINE_BYTES);
        let digest: [u8; 32] = Sha256::digest(&line).into();
        let expected = SkippedLine { bytes: line.len() as u64, digest, buffer_id: "b1".to_owned() };
        for piece in [line.len(), 1024 * 1024, 4_000_037] {
            let mut buffer = LineBuffer::new();
            let mut most = 0;
            for part in line.chunks(piece) {
                assert_eq!(buffer.next_line(), Ok(None));
                buffer.push(part);
                most = most.max(buffer.held.len());
            }
            buffer.push(b"\nnext\n");
            assert_eq!(buffer.next_line(), Ok(Some(SocketLine::TooLong(expected.clone()))), "in pieces of {piece}");
            assert_eq!(all(&mut buffer), ["next"]);
            assert!(piece == line.len() || most <= MAX_LINE_BYTES + piece, "{most} bytes were held");
        }
    }

    #[test]
    fn a_long_line_that_is_not_an_object_is_refused_before_its_end() {
        let mut buffer = LineBuffer::new();
        buffer.push(&vec![b'x'; MAX_LINE_BYTES + 1]);
        assert_eq!(buffer.next_line(), Err(LineTooLong));
    }

    #[test]
    fn a_long_line_of_a_peer_without_acknowledgements_is_refused_before_its_end() {
        let mut buffer = LineBuffer::new();
        buffer.push(b"\n one\r\n{\"c\"");
        assert_eq!(buffer.next_whole_line(), Ok(Some(Bytes::from_static(b" one\r"))));
        buffer.push(&long(MAX_LINE_BYTES)[..MAX_LINE_BYTES - 4]);
        assert_eq!(buffer.next_whole_line(), Ok(None), "the longest line");
        buffer.push(b"x");
        assert_eq!(buffer.next_whole_line(), Err(LineTooLong), "although the line could have an id");
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let (mut buffer, part) = (LineBuffer::new(), long(MAX_LINE_BYTES));
        let parts = (0..20).map(|_| {
            buffer.push(&part);
            buffer.next_line()
        });
        let ends: Vec<_> = parts.take_while(|outcome| *outcome == Ok(None)).collect();
        assert!((6..=8).contains(&ends.len()), "{} of 8 MiB skipped", ends.len());
        assert!(buffer.held.len() <= part.len());
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_into_messages_does_not_matter(
            text in "[a-c\n é]{0,60}",
            cuts in prop::collection::vec(0_usize..60, 0..8),
        ) {
            let mut buffer = LineBuffer::new();
            let mut lines = Vec::new();
            let bytes = text.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            for pair in at.windows(2) {
                buffer.push(&bytes[pair[0]..pair[1]]);
                lines.extend(all(&mut buffer));
            }
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let expected: Vec<&str> = whole.split('\n').filter(|line| !line.trim_ascii().is_empty()).collect();
            prop_assert_eq!(lines, expected);
        }
    }
}
