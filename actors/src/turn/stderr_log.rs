//! Prepares an agent's standard error for the log: in lines, of limited length and number.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::profile::redact::Redactor;

/// Bytes of a line that are read; the rest is dropped up to the line's end.
const MAX_READ: usize = 64 * 1024;
/// Bytes of a line that are logged.
const MAX_SHOWN: usize = 4 * 1024;
/// Lines logged in one [`PERIOD`].
const MAX_LINES: u32 = 50;
const PERIOD: Duration = Duration::from_secs(1);

/// Splits a stream into lines and limits their number.
#[derive(Debug, Default)]
pub(super) struct StderrLog {
    line: Vec<u8>,
    /// Start of the current period, and the lines logged in it.
    period: Option<(Instant, u32)>,
    dropped: u64,
}

/// An entry for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StderrEntry {
    /// A line without secrets.
    Line(String),
    /// This many lines before the next one were dropped.
    Dropped(u64),
}

impl StderrLog {
    /// Adds output.
    pub(super) fn push(&mut self, mut bytes: &[u8], redactor: &Redactor, now: Instant) -> Vec<StderrEntry> {
        let mut entries = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.take(&bytes[..end]);
            self.end_line(redactor, now, &mut entries);
            bytes = &bytes[end + 1..];
        }
        self.take(bytes);
        entries
    }

    /// Ends the last, incomplete line, and reports the lines that were dropped.
    pub(super) fn finish(mut self, redactor: &Redactor, now: Instant) -> Vec<StderrEntry> {
        let mut entries = Vec::new();
        if !self.line.is_empty() {
            self.end_line(redactor, now, &mut entries);
        }
        if self.dropped > 0 {
            entries.push(StderrEntry::Dropped(self.dropped));
        }
        entries
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = MAX_READ - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, redactor: &Redactor, now: Instant, entries: &mut Vec<StderrEntry>) {
        if self.admits(now) {
            if self.dropped > 0 {
                entries.push(StderrEntry::Dropped(std::mem::take(&mut self.dropped)));
            }
            entries.push(StderrEntry::Line(shown(self.whole(redactor), redactor)));
        } else {
            self.dropped += 1;
        }
        self.line.clear();
    }

    /// The line without a possible first half of a secret at its cut.
    fn whole(&self, redactor: &Redactor) -> &[u8] {
        let end = if self.line.len() < MAX_READ { MAX_READ } else { redactor.safe_cut(&self.line) };
        self.line.get(..end).unwrap_or(&self.line)
    }

    fn admits(&mut self, now: Instant) -> bool {
        let (start, count) = self.period.filter(|(start, _)| now - *start < PERIOD).unwrap_or((now, 0));
        self.period = Some((start, count.saturating_add(1)));
        count < MAX_LINES
    }
}

/// A line fit for the log. The log redacts too, but it would not find a value that was cut in two here.
fn shown(line: &[u8], redactor: &Redactor) -> String {
    let text = String::from_utf8_lossy(line);
    let mut clean = match redactor.redact(&text) {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    };
    // Not before, because a secret may end in white space.
    clean.truncate(clean.trim_end().len());
    if clean.len() > MAX_SHOWN {
        clean.truncate(clean.floor_char_boundary(MAX_SHOWN));
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn lines(entries: &[StderrEntry]) -> Vec<&str> {
        let line = |entry: &'_ StderrEntry| matches!(entry, StderrEntry::Line(_));
        entries
            .iter()
            .filter(|entry| line(entry))
            .map(|entry| if let StderrEntry::Line(line) = entry { line } else { "" })
            .collect()
    }

    #[test]
    fn lines_are_joined_from_pieces() {
        let (mut log, redactor, now) = (StderrLog::default(), Redactor::default(), Instant::now());
        assert!(log.push(b"one", &redactor, now).is_empty());
        assert_eq!(lines(&log.push(b" two\r\nthree\nfo", &redactor, now)), ["one two", "three"]);
        assert_eq!(lines(&log.finish(&redactor, now)), ["fo"]);
    }

    #[test]
    fn a_flood_is_limited_to_lines_per_second_and_the_rest_is_counted() {
        let (mut log, redactor, now) = (StderrLog::default(), Redactor::default(), Instant::now());
        assert_eq!(log.push("x\n".repeat(1_000).as_bytes(), &redactor, now).len(), 50);
        let later = log.push(b"y\n", &redactor, now + PERIOD);
        assert_eq!(later, [StderrEntry::Dropped(950), StderrEntry::Line("y".into())]);
    }

    #[test]
    fn an_endless_line_is_truncated_and_takes_bounded_memory() {
        let (mut log, redactor, now) = (StderrLog::default(), Redactor::default(), Instant::now());
        for _ in 0..100 {
            log.push(&[b'x'; 10_000], &redactor, now);
        }
        assert!(log.line.len() <= MAX_READ);
        let entries = log.push("ü\nnext\n".as_bytes(), &redactor, now);
        assert_eq!(lines(&entries)[0].len(), MAX_SHOWN + '…'.len_utf8());
        assert_eq!(lines(&entries)[1], "next");
    }

    #[test]
    fn no_part_of_a_secret_is_left_where_reading_ends() {
        let (mut log, redactor, now) = (StderrLog::default(), Redactor::default(), Instant::now());
        // Long ones, so that the rest of the line is short enough to be shown.
        let secret = (0..1_000).map(|number| format!("{number:08}")).collect::<Vec<_>>().concat();
        redactor.replace("work", [("KEY", &SecretString::from(secret.as_str()))]);
        let line = format!("{}\n", secret.repeat(9));
        let entries = log.push(line.as_bytes(), &redactor, now);
        assert!(
            lines(&entries)[0].starts_with("[redacted:KEY]") && !lines(&entries)[0].contains("hunter2"),
            "{entries:?}"
        );
    }

    #[test]
    fn white_space_at_the_end_of_a_secret_does_not_hide_it() {
        let (mut log, redactor, now) = (StderrLog::default(), Redactor::default(), Instant::now());
        redactor.replace("work", [("KEY", &SecretString::from("hunter2 \u{a0}"))]);
        assert_eq!(lines(&log.push("x hunter2 \u{a0}\n".as_bytes(), &redactor, now)), ["x [redacted:KEY]"]);
    }

    #[test]
    fn no_part_of_a_secret_is_left_at_the_cut() {
        let (mut log, redactor, now) = (StderrLog::default(), Redactor::default(), Instant::now());
        redactor.replace("work", [("KEY", &SecretString::from("hunter2-hunter2"))]);
        let line = format!("{}hunter2-hunter2\n", "x".repeat(MAX_SHOWN - 8));
        let entries = log.push(line.as_bytes(), &redactor, now);
        assert!(!lines(&entries)[0].contains("hunter2"));
    }
}
