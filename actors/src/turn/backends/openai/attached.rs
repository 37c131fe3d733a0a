//! The attachments of an event, in the form of a chat completions server: pictures as such, everything else by its address.

use serde_json::{Value, json};

use caduceus_contract::wire::event::{InboundEvent, MessageType};

/// Pictures sent as such; further ones are sent by their address.
const MAX_PICTURES: usize = 16;
/// File name endings that identify a picture, if nothing else does.
const PICTURE_ENDINGS: [&str; 5] = ["png", "jpg", "jpeg", "gif", "webp"];
/// The connectors' names for the same.
const ADDRESS: [&str; 2] = ["url", "source_url"];
const KIND: [&str; 3] = ["kind", "media_kind", "type"];
const MIME: [&str; 3] = ["mime_type", "content_type", "mime"];
const NAME: [&str; 3] = ["filename", "file_name", "name"];

/// The content of a message: a text, or a list of parts if there are pictures.
pub(super) fn content(words: String, event: &InboundEvent) -> Value {
    let count = event.media_urls.len().max(event.media.len());
    let mut pictures = Vec::new();
    let mut text = words;
    for attached in (0..count).filter_map(|at| Attached::of(event, at)) {
        if attached.is_picture(event.message_type) && pictures.len() < MAX_PICTURES {
            pictures.push(json!({"type": "image_url", "image_url": {"url": attached.address}}));
        } else {
            let gap = if text.is_empty() { "" } else { "\n" };
            text = format!("{text}{gap}{}", attached.note());
        }
    }
    if pictures.is_empty() {
        return Value::String(text);
    }
    let words = (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}));
    Value::Array(words.into_iter().chain(pictures).collect())
}

/// One attachment.
struct Attached<'a> {
    address: &'a str,
    /// For example `image/png`; empty if not given.
    mime: &'a str,
    /// For example `photo`; empty if not given.
    kind: &'a str,
    name: &'a str,
}

impl<'a> Attached<'a> {
    /// `None` without an address that a server could fetch.
    fn of(event: &'a InboundEvent, at: usize) -> Option<Self> {
        let facts = event.media.get(at);
        let text = |names: &[&str]| names.iter().find_map(|name| facts?.get(name)?.as_str()).unwrap_or_default();
        let address = event.media_urls.get(at).map_or_else(|| text(&ADDRESS), String::as_str).trim();
        let scheme = address.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        matches!(scheme.as_deref(), Some("http" | "https")).then(|| Self {
            address,
            mime: text(&MIME),
            kind: text(&KIND),
            name: text(&NAME),
        })
    }

    fn is_picture(&self, message: MessageType) -> bool {
        if !self.mime.is_empty() {
            return self.mime.starts_with("image/");
        }
        if !self.kind.is_empty() {
            return matches!(self.kind, "image" | "photo" | "picture");
        }
        let path = self.address.split(['?', '#']).next().unwrap_or_default();
        let ending = path.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
        message == MessageType::Photo || ending.is_some_and(|ending| PICTURE_ENDINGS.contains(&ending.as_str()))
    }

    /// The line about it.
    fn note(&self) -> String {
        let facts = [self.name, if self.mime.is_empty() { self.kind } else { self.mime }];
        let facts: Vec<&str> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
        let facts = if facts.is_empty() { String::new() } else { format!(" {}:", facts.join(", ")) };
        format!("[Attached]{facts} {}", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(urls: &[&str], media: &Value) -> InboundEvent {
        let media_urls = urls.iter().map(|url| (*url).to_owned()).collect();
        InboundEvent { media_urls, media: media.as_array().unwrap().clone(), ..InboundEvent::default() }
    }

    fn picture(url: &str) -> Value {
        json!({"type": "image_url", "image_url": {"url": url}})
    }

    #[test]
    fn pictures_are_parts_and_everything_else_is_a_line() {
        let event = event(
            &["https://c.example/a", "https://c.example/b", "https://c.example/c.PNG?x=1", "https://c.example/d"],
            &json!([{"mime_type": "image/webp"}, {"mime_type": "application/pdf", "filename": "b.pdf"}, {}]),
        );
        let lines = "look\n[Attached] b.pdf, application/pdf: https://c.example/b\n[Attached] https://c.example/d";
        let expected = json!([
            {"type": "text", "text": lines}, picture("https://c.example/a"), picture("https://c.example/c.PNG?x=1"),
        ]);
        assert_eq!(content("look".to_owned(), &event), expected);
    }

    #[test]
    fn a_message_without_pictures_stays_a_text() {
        assert_eq!(content("hi".to_owned(), &event(&[], &json!([]))), json!("hi"));
        let film = event(&[], &json!([{"kind": "video", "url": "https://c.example/v.png"}]));
        assert_eq!(content(String::new(), &film), json!("[Attached] video: https://c.example/v.png"));
    }

    #[test]
    fn a_photo_needs_no_text_and_no_attachment_data() {
        let photo = InboundEvent { message_type: MessageType::Photo, ..event(&["https://c.example/p"], &json!([])) };
        assert_eq!(content(String::new(), &photo), json!([picture("https://c.example/p")]));
    }

    #[test]
    fn no_local_address_is_sent_to_a_server() {
        let event = event(&["file:///etc/passwd", "/etc/passwd", "data:image/png;base64,AA"], &json!([]));
        assert_eq!(content("hi".to_owned(), &event), json!("hi"));
    }

    #[test]
    fn pictures_above_the_limit_are_sent_by_address() {
        let urls: Vec<String> = (0..20).map(|at| format!("https://c.example/{at}.png")).collect();
        let event = InboundEvent { media_urls: urls, ..InboundEvent::default() };
        let content = content("look".to_owned(), &event);
        assert_eq!(content.as_array().unwrap().len(), 1 + MAX_PICTURES);
        assert!(content[0]["text"].as_str().unwrap().ends_with("[Attached] https://c.example/19.png"));
    }
}
