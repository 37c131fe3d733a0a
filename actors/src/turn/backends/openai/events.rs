//! Server-sent events, from a stream that is split anywhere: within lines, line ends and characters.
//!
//! More lenient than the standard where servers are: a line that is a complete document is an event, with or without a blank line
//! after it; a line that begins like a document is data; there is a field `error`.

use serde::de::IgnoredAny;

/// Bytes of one event; more than the longest reply. A line that never ends must not fill the memory.
const MAX_EVENT: usize = 16 * 1024 * 1024;
/// The end mark of a stream.
pub(super) const DONE: &str = "[DONE]";

/// An event is longer than any valid one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventTooLong;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StreamEvent {
    /// Its lines of data, joined by line ends.
    Data(String),
    /// The server marks it as an error.
    Error(String),
}

/// The next event so far.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The incomplete line.
    line: Vec<u8>,
    /// The lines of data so far, joined by line ends.
    data: Option<Vec<u8>>,
    /// The event is named an error.
    named_error: bool,
    /// The last byte was a CR: an LF after it belongs to the same line end.
    after_cr: bool,
    /// The first line has ended, so that a byte-order mark is no longer possible.
    begun: bool,
}

impl Events {
    /// Reads more; adds each event that is now complete to `whole`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], whole: &mut Vec<StreamEvent>) -> Result<(), EventTooLong> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.line.extend_from_slice(part);
            if self.line.len() + self.data.as_ref().map_or(0, Vec::len) > MAX_EVENT {
                return Err(EventTooLong);
            }
            if let Some((byte, rest)) = rest.split_first() {
                self.after_cr = *byte == b'\r';
                whole.extend(self.end_line());
                bytes = rest;
            } else {
                bytes = rest;
            }
        }
        Ok(())
    }

    /// The rest at the end of the stream; some servers omit the last line end.
    pub(super) fn end(mut self) -> Vec<StreamEvent> {
        let last = if self.line.is_empty() { None } else { self.end_line() };
        last.into_iter().chain(self.end_event()).collect()
    }

    fn end_line(&mut self) -> Option<StreamEvent> {
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.begun, true) && line.starts_with("\u{feff}".as_bytes()) {
            line.drain(..3);
        }
        if line.is_empty() {
            let event = self.end_event();
            self.named_error = false;
            return event;
        }
        if matches!(line[0], b'{' | b'[') {
            return self.add(&line);
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        // Comments begin with a colon; the other fields are irrelevant here.
        match &line[..colon] {
            b"data" => self.add(value),
            b"error" => Some(StreamEvent::Error(text(value.to_vec()))),
            b"event" => {
                self.named_error = value.trim_ascii() == b"error";
                None
            }
            _ => None,
        }
    }

    /// A line of data.
    fn add(&mut self, value: &[u8]) -> Option<StreamEvent> {
        if let Some(data) = &mut self.data {
            data.push(b'\n');
            data.extend_from_slice(value);
            return None;
        }
        self.data = Some(value.to_vec());
        if is_whole(value) { self.end_event() } else { None }
    }

    fn end_event(&mut self) -> Option<StreamEvent> {
        let data = text(self.data.take()?);
        Some(if self.named_error { StreamEvent::Error(data) } else { StreamEvent::Data(data) })
    }
}

/// Whether a line is complete by itself.
fn is_whole(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line == DONE.as_bytes() || (line.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(line).is_ok())
}

/// Only complete events are converted to text, so no character is split.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut events = Events::default();
        let mut whole = Vec::new();
        for piece in pieces {
            events.feed(piece, &mut whole).unwrap();
        }
        whole.extend(events.end());
        let shown = |event| match event {
            StreamEvent::Data(data) => data,
            StreamEvent::Error(error) => format!("error {error}"),
        };
        whole.into_iter().map(shown).collect()
    }

    #[test]
    fn comments_other_fields_and_events_without_data_are_passed_over() {
        let stream =
            "\u{feff}: hello\nid: 7\nevent: x\ndata: one\nretry\n\n:\n\nevent: none\n\ndatum: x\n\ndata:two\n\n";
        assert_eq!(read([stream.as_bytes()]), ["one", "two"]);
    }

    #[test]
    fn several_lines_of_data_are_one_event_and_one_blank_is_no_part_of_it() {
        assert_eq!(read(["data: a\ndata\ndata:  b\n\n".as_bytes()]), ["a\n\n b"]);
    }

    #[test]
    fn an_event_that_ends_with_the_stream_counts() {
        assert_eq!(read([b"data: a\n\ndata: b\n".as_slice()]), ["a", "b"]);
        assert_eq!(read([b"data: a\n\ndata: [DONE]".as_slice()]), ["a", "[DONE]"]);
        assert!(read([b"data: a\r".as_slice(), b"\r\n".as_slice(), b": x".as_slice()]) == ["a"]);
    }

    #[test]
    fn a_line_that_is_a_document_needs_no_blank_line_and_part_of_one_waits_for_the_rest() {
        let stream = "data: {\"a\":1}\ndata: {\"b\":2}\ndata: [DONE]\n";
        assert_eq!(read([stream.as_bytes()]), [r#"{"a":1}"#, r#"{"b":2}"#, "[DONE]"]);
        let mut events = Events::default();
        let mut whole = Vec::new();
        events.feed(b"data: {\"a\":1}\n", &mut whole).unwrap();
        assert_eq!(whole.len(), 1, "it is returned before the next line");
        // The second line alone is a document, and is not an event.
        let pretty = "data: {\"a\":[\ndata: {\"b\":2}\ndata: ]}\n\n";
        assert_eq!(read([pretty.as_bytes()]), ["{\"a\":[\n{\"b\":2}\n]}"]);
    }

    #[test]
    fn an_error_is_a_field_a_name_or_a_document_without_a_field() {
        let stream = "error: {\"code\":400}\n\nevent: error\ndata: no\n\ndata: yes\n\n{\"error\":1}\n";
        assert_eq!(read([stream.as_bytes()]), [r#"error {"code":400}"#, "error no", "yes", r#"{"error":1}"#]);
    }

    #[test]
    fn a_line_without_an_end_is_an_error() {
        let mut events = Events::default();
        let flood = vec![b'x'; 1024 * 1024];
        assert_eq!((0..17).find_map(|_| events.feed(&flood, &mut Vec::new()).err()), Some(EventTooLong));
    }

    proptest! {
        #[test]
        fn the_position_of_a_split_changes_nothing(
            lines in prop::collection::vec("(data: ?)?[a-zä€😀: ]{0,6}", 0..12),
            ends in prop::collection::vec(0..3_usize, 12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let end = |at: usize| ["\n", "\r", "\r\n"][ends[at]];
            let lines = lines.iter().enumerate();
            let stream = lines.flat_map(|(at, line)| [line.as_str(), end(at)]).collect::<String>();
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
            prop_assert_eq!(read(pieces), read([bytes]));
            prop_assert_eq!(read(bytes.chunks(1)), read([bytes]));
        }
    }
}
