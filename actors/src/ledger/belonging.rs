//! What belongs to a person: the one definition that lists, exports and erasures share.
//!
//! A row is judged by its columns, so one whose checksum is wrong is judged as well. What a person said is a row of that person; what others
//! quote of it is theirs, except in the gateway's own notices, which are recorded for the person whose messages they show.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use caduceus_contract::api::ledger_data::Person;
use caduceus_contract::wire::event::RELAY;
use caduceus_contract::wire::session::SessionKey;

/// Most frames inside each other that are read.
const MOST_NESTED: u32 = 8;

/// The columns of an event that say whose it is. One that cannot be read is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EventColumns<'a> {
    /// The platform's id of its author.
    pub(super) user: Option<&'a str>,
    /// Its platform.
    pub(super) platform: Option<&'a str>,
    /// Its session.
    pub(super) session: Option<&'a SessionKey>,
    /// Its text; needed of a dead letter only.
    pub(super) text: Option<&'a str>,
}

/// The columns of a reply that say whose it is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReplyColumns<'a> {
    /// The platform's id of the person for whom it was made.
    pub(super) user: Option<&'a str>,
    /// Its platform.
    pub(super) platform: Option<&'a str>,
}

/// The text of an event that is a frame that could not be used.
#[derive(Debug, Deserialize)]
struct DeadLetterText<'a> {
    #[serde(borrow)]
    dead_letter: DeadLetterParts<'a>,
}

#[derive(Debug, Deserialize)]
struct DeadLetterParts<'a> {
    #[serde(borrow, default)]
    frame: Option<Cow<'a, str>>,
}

impl EventColumns<'_> {
    /// Whether the event belongs to `person`: its author, or the one after whom its session is named; of a frame that could not be used, one
    /// whom the frame names.
    pub(super) fn is_of(&self, person: &Person) -> bool {
        let is_author = is(person, self.user, self.platform);
        is_author
            || self.session.is_some_and(|session| person.is_named_by(session))
            || self.frame().is_some_and(|frame| names(&frame, person, 0))
    }

    /// The frame, if it is one that could not be used, and is not too long to be kept.
    fn frame(&self) -> Option<Cow<'_, str>> {
        let text = self.text.filter(|_| self.platform == Some(RELAY))?;
        serde_json::from_str::<DeadLetterText<'_>>(text).ok()?.dead_letter.frame
    }
}

impl ReplyColumns<'_> {
    /// Whether the reply belongs to `person`: it was made for the person, or answers an event of the person. Its error, the connector's words
    /// about it, belongs to it in every state.
    pub(super) fn is_of(&self, person: &Person, answered: Option<&EventColumns<'_>>) -> bool {
        is(person, self.user, self.platform) || answered.is_some_and(|event| event.is_of(person))
    }
}

/// Whether a conversation belongs to `person` by its name. Those with an event of the person belong to the person too: they are found by
/// the session of that event.
pub(super) fn is_conversation_of(session: &SessionKey, person: &Person) -> bool {
    person.is_named_by(session)
}

fn is(person: &Person, user: Option<&str>, platform: Option<&str>) -> bool {
    let is_on = person.platform.as_deref().is_none_or(|wanted| platform == Some(wanted));
    user == Some(person.user.as_str()) && is_on
}

/// Whether a frame names a person anywhere, and no other platform than that of the person. Of a frame that is not JSON nothing
/// is known but its words, and nothing needs it any more: it names each person whose id is one of them.
fn names(frame: &str, person: &Person, nested: u32) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(frame) else {
        return has_word(frame, &person.user) || has_word(frame, &escaped(&person.user));
    };
    let mut names = FrameNames { person, found: false, platforms: Vec::new(), nested };
    names.walk(&value);
    let FrameNames { found, platforms, .. } = names;
    let wanted = person.platform.as_deref();
    found && wanted.is_none_or(|wanted| platforms.is_empty() || platforms.iter().any(|platform| platform == wanted))
}

/// What a frame names.
struct FrameNames<'a> {
    person: &'a Person,
    /// Whether the person is among them.
    found: bool,
    platforms: Vec<String>,
    /// The frames around this one.
    nested: u32,
}

impl FrameNames<'_> {
    fn walk(&mut self, value: &Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => self.found |= number.to_string() == self.person.user,
            Value::String(text) => {
                // An event may be in its frame as a text.
                let is_frame = self.nested < MOST_NESTED && text.trim_start().starts_with(['{', '[']);
                self.found |= *text == self.person.user || (is_frame && names(text, self.person, self.nested + 1));
            }
            Value::Array(values) => values.iter().for_each(|value| self.walk(value)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.found |= *name == self.person.user;
                    if name == "platform" {
                        self.platforms.extend(value.as_str().map(str::to_owned));
                    }
                    self.walk(value);
                }
            }
        }
    }
}

/// Whether `word` is in `text` with no letter or digit beside it.
fn has_word(text: &str, word: &str) -> bool {
    let is_apart = |beside: Option<char>| beside.is_none_or(|beside| !beside.is_alphanumeric());
    text.match_indices(word)
        .any(|(at, _)| is_apart(text[..at].chars().next_back()) && is_apart(text[at + word.len()..].chars().next()))
}

/// A text as it is written in JSON of ASCII characters only.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    let mut escaped = String::new();
    for c in quoted[1..quoted.len() - 1].chars() {
        if c.is_ascii() {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a `String` cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use caduceus_contract::messages::ledger::DEAD_LETTER;
    use caduceus_contract::profile_name::ProfileName;
    use caduceus_contract::wire::event::Source;
    use caduceus_contract::wire::session::SessionRules;

    fn person(user: &str, platform: Option<&str>) -> Person {
        Person { user: user.to_owned(), platform: platform.map(str::to_owned) }
    }

    fn event<'a>(user: &'a str, platform: &'a str) -> EventColumns<'a> {
        EventColumns { user: Some(user), platform: Some(platform), ..EventColumns::default() }
    }

    /// Whether a frame that could not be used belongs to a person.
    fn owns(person: &Person, frame: &str) -> bool {
        let text = json!({DEAD_LETTER: {"reason": "no event", "bytes": 9, "frame": frame}}).to_string();
        EventColumns { platform: Some(RELAY), text: Some(&text), ..EventColumns::default() }.is_of(person)
    }

    #[test]
    fn an_event_belongs_to_its_author_on_the_platform_and_to_whom_its_session_is_named_after() {
        let ann = person("ann", None);
        assert!(event("ann", "slack").is_of(&ann) && !event("anna", "slack").is_of(&ann));
        assert!(event("ann", "slack").is_of(&person("ann", Some("slack"))));
        assert!(!event("ann", "discord").is_of(&person("ann", Some("slack"))));
        let source = Source {
            platform: "slack".into(),
            chat_type: "group".into(),
            chat_id: "c".into(),
            user_id: Some("first".into()),
            user_id_alt: Some("ann".into()),
            ..Source::default()
        };
        let session = SessionKey::new(&source, &ProfileName::default_profile(), SessionRules::default());
        let named = EventColumns { session: Some(&session), ..event("first", "slack") };
        assert!(named.is_of(&ann) && is_conversation_of(&session, &ann));
        // And so do its replies, which have the other id.
        let reply = ReplyColumns { user: Some("first"), platform: Some("slack") };
        assert!(reply.is_of(&ann, Some(&named)) && !reply.is_of(&ann, None));
        assert!(reply.is_of(&person("first", None), None));
        assert!(!EventColumns::default().is_of(&ann) && !ReplyColumns::default().is_of(&ann, None));
    }

    #[test]
    fn a_frame_that_could_not_be_used_belongs_to_those_whom_it_names() {
        let (ann, number) = (person("ann", None), person("42", None));
        let inner = json!({"source": {"user_id": "ann"}}).to_string();
        for frame in [
            json!({"event": {"source": {"user_id": "ann"}}}).to_string(),
            json!({"event": {"source": {"user_id": {"id": ["ann"]}}}}).to_string(),
            json!({"event": {"ann": {}}}).to_string(),
            json!({"event": inner}).to_string(),
            json!({"event": json!([inner]).to_string()}).to_string(),
            r#"{"event":{"source":{"user_id":"ann","text":"cut of"#.to_owned(),
            r#"{"user_id":"ann","text":"\ud800"}"#.to_owned(),
            "user_id=ann".to_owned(),
        ] {
            assert!(owns(&ann, &frame), "{frame}");
        }
        assert!(owns(&number, r#"{"user_id":42}"#) && owns(&number, r#"{"user_id":42,"#));
        assert!(owns(&person("ü/x", None), r#"{"user_id":"\u00fc/x","#));
        for frame in [r#"{"user_id":"anna","text":"ann says"}"#, r#"{"user_id":"anna","#, "", "null", r#"{"n":421}"#] {
            assert!(!owns(&ann, frame) && !owns(&number, frame), "{frame}");
        }
        // The same words from someone else, which are no frame.
        let said = json!({"dead_letter": {"frame": "ann"}}).to_string();
        assert!(!EventColumns { text: Some(&said), ..event("bob", "slack") }.is_of(&ann));
        let without_frame = json!({"dead_letter": {"reason": "too long", "bytes": 9, "frame": null}}).to_string();
        assert!(!EventColumns { text: Some(&without_frame), ..event("", RELAY) }.is_of(&ann));
    }

    #[test]
    fn a_frame_of_another_platform_is_not_of_the_person_on_this_one() {
        let frame = |platform: &str| json!({"platform": platform, "user_id": "ann"}).to_string();
        let on_slack = person("ann", Some("slack"));
        assert!(owns(&on_slack, &frame("slack")) && !owns(&on_slack, &frame("discord")));
        // Nothing says that it is of another one.
        assert!(owns(&on_slack, r#"{"user_id":"ann"}"#) && owns(&on_slack, r#"{"user_id":"ann","#));
    }

    #[test]
    fn a_frame_that_is_hostile_is_read_to_an_end() {
        let ann = person("ann", None);
        assert!(!owns(&ann, &"[".repeat(60_000)));
        let mut nested = r#"{"user_id":"ann"}"#.to_owned();
        for _ in 0..12 {
            nested = json!([nested]).to_string();
            assert!(nested.len() < 1 << 20);
        }
        assert!(!owns(&ann, &nested), "deeper than any frame that a connector sends");
    }
}
