//! The answer of a chat completions server: a stream of events, or one document from a server that does not stream.

use std::time::Duration;

use serde_json::Value;

use super::error::{AnswerError, Ending};
use super::events::{DONE, EventTooLong, Events, StreamEvent};
use super::lenient::{self, LenientJson, SurrogateJoiner};
use super::reason;

/// Bytes of an answer that is not streamed; more than the longest reply with every character escaped.
const MAX_DOCUMENT: usize = 32 * 1024 * 1024;
/// How long a stream may be silent before the model has reported its end.
const SILENCE: Duration = Duration::from_mins(1);
/// How long it may be silent afterwards; some servers report an end with every chunk, or before more text.
const AFTER_FINISH: Duration = Duration::from_secs(10);
/// Characters of an unreadable chunk, for the log.
const SHOWN: usize = 200;
const BOM: &[u8] = "\u{feff}".as_bytes();

/// An answer in progress.
#[derive(Debug, Default)]
pub(super) struct ModelAnswer {
    form: AnswerForm,
    /// The stream's own end mark was received.
    done: bool,
    /// The model's reason for its end, of the last chunk that had one; no text followed it.
    finish: Option<String>,
    /// The chunk with the reason had text.
    finish_with_text: bool,
    /// Chunks that belong to the answer.
    chunks: u64,
    surrogates: SurrogateJoiner,
}

#[derive(Debug)]
enum AnswerForm {
    /// Only white space was received, and possibly a part of a mark.
    Unknown(Vec<u8>),
    Events(Events),
    Document(Vec<u8>),
}

impl Default for AnswerForm {
    fn default() -> Self {
        Self::Unknown(Vec::new())
    }
}

impl ModelAnswer {
    /// Reads more; adds new text to `text`, even if an error follows it.
    pub(super) fn feed(&mut self, bytes: &[u8], text: &mut String) -> Result<(), AnswerError> {
        let start;
        let mut bytes = bytes;
        if let AnswerForm::Unknown(begun) = &mut self.form {
            begun.extend_from_slice(bytes);
            start = std::mem::take(begun);
            bytes = start.trim_ascii_start();
            bytes = bytes.strip_prefix(BOM).unwrap_or(bytes).trim_ascii_start();
            match bytes.first() {
                None => return Ok(()),
                Some(_) if BOM.starts_with(bytes) => {
                    self.form = AnswerForm::Unknown(bytes.to_vec());
                    return Ok(());
                }
                // No line of a stream begins like these, whatever the header says.
                Some(b'<') => return Err(AnswerError::Nonsense),
                Some(b'{' | b'[') => self.form = AnswerForm::Document(Vec::new()),
                Some(_) => self.form = AnswerForm::Events(Events::default()),
            }
        }
        match &mut self.form {
            AnswerForm::Unknown(_) => Ok(()),
            AnswerForm::Document(document) => {
                document.extend_from_slice(bytes);
                if document.len() > MAX_DOCUMENT { Err(AnswerError::TooMuch) } else { Ok(()) }
            }
            AnswerForm::Events(events) => {
                let mut whole = Vec::new();
                let fed = events.feed(bytes, &mut whole);
                whole.into_iter().try_for_each(|event| self.take_event(event, text))?;
                fed.map_err(|EventTooLong| AnswerError::TooMuch)
            }
        }
    }

    /// Whether further data is irrelevant.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether silence counts as the end now.
    pub(super) fn may_end(&self) -> bool {
        self.done || self.finish.is_some()
    }

    /// How long to wait for the next bytes; `None` for the limit of the call.
    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        match &self.form {
            AnswerForm::Document(_) => None,
            AnswerForm::Unknown(_) | AnswerForm::Events(_) => {
                Some(if self.finish.is_some() { AFTER_FINISH } else { SILENCE })
            }
        }
    }

    /// Chunks so far, to distinguish comments from text.
    pub(super) fn chunks(&self) -> u64 {
        self.chunks
    }

    /// No more data; adds the rest to `text`. `cut`: the connection broke, which is not the end of a body.
    pub(super) fn end(&mut self, cut: bool, text: &mut String) -> Result<Ending, AnswerError> {
        let mut whole = false;
        match std::mem::take(&mut self.form) {
            AnswerForm::Unknown(_) => {}
            AnswerForm::Document(document) => {
                // A truncated document is not JSON either.
                let read = std::str::from_utf8(&document).ok().and_then(lenient::read);
                let read = read.ok_or(if cut { AnswerError::BrokeOff } else { AnswerError::Nonsense })?;
                whole = self.take(&read, text)?;
            }
            // The last line of a truncated stream may be incomplete.
            AnswerForm::Events(_) if cut => {}
            AnswerForm::Events(events) => {
                events.end().into_iter().try_for_each(|event| self.take_event(event, text))?;
            }
        }
        self.surrogates.end(text);
        let finished = self.finish.is_some() && !(cut && self.finish_with_text);
        if !(self.done || whole || finished) {
            return Err(AnswerError::BrokeOff);
        }
        match self.finish.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("length" | "max_tokens" | "model_length") => Ok(Ending::OutOfLength),
            Some("content_filter" | "content-filter" | "safety") => Ok(Ending::Filtered),
            Some("error") => {
                Err(AnswerError::Reported { message: "the model ended with an error".to_owned(), status: None })
            }
            _ => Ok(Ending::Whole),
        }
    }

    fn take_event(&mut self, event: StreamEvent, text: &mut String) -> Result<(), AnswerError> {
        if self.done {
            return Ok(());
        }
        let data = match event {
            StreamEvent::Data(data) => data,
            StreamEvent::Error(error) => {
                let status = serde_json::from_str(&error).ok().and_then(|document| reason::status(&document));
                return Err(AnswerError::Reported { message: reason::of_refusal(error.as_bytes()), status });
            }
        };
        let lines = data.contains('\n');
        match self.understood(&data, text) {
            Err(AnswerError::Unreadable(_)) if lines => data.lines().try_for_each(|line| self.understood(line, text)),
            taken => taken,
        }
    }

    fn understood(&mut self, data: &str, text: &mut String) -> Result<(), AnswerError> {
        let data = data.trim();
        match data {
            DONE => self.done = true,
            // Keep-alives that are not chunks.
            "" | "null" => {}
            data if data.starts_with(':') => {}
            data => {
                self.take(&lenient::read(data).ok_or_else(|| unreadable(data))?, text)?;
            }
        }
        Ok(())
    }

    /// Whether it belongs to the answer at all.
    fn take(&mut self, read: &LenientJson, text: &mut String) -> Result<bool, AnswerError> {
        let (document, repaired) = match read {
            LenientJson::Strict(document) => (document, false),
            LenientJson::Repaired(document) => (document, true),
        };
        if let Some(message) = reason::error(document) {
            return Err(AnswerError::Reported { message, status: reason::status(document) });
        }
        if !document.is_object() {
            return Err(unreadable(&document.to_string()));
        }
        self.chunks += 1;
        let choices = document["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
        let first = |choice: &&Value| choice["index"].as_u64().unwrap_or(0) == 0;
        for choice in choices.iter().filter(first) {
            let before = text.len();
            for message in [&choice["delta"], &choice["message"]] {
                for content in [&message["content"], &message["refusal"]] {
                    self.push(content, repaired, text);
                }
            }
            let spoke = text.len() > before;
            match choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
                Some(reason) => {
                    self.finish = Some(reason.to_owned());
                    self.finish_with_text = spoke;
                }
                None if spoke => self.finish = None,
                None => {}
            }
        }
        Ok(document["choices"].is_array())
    }

    /// Text, or a list of parts, some of which are text.
    fn push(&mut self, content: &Value, repaired: bool, text: &mut String) {
        let parts = content.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
        content.as_str().into_iter().chain(parts).for_each(|content| self.surrogates.push(content, repaired, text));
    }
}

/// Data outside a document may be a reason; data of a document may be part of the conversation, which must not be logged.
fn unreadable(data: &str) -> AnswerError {
    let is_part = data.starts_with(['{', '[', '"']);
    AnswerError::Unreadable(if is_part {
        format!("{} bytes of JSON", data.len())
    } else {
        data.chars().take(SHOWN).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(body: &str, cut: usize, broken: bool) -> (String, Result<Ending, AnswerError>) {
        let mut answer = ModelAnswer::default();
        let mut text = String::new();
        let fed = body.as_bytes().chunks(cut).try_for_each(|piece| answer.feed(piece, &mut text));
        let end = fed.and_then(|()| answer.end(broken, &mut text));
        (text, end)
    }

    fn read(body: &str, cut: usize) -> Result<(String, Ending), AnswerError> {
        let (text, end) = ended(body, cut, false);
        end.map(|end| (text, end))
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is compared with what was read")]
    fn whole(text: &str) -> Result<(String, Ending), AnswerError> {
        Ok((text.to_owned(), Ending::Whole))
    }

    const STREAM: &str = concat!(
        ": keep-alive\r\n\r\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\r\n\r\n",
        "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"Grüße \"}}]}\r\n\r\n",
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"not this\"}}]}\r\n\r\n",
        "data: : keep-alive\r\n\r\ndata:\r\n\r\nevent: ping\r\n\r\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"😀\"},\"finish_reason\":null,\"logprobs\":NaN}]}\r\n\r\n",
    );

    fn chunk(text: &str, finish: &str) -> String {
        let finish = if finish.is_empty() { "null".to_owned() } else { format!("{finish:?}") };
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":{text:?}}},\"finish_reason\":{finish}}}]}}\n\n")
    }

    #[test]
    fn a_stream_is_read_equally_for_any_split_and_with_a_byte_order_mark() {
        let stream = format!("{STREAM}data: {{\"choices\":[],\"usage\":{{}}}}\r\n\r\ndata: [DONE]\r\n\r\n");
        for stream in [stream.clone(), format!("\u{feff}{stream}"), format!(" \n\u{feff}\n{stream}")] {
            for cut in [1, 2, 3, 7, 100_000] {
                assert_eq!(read(&stream, cut), whole("Grüße 😀"), "{cut}");
            }
        }
    }

    #[test]
    fn a_stream_is_complete_only_by_its_end_mark_or_by_the_models_reason() {
        let end = |end: &str| read(&format!("{STREAM}{end}"), 5).map(|(_, end)| end);
        assert_eq!(end(""), Err(AnswerError::BrokeOff));
        assert_eq!(end("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"\"}]}\n\n"), Err(AnswerError::BrokeOff));
        assert_eq!(end("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"), Ok(Ending::Whole));
        assert_eq!(end("data: [DONE]"), Ok(Ending::Whole));
        assert_eq!(read(&format!("{STREAM}data: [DONE]\n\n{}", chunk("more", "")), 9), whole("Grüße 😀"));
    }

    #[test]
    fn a_broken_connection_is_an_end_only_after_the_mark_or_after_a_separate_reason() {
        let cut = |body: String| ended(&body, 9, true);
        let so_far = chunk("so far", "");
        assert_eq!(cut(so_far.clone()).1, Err(AnswerError::BrokeOff));
        // Such a server reports an end with every chunk.
        assert_eq!(cut(chunk("so far", "stop")), ("so far".to_owned(), Err(AnswerError::BrokeOff)));
        assert_eq!(cut(format!("{so_far}{}", chunk("", "stop"))).1, Ok(Ending::Whole));
        assert_eq!(cut(format!("{so_far}{}{so_far}", chunk("", "stop"))).1, Err(AnswerError::BrokeOff));
        assert_eq!(cut(format!("{so_far}data: [DONE]\n\n")).1, Ok(Ending::Whole));
        assert_eq!(cut(format!("{so_far}data: {{\"choices\":[{{\"del")).1, Err(AnswerError::BrokeOff));
        assert_eq!(cut("{\"choices\":[{\"mess".to_owned()).1, Err(AnswerError::BrokeOff));
    }

    #[test]
    fn the_wait_for_more_depends_on_the_last_chunk() {
        let waits = |body: &str| {
            let mut answer = ModelAnswer::default();
            answer.feed(body.as_bytes(), &mut String::new()).unwrap();
            (answer.idle_timeout().map(|wait| wait.as_secs()), answer.may_end(), answer.is_done())
        };
        assert_eq!(waits(""), (Some(60), false, false));
        assert_eq!(waits(&chunk("a", "")), (Some(60), false, false));
        assert_eq!(waits(&chunk("a", "stop")), (Some(10), true, false));
        assert_eq!(waits(&format!("{}: ping\n\n", chunk("", "tool_calls"))), (Some(10), true, false));
        assert_eq!(waits(&format!("{}{}", chunk("", "tool_calls"), chunk("Done.", ""))), (Some(60), false, false));
        assert!(waits("data: [DONE]\n\n").2);
        assert_eq!(waits("{\"choices\":["), (None, false, false), "the call has its own limit");
    }

    #[test]
    fn a_model_at_its_limit_is_distinguished_from_one_that_finished() {
        let end = |finish: &str| read(&format!("{}{}", chunk("a", ""), chunk("", finish)), 9).map(|(_, end)| end);
        assert_eq!(end("length"), Ok(Ending::OutOfLength));
        assert_eq!(end("content_filter"), Ok(Ending::Filtered));
        assert!(matches!(end("error"), Err(AnswerError::Reported { .. })));
        for other in ["stop", "tool_calls", "eos_token", "function_call"] {
            assert_eq!(end(other), Ok(Ending::Whole), "{other}");
        }
    }

    #[test]
    fn an_unreadable_chunk_ends_the_answer_and_keeps_the_text_before_it() {
        for hole in [
            "data: {\"choices\":[{\"delta\":{\"content\":\"but never\n\n",
            "data: Number of choices must be greater than 0.\n\n",
            "data: [1]\n\n",
            "data: \"text\"\n\n",
        ] {
            for cut in [7, 100_000] {
                let (text, end) = ended(&format!("{}{hole}{}", chunk("to A, ", ""), chunk("to C", "stop")), cut, false);
                assert_eq!(text, "to A, ", "{hole}");
                assert!(matches!(end, Err(AnswerError::Unreadable(_))), "{hole} {end:?}");
            }
        }
    }

    #[test]
    fn events_without_a_blank_line_between_them_are_read_line_by_line() {
        let stream = format!("{}{}data: [DONE]\n\n", chunk("Hello ", ""), chunk("there", "stop"));
        assert_eq!(read(&stream.replace("\n\n", "\n"), 4), whole("Hello there"));
        // The first cannot be recognised as complete by itself.
        let odd = chunk("Hello ", "").replace("null", "NaN").replace("\n\n", "\n");
        assert_eq!(read(&format!("{odd}{}", chunk("there", "stop")), 4), whole("Hello there"));
    }

    #[test]
    fn a_character_split_between_two_chunks_is_kept() {
        let stream = concat!(
            "data: {\"choices\":[{\"delta\":{\"content\":\"\\ud83d\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"\\ude00 ok \\udc00\"}}]}\n\n",
            "data: [DONE]\n\n"
        );
        assert_eq!(read(stream, 5), whole("😀 ok \u{fffd}"));
    }

    #[test]
    fn an_answer_that_is_not_streamed_is_read() {
        let document = |content: &str| format!("\n {{\"choices\":[{{\"message\":{{\"content\":{content}}}}}]}}\n");
        assert_eq!(read(&document("\"Grüße\""), 1), whole("Grüße"));
        assert_eq!(read(&format!("\u{feff}{}", document("\"Grüße\"")), 1), whole("Grüße"));
        let parts = r#"[{"type":"text","text":"a"},{"type":"image"},{"type":"text","text":"b"}]"#;
        assert_eq!(read(&document(parts), 3), whole("ab"));
        assert_eq!(read("{\"choices\":[{\"mess", 4), Err(AnswerError::Nonsense));
        assert_eq!(read("{}", 4), Err(AnswerError::BrokeOff));
        assert_eq!(read("  ", 4), Err(AnswerError::BrokeOff));
        assert_eq!(read("<!DOCTYPE html>\n<html>", 4), Err(AnswerError::Nonsense));
        let truncated = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"length"}]}"#;
        assert_eq!(read(truncated, 9), Ok(("a".to_owned(), Ending::OutOfLength)));
        let refused = r#"{"choices":[{"message":{"content":null,"refusal":"I cannot."}}]}"#;
        assert_eq!(read(refused, 9), whole("I cannot."));
    }

    #[test]
    fn an_error_object_is_an_error_in_either_form() {
        let reported = |text: &str, status| Err(AnswerError::Reported { message: text.to_owned(), status });
        let error = r#"{"error":{"message":"overloaded","type":"server_error","code":429}}"#;
        let shown = "overloaded (server_error) (429)";
        assert_eq!(read(error, 3), reported(shown, Some(429)));
        assert_eq!(read(&format!("{STREAM}data: {error}\n\n"), 3), reported(shown, Some(429)));
        assert_eq!(read(&format!("{STREAM}error: {error}\n\n"), 3), reported(shown, Some(429)));
        assert_eq!(read(&format!("{STREAM}{error}\n"), 3), reported(shown, Some(429)));
        assert_eq!(read(&format!("[{error}]"), 3), reported(shown, Some(429)));
        assert_eq!(read(r#"{"error":"no"}"#, 3), reported("no", None));
        assert_eq!(read(r#"{"object":"error","message":"no model"}"#, 3), reported("no model", None));
        assert_eq!(read(r#"{"error":null,"choices":[]}"#, 3), whole(""));
    }
}
