//! The answer of a chat completions server: a stream of events, or one document from a server that does not stream.

use serde_json::Value;

use super::events::{Events, TooLong};
use super::trouble::Trouble;

/// Bytes of an answer that is not streamed; more than the longest reply may be, every character of it escaped.
const MAX_DOCUMENT: usize = 32 * 1024 * 1024;
/// What a stream ends with.
const DONE: &str = "[DONE]";

/// An answer as it comes in.
#[derive(Debug, Default)]
pub(super) struct Answer {
    form: Form,
    /// The model has said that it is done.
    finished: bool,
    /// Events that are none of ours.
    odd: usize,
}

#[derive(Debug, Default)]
enum Form {
    /// Nothing has come but white space.
    #[default]
    Unknown,
    Events(Events),
    Document(Vec<u8>),
}

impl Answer {
    /// Reads on; the text that is new.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<String, Trouble> {
        if let Form::Unknown = self.form {
            bytes = bytes.trim_ascii_start();
            match bytes.first() {
                None => return Ok(String::new()),
                // No line of a stream begins like this, whatever the header says.
                Some(b'{') => self.form = Form::Document(Vec::new()),
                Some(_) => self.form = Form::Events(Events::default()),
            }
        }
        match &mut self.form {
            Form::Unknown => Ok(String::new()),
            Form::Document(document) => {
                document.extend_from_slice(bytes);
                if document.len() > MAX_DOCUMENT { Err(Trouble::TooMuch) } else { Ok(String::new()) }
            }
            Form::Events(events) => {
                let whole = events.feed(bytes).map_err(|TooLong| Trouble::TooMuch)?;
                let mut text = String::new();
                for data in whole {
                    self.hear(&data, &mut text)?;
                }
                Ok(text)
            }
        }
    }

    /// Whether everything that counts has come.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Events that were not understood.
    pub(super) fn odd(&self) -> usize {
        self.odd
    }

    /// Nothing more comes; the text that is left.
    pub(super) fn end(&mut self) -> Result<String, Trouble> {
        let mut text = String::new();
        match std::mem::take(&mut self.form) {
            Form::Unknown => {}
            Form::Document(document) => {
                // One that was cut is no JSON either.
                let Ok(document) = serde_json::from_slice::<Value>(&document) else { return Err(Trouble::Nonsense) };
                self.take(&document, &mut text)?;
                // It is whole, whether it says so or not.
                self.finished = document["choices"].is_array();
            }
            Form::Events(events) => {
                if let Some(data) = events.end() {
                    self.hear(&data, &mut text)?;
                }
            }
        }
        Ok(text)
    }

    fn hear(&mut self, data: &str, text: &mut String) -> Result<(), Trouble> {
        if data.trim() == DONE {
            self.finished = true;
            return Ok(());
        }
        if let Ok(event @ Value::Object(_)) = serde_json::from_str(data) {
            return self.take(&event, text);
        }
        self.odd += 1;
        Ok(())
    }

    fn take(&mut self, said: &Value, text: &mut String) -> Result<(), Trouble> {
        if let Some(message) = error(said) {
            return Err(Trouble::Reported(message));
        }
        let choices = said["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
        let first = |choice: &&Value| choice["index"].as_u64().unwrap_or(0) == 0;
        for choice in choices.iter().filter(first) {
            push(&choice["delta"]["content"], text);
            push(&choice["message"]["content"], text);
            self.finished |= choice["finish_reason"].as_str().is_some_and(|reason| !reason.is_empty());
        }
        Ok(())
    }
}

/// Text, or a list of parts some of which are.
fn push(content: &Value, text: &mut String) {
    if let Some(content) = content.as_str() {
        text.push_str(content);
    }
    let parts = content.as_array().into_iter().flatten();
    text.extend(parts.filter_map(|part| part["text"].as_str()));
}

/// The server's words for what went wrong, if it says that something did.
pub(super) fn error(said: &Value) -> Option<String> {
    let message = match &said["error"] {
        Value::Null if said["object"] == "error" => said,
        Value::Null | Value::Bool(false) => return None,
        error => error,
    };
    let words = ["message", "type", "code"].iter().filter_map(|name| match &message[*name] {
        Value::String(word) => Some(word.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    let words: Vec<String> = message.as_str().map(str::to_owned).into_iter().chain(words).collect();
    Some(words.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, cut: usize) -> Result<(String, bool, usize), Trouble> {
        let mut answer = Answer::default();
        let mut text = String::new();
        for piece in body.as_bytes().chunks(cut) {
            text += &answer.feed(piece)?;
        }
        text += &answer.end()?;
        Ok((text, answer.is_finished(), answer.odd()))
    }

    const STREAM: &str = concat!(
        ": keep-alive\r\n\r\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\r\n\r\n",
        "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"Grüße \"}}]}\r\n\r\n",
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"not this\"}}]}\r\n\r\n",
        "data: nonsense\r\n\r\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"😀\"},\"finish_reason\":null}]}\r\n\r\n",
    );

    #[test]
    fn a_stream_says_the_same_however_it_is_cut() {
        let whole = format!("{STREAM}data: {{\"choices\":[],\"usage\":{{}}}}\r\n\r\ndata: [DONE]\r\n\r\n");
        for cut in [1, 2, 3, 7, 100_000] {
            assert_eq!(read(&whole, cut), Ok(("Grüße 😀".to_owned(), true, 1)), "{cut}");
        }
    }

    #[test]
    fn a_stream_is_finished_by_its_mark_or_by_the_models_word_and_by_nothing_else() {
        let finished = |end: &str| read(&format!("{STREAM}{end}"), 5).unwrap().1;
        assert!(!finished(""));
        assert!(!finished("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"\"}]}\n\n"));
        assert!(finished("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"));
        assert!(finished("data: [DONE]"));
    }

    #[test]
    fn a_server_that_does_not_stream_is_understood() {
        let document = |content: &str| format!("\n {{\"choices\":[{{\"message\":{{\"content\":{content}}}}}]}}\n");
        assert_eq!(read(&document("\"Grüße\""), 1), Ok(("Grüße".to_owned(), true, 0)));
        let parts = r#"[{"type":"text","text":"a"},{"type":"image"},{"type":"text","text":"b"}]"#;
        assert_eq!(read(&document(parts), 3), Ok(("ab".to_owned(), true, 0)));
        assert_eq!(read("{\"choices\":[{\"mess", 4), Err(Trouble::Nonsense));
        assert_eq!(read("{}", 4), Ok((String::new(), false, 0)));
        assert_eq!(read("  ", 4), Ok((String::new(), false, 0)));
    }

    #[test]
    fn an_error_object_is_an_error_in_either_form() {
        let reported = |text: &str| Err(Trouble::Reported(text.to_owned()));
        let error = r#"{"error":{"message":"overloaded","type":"server_error","code":7}}"#;
        assert_eq!(read(error, 3), reported("overloaded; server_error; 7"));
        assert_eq!(read(&format!("{STREAM}data: {error}\n\n"), 3), reported("overloaded; server_error; 7"));
        assert_eq!(read(r#"{"error":"no"}"#, 3), reported("no"));
        assert_eq!(read(r#"{"object":"error","message":"no model"}"#, 3), reported("no model"));
        assert_eq!(read(r#"{"error":null,"choices":[]}"#, 3), Ok((String::new(), true, 0)));
    }
}
