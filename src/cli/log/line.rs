//! One event, one line: the formatted event, with line breaks and control characters escaped.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::json;

/// Longest line. One log line must not fill the queue, nor a terminal.
pub(super) const MAX_LINE: usize = 64 * 1024;

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// `event` as one line that ends with a newline.
///
/// Control characters, and what counts as the end of a line in Unicode, become escapes that JSON strings and people both read.
/// A line that is too long is cut, with a note.
pub(super) fn one_line(event: &[u8], format: LogFormat) -> Cow<'_, [u8]> {
    let body = event.strip_suffix(b"\n").unwrap_or(event);
    let plain = std::str::from_utf8(body).is_ok_and(|text| !text.contains(is_odd));
    if plain && body.len() < MAX_LINE && body.len() < event.len() {
        return Cow::Borrowed(event);
    }
    let mut line = escaped(&String::from_utf8_lossy(body));
    if line.len() >= MAX_LINE {
        // Room for the note about the cut, and for the quotes that JSON escapes.
        let kept = line.floor_char_boundary(MAX_LINE / 2);
        let cut = line.len() - kept;
        line.truncate(kept);
        match format {
            LogFormat::Text => {
                let _ = write!(line, " … [{cut} bytes cut]");
            }
            LogFormat::Json => line = json!({"level": "WARN", "cut_bytes": cut, "cut_line": line}).to_string(),
        }
    }
    line.push('\n');
    Cow::Owned(line.into_bytes())
}

fn is_odd(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            odd if is_odd(odd) => {
                let _ = write!(line, "\\u{:04x}", u32::from(odd));
            }
            c => line.push(c),
        }
    }
    line
}

/// The line that reports `lost` lines, in the form of the others.
pub(super) fn lost_lines(lost: u64, format: LogFormat) -> Vec<u8> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ");
    let target = module_path!();
    let text = "log lines dropped: standard error did not accept them";
    let line = match format {
        LogFormat::Text => format!("{now}  WARN {target}: {lost} {text} dropped={lost}\n"),
        LogFormat::Json => {
            let fields = json!({"message": format!("{lost} {text}"), "dropped": lost});
            let line = json!({"timestamp": now.to_string(), "level": "WARN", "fields": fields, "target": target});
            format!("{line}\n")
        }
    };
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn text(event: &str) -> String {
        String::from_utf8(one_line(event.as_bytes(), LogFormat::Text).into_owned()).unwrap()
    }

    #[test]
    fn an_event_with_lines_and_controls_in_it_is_one_line() {
        assert_eq!(text("a plain line ä\n"), "a plain line ä\n");
        assert_eq!(text("two\nlines\r\n"), "two\\nlines\\r\n");
        assert_eq!(
            text("\u{1b}[31m\u{9b}2J\u{0}\u{7f}\u{2028}\u{85}\n"),
            "\\u001b[31m\\u009b2J\\u0000\\u007f\\u2028\\u0085\n"
        );
        assert_eq!(text("no end"), "no end\n");
        assert_eq!(text("\n\n"), "\\n\n");
        assert_eq!(one_line(b"\xff\n", LogFormat::Text).as_ref(), "\u{fffd}\n".as_bytes());
    }

    #[test]
    fn a_line_of_json_remains_json() {
        let event = format!("{}\n", json!({"message": "a\u{9b}b\u{2028}c\u{7f}\nd"}));
        let line = one_line(event.as_bytes(), LogFormat::Json).into_owned();
        assert_eq!(count_lines(&line), 1);
        let read: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(read["message"], "a\u{9b}b\u{2028}c\u{7f}\nd", "the content is unchanged");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters_with_a_note() {
        for shift in 0..3 {
            let long = format!("{}{}\n", "x".repeat(shift), "ä".repeat(MAX_LINE));
            let line = text(&long);
            assert!(line.len() < MAX_LINE && line.ends_with(" bytes cut]\n"), "{}", line.len());
            let line = one_line(long.as_bytes(), LogFormat::Json).into_owned();
            let read: Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(
                read["cut_bytes"].as_u64(),
                Some((long.len() - 1 - read["cut_line"].as_str().unwrap().len()) as u64)
            );
        }
    }

    #[test]
    fn the_line_that_reports_lost_ones_has_the_form_of_the_others() {
        assert_eq!(count_lines(&lost_lines(7, LogFormat::Text)), 1);
        let read: Value = serde_json::from_slice(&lost_lines(7, LogFormat::Json)).unwrap();
        assert_eq!((&read["fields"]["dropped"], &read["level"]), (&json!(7), &json!("WARN")));
        let at = read["timestamp"].as_str().unwrap();
        assert!(at.parse::<jiff::Timestamp>().is_ok() && at.len() == "2026-01-01T00:00:00.000000Z".len(), "{at}");
    }

    fn count_lines(line: &[u8]) -> usize {
        line.split_inclusive(|byte| *byte == b'\n').count()
    }
}
