//! A writer that redacts line by line, so that a value split over two writes is found as well.

use std::io::{self, Write};

use zeroize::{Zeroize, Zeroizing};

use super::Redactor;

/// A line longer than this is written in parts; none of them ends inside a value.
const MAX_LINE: usize = 64 * 1024;

/// Redacts what goes to `W`. A line is written when it is whole; what is left of one is written on drop.
#[derive(Debug)]
pub struct RedactingWriter<W: Write> {
    redactor: Redactor,
    inner: W,
    /// Never grows beyond its first allocation, which would leave copies behind.
    line: Zeroizing<Vec<u8>>,
}

impl<W: Write> RedactingWriter<W> {
    /// A writer in front of `inner`.
    pub fn new(redactor: Redactor, inner: W) -> Self {
        Self { redactor, inner, line: Zeroizing::new(Vec::new()) }
    }

    fn put(&mut self, upto: usize) -> io::Result<()> {
        let written = self.inner.write_all(&self.redactor.redact_bytes(&self.line[..upto]));
        // Also after an error: a line that cannot be written must not be the last one ever.
        let left = self.line.len() - upto;
        self.line.copy_within(upto.., 0);
        self.line[left..].zeroize();
        self.line.truncate(left);
        written
    }
}

impl<W: Write> Write for RedactingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.line.is_empty() && bytes.ends_with(b"\n") {
            // The usual case, one whole event a write, needs no copy.
            self.inner.write_all(&self.redactor.redact_bytes(bytes))?;
            return Ok(bytes.len());
        }
        if self.line.capacity() < MAX_LINE {
            *self.line = Vec::with_capacity(MAX_LINE);
        }
        let taken = &bytes[..bytes.len().min(MAX_LINE - self.line.len())];
        self.line.extend_from_slice(taken);
        if let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') {
            self.put(end + 1)?;
        } else if self.line.len() == MAX_LINE {
            let cut = self.redactor.safe_cut(&self.line);
            // A value as long as the buffer cannot be waited for.
            self.put(if cut == 0 { MAX_LINE } else { cut })?;
        }
        Ok(taken.len())
    }

    /// Flushes what was written. An unfinished line stays here, for the value it may hold half of.
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Write> Drop for RedactingWriter<W> {
    fn drop(&mut self) {
        // There is nobody left to tell of an error.
        let _ = self.put(self.line.len());
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn written(parts: &[&[u8]]) -> String {
        let redactor = Redactor::default();
        redactor.replace("work", [("KEY", &SecretString::from("hunter2-hunter2"))]);
        let mut out = Vec::new();
        let mut writer = RedactingWriter::new(redactor, &mut out);
        for part in parts {
            writer.write_all(part).unwrap();
            writer.flush().unwrap();
        }
        drop(writer);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_value_split_over_two_writes_is_found() {
        assert_eq!(written(&[b"key=hunter2-", b"hunter2 end\nnext\n"]), "key=[redacted:KEY] end\nnext\n");
    }

    #[test]
    fn an_unfinished_line_is_written_on_drop() {
        assert_eq!(written(&[b"one\ntwo hunter2-hunter2"]), "one\ntwo [redacted:KEY]");
    }

    #[test]
    fn a_value_across_the_cut_of_an_endless_line_is_found() {
        for shift in 0..20 {
            let filler = "x".repeat(MAX_LINE - shift);
            let line = written(&[filler.as_bytes(), b"hunter2-hunter2", "y".repeat(MAX_LINE).as_bytes()]);
            assert!(!line.contains("hunter2"), "at {shift}");
            assert_eq!(line.len(), 2 * MAX_LINE - shift + "[redacted:KEY]".len());
        }
    }
}
