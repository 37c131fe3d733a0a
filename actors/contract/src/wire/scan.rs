//! Finds the `bufferId` of a line that cannot be parsed or buffered: byte by byte, in little memory. No I/O.
//!
//! Reads only the names and strings of the outermost object, so that a text in a chat is never mistaken for one.

/// Longest id, in bytes: it is stored and sent back.
pub(super) const MAX_BUFFER_ID: usize = 1024;
/// The name of the field.
const NAME: &[u8] = b"bufferId";
/// Longest id as it is on the wire: every character may be an escape of six bytes.
const MAX_TOKEN: usize = MAX_BUFFER_ID * 6 + 2;

/// The state of a scan of one line.
#[derive(Debug, Default)]
pub(super) struct Scan {
    depth: u64,
    text: Option<ScanText>,
    escaped: bool,
    /// The next string of the outermost object is a name.
    name_next: bool,
    /// The next value is the id.
    id_next: bool,
    held: Vec<u8>,
    /// The last one found, as it is on the wire, without its quotes.
    found: Option<Vec<u8>>,
}

/// The kind of string the scan is inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScanText {
    Name,
    Value,
    Other,
}

impl Scan {
    /// Scans more of the line.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.step(*byte);
        }
    }

    fn step(&mut self, byte: u8) {
        let Some(text) = self.text else { return self.outside(byte) };
        if byte == b'"' && !self.escaped {
            self.text = None;
            self.text_ended(text);
            return;
        }
        self.escaped = byte == b'\\' && !self.escaped;
        let capacity = match text {
            ScanText::Name => NAME.len() + 1,
            ScanText::Value => MAX_TOKEN,
            ScanText::Other => 0,
        };
        if self.held.len() < capacity {
            self.held.push(byte);
        }
    }

    fn outside(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.held.clear();
                self.text = Some(match (self.depth, self.name_next, self.id_next) {
                    (1, true, _) => ScanText::Name,
                    (1, false, true) => ScanText::Value,
                    _ => ScanText::Other,
                });
            }
            b'{' | b'[' => {
                self.depth += 1;
                self.name_next = self.depth == 1 && byte == b'{';
                // A value of another type does not count, and the last one of a name applies.
                if self.id_next && self.depth == 2 {
                    self.found = None;
                }
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b':' if self.depth == 1 => self.name_next = false,
            b',' if self.depth == 1 => (self.name_next, self.id_next) = (true, false),
            _ => {}
        }
    }

    fn text_ended(&mut self, text: ScanText) {
        match text {
            ScanText::Name => self.id_next = self.held == NAME,
            ScanText::Value => {
                self.found = (self.held.len() < MAX_TOKEN).then(|| std::mem::take(&mut self.held));
                self.id_next = false;
            }
            ScanText::Other => {}
        }
    }

    /// The `bufferId`, if there is one that can be sent back unchanged.
    pub(super) fn finish(self) -> Option<String> {
        let quoted = [b"\"", self.found?.as_slice(), b"\""].concat();
        let id: String = serde_json::from_slice(&quoted).ok()?;
        Some(id).filter(|id| (1..=MAX_BUFFER_ID).contains(&id.len()))
    }
}

/// The `bufferId` of a whole line.
pub(super) fn buffer_id(line: &[u8]) -> Option<String> {
    let mut scan = Scan::default();
    scan.feed(line);
    scan.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_outermost_id_is_found_and_nested_ones_are_not() {
        for (line, id) in [
            (r#"{"type":"inbound","bufferId":"b1","event":{"text":"\ud800"}}"#, Some("b1")),
            (r#"{"event":{"bufferId":"not this"} , "bufferId" : "b2" }"#, Some("b2")),
            (r#"{"event":{"text":"\"bufferId\":\"nor this\",\\"},"x":["bufferId"],"bufferId":"b3"#, None),
            (r#"{"event":{"text":"broken","bufferId":"b4"}"#, None),
            (r#"{"bufferId":"b5","event":{"text":"it ends here"#, Some("b5")),
            (r#"{"bufferId":"a\"b\\\u00e4","event":}"#, Some("a\"b\\ä")),
            (r#"{"bufferId":"first","bufferId":"last","event":}"#, Some("last")),
            (r#"{"bufferId":"first","bufferId":{"a":1},"event":}"#, None),
            (r#"{"bufferId":"\ud800","event":{}}"#, None),
            (r#"{"bufferId":"","event":}"#, None),
            (r#"{"bufferId":7,"event":"b"}"#, None),
            (r#"{"x":"bufferId","y":"b"}"#, None),
            (r#"["bufferId","b"]"#, None),
            (r#""bufferId":"b""#, None),
            ("", None),
        ] {
            assert_eq!(buffer_id(line.as_bytes()).as_deref(), id, "{line}");
        }
        let long = format!(r#"{{"bufferId":"{}","event":}}"#, "x".repeat(MAX_BUFFER_ID + 1));
        assert_eq!(buffer_id(long.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn the_scan_of_a_readable_line_agrees_with_the_parser(
            id in ".{1,20}",
            text in ".{0,40}",
            before in any::<bool>(),
            cut in 0_usize..200,
        ) {
            let line = if before {
                json!({"bufferId": id, "event": {"bufferId": text, "text": [text]}})
            } else {
                json!({"event": {"bufferId": text, "text": [text]}, "bufferId": id})
            };
            let line = line.to_string();
            let (head, tail) = line.as_bytes().split_at(cut.min(line.len()));
            let mut scan = Scan::default();
            scan.feed(head);
            scan.feed(tail);
            prop_assert_eq!(scan.finish(), Some(id));
        }

        #[test]
        fn no_line_panics_or_is_buffered(line in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let mut scan = Scan::default();
            scan.feed(&line);
            prop_assert!(scan.held.len() <= MAX_TOKEN);
            let _ = scan.finish();
        }
    }
}
