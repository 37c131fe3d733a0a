//! Cuts what a socket delivers into lines: a message may hold several of them, or a part of one.

use bytes::{Buf, Bytes, BytesMut};

/// Longest line, in bytes without its end. The contract's limit: media travels by address, not in frames.
pub const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// A line above [`MAX_LINE_BYTES`]. The link has to be closed (1009): where it would end is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {MAX_LINE_BYTES} bytes")]
pub struct LineTooLong;

/// Bytes received on one connection and not yet read as lines.
#[derive(Debug, Default)]
pub struct LineBuffer {
    held: BytesMut,
    /// So much of `held` is known to hold no line end, so that a long line is not searched over and over.
    searched: usize,
}

impl LineBuffer {
    /// An empty one; each connection has its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one message, text or binary.
    pub fn push(&mut self, message: &[u8]) {
        self.held.extend_from_slice(message);
    }

    /// The next complete line without its end; blank ones are skipped. `None`: more has to come in.
    ///
    /// # Errors
    /// [`LineTooLong`], once the lines before it have been taken.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        loop {
            let end = self.held[self.searched..].iter().position(|byte| *byte == b'\n');
            let length = end.map_or(self.held.len(), |end| self.searched + end);
            if length > MAX_LINE_BYTES {
                return Err(LineTooLong);
            }
            if end.is_none() {
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(buffer: &mut LineBuffer) -> Vec<Bytes> {
        std::iter::from_fn(|| buffer.next_line().unwrap()).collect()
    }

    #[test]
    fn the_lines_before_a_line_too_long_are_still_delivered() {
        let mut buffer = LineBuffer::new();
        buffer.push(b"one\ntwo\n");
        buffer.push(&vec![b'x'; MAX_LINE_BYTES]);
        assert_eq!(all(&mut buffer), ["one", "two"]);
        buffer.push(b"x");
        assert_eq!(buffer.next_line(), Err(LineTooLong));
    }

    #[test]
    fn the_longest_line_is_accepted() {
        let mut buffer = LineBuffer::new();
        buffer.push(&vec![b'x'; MAX_LINE_BYTES]);
        buffer.push(b"\n");
        assert_eq!(buffer.next_line().unwrap().unwrap().len(), MAX_LINE_BYTES);
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
