//! What belongs to a person: the one definition that lists, exports and erasures share.
//!
//! A row is judged by its columns, so one whose checksum is wrong is judged as well. What a person said is a row of that person; what others
//! quote of it is theirs, except in the gateway's own notices, which are recorded for the person whose messages they show. Of a frame that could
//! not be used (a dead letter) the author is not certain: one that only mentions a person is erased with that person, and not exported.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use caduceus_contract::api::ledger_data::Person;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::event::RELAY;
use caduceus_contract::wire::session::SessionKey;

/// Most frames inside each other that are read.
const MOST_NESTED: u32 = 8;

/// The fields of a frame that name its author.
const IDENTITY: [&str; 6] = ["user_id", "user_id_alt", "author", "author_id", "sender", "sender_id"];
/// Of these, the ones that name no one else in a frame that is cut off, of which the structure is not known.
const IDENTITY_IN_TEXT: [&str; 2] = ["user_id", "user_id_alt"];
/// What a frame has of another message.
const OF_ANOTHER: &str = "reply_to";

/// Which of the frames that could not be used belong to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeadLetters {
    /// Those that have the person's id anywhere. For lists, which show no text, and erasures: too many are better than too few.
    Mentioning,
    /// Those that name the person as the author. For exports, which would show one person what another wrote.
    Naming,
}

/// The profile that is asked for, if one is, and the person, if rows of one person are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProfileFilter<'a> {
    pub(super) wanted: Option<&'a ProfileName>,
    pub(super) person: Option<&'a Person>,
}

impl ProfileFilter<'_> {
    /// Whether a row of `profile` is asked for. The gateway's own notices have none, nor have replies whose event is deleted: each is one of the
    /// person, whatever the profile.
    pub(super) fn admits(self, profile: Option<&str>) -> bool {
        let is_without = profile.is_none() && self.person.is_some();
        self.wanted.is_none_or(|wanted| is_without || profile == Some(wanted.as_str()))
    }
}

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
    /// The platform's id of the person that it was made for.
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
    /// Whether the event belongs to `person`: its author, or the one that its session is named after. Of a frame that could not be used,
    /// `letters` says whether it is one that the frame mentions.
    pub(super) fn is_of(&self, person: &Person, letters: DeadLetters) -> bool {
        let is_author = is(person, self.user, self.platform);
        is_author
            || self.session.is_some_and(|session| person.is_named_by(session))
            || self.frame().is_some_and(|frame| names(&frame, person, letters, 0))
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
    pub(super) fn is_of(&self, person: &Person, answered: Option<&EventColumns<'_>>, letters: DeadLetters) -> bool {
        is(person, self.user, self.platform) || answered.is_some_and(|event| event.is_of(person, letters))
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

/// Whether a frame names a person, and no other platform than that of the person. Of a frame that is not JSON nothing is known but its words,
/// and nothing needs it any more: it mentions each person whose id is one of them.
fn names(frame: &str, person: &Person, letters: DeadLetters, nested: u32) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(frame) else {
        return has_word(frame, &person.user, letters) || has_word(frame, &escaped(&person.user), letters);
    };
    let counts = letters == DeadLetters::Mentioning;
    let mut names = FrameNames { person, letters, found: false, platforms: Vec::new(), nested };
    names.walk(&value, WalkedField { counts, may_name: true });
    let FrameNames { found, platforms, .. } = names;
    let wanted = person.platform.as_deref();
    found && wanted.is_none_or(|wanted| platforms.is_empty() || platforms.iter().any(|platform| platform == wanted))
}

/// What a frame names.
struct FrameNames<'a> {
    person: &'a Person,
    letters: DeadLetters,
    /// Whether the person is among them.
    found: bool,
    platforms: Vec<String>,
    /// The frames around this one.
    nested: u32,
}

/// Where a value of a frame is.
#[derive(Debug, Clone, Copy)]
struct WalkedField {
    /// Whether the person's id in it counts.
    counts: bool,
    /// Whether a field in it may name the author: lists (of messages before, of people who are mentioned) have other people.
    may_name: bool,
}

impl FrameNames<'_> {
    fn walk(&mut self, value: &Value, field: WalkedField) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => self.found |= field.counts && number.to_string() == self.person.user,
            Value::String(text) => {
                self.found |= field.counts && *text == self.person.user;
                // An event may be in its frame as a text.
                let is_frame = self.nested < MOST_NESTED && text.trim_start().starts_with(['{', '[']);
                if is_frame && (field.may_name || field.counts) {
                    self.found |= names(text, self.person, self.letters, self.nested + 1);
                }
            }
            Value::Array(values) => {
                let inner = WalkedField { may_name: false, ..field };
                for value in values {
                    self.walk(value, inner);
                }
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.found |= field.counts && *name == self.person.user;
                    if name == "platform" {
                        self.platforms.extend(value.as_str().map(str::to_owned));
                    }
                    let may_name = field.may_name && name != OF_ANOTHER;
                    let counts = field.counts || (may_name && IDENTITY.contains(&name.as_str()));
                    self.walk(value, WalkedField { counts, may_name });
                }
            }
        }
    }
}

/// Whether `word` is in `text` with no letter or digit beside it; or as the value of a field that names the author.
fn has_word(text: &str, word: &str, letters: DeadLetters) -> bool {
    let is_apart = |beside: Option<char>| beside.is_none_or(|beside| !beside.is_alphanumeric());
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        let is_word = is_apart(before.chars().next_back()) && is_apart(after.chars().next());
        is_word && (letters == DeadLetters::Mentioning || is_value_of_identity(before))
    })
}

/// Whether a text ends with the name of such a field and what separates it from its value, as in `"user_id": "`.
fn is_value_of_identity(before: &str) -> bool {
    // A frame in a frame has a backslash before its quotes.
    let quotes = |c: char| c.is_whitespace() || c == '"' || c == '\\';
    let Some(named) = before.trim_end_matches(quotes).strip_suffix([':', '=']) else { return false };
    let named = named.trim_end_matches(quotes);
    let is_apart = |rest: &str| !rest.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    IDENTITY_IN_TEXT.iter().any(|name| named.strip_suffix(name).is_some_and(is_apart))
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

    const ANY: DeadLetters = DeadLetters::Mentioning;

    fn person(user: &str, platform: Option<&str>) -> Person {
        Person { user: user.to_owned(), platform: platform.map(str::to_owned) }
    }

    fn event<'a>(user: &'a str, platform: &'a str) -> EventColumns<'a> {
        EventColumns { user: Some(user), platform: Some(platform), ..EventColumns::default() }
    }

    /// Whether a frame that could not be used mentions a person.
    fn owns(person: &Person, frame: &str) -> bool {
        is_letter_of(person, frame, DeadLetters::Mentioning)
    }

    fn is_letter_of(person: &Person, frame: &str, letters: DeadLetters) -> bool {
        let text = json!({DEAD_LETTER: {"reason": "no event", "bytes": 9, "frame": frame}}).to_string();
        EventColumns { platform: Some(RELAY), text: Some(&text), ..EventColumns::default() }.is_of(person, letters)
    }

    #[test]
    fn an_event_belongs_to_its_author_on_the_platform_and_to_the_person_that_its_session_is_named_after() {
        let ann = person("ann", None);
        assert!(event("ann", "slack").is_of(&ann, ANY) && !event("anna", "slack").is_of(&ann, ANY));
        assert!(event("ann", "slack").is_of(&person("ann", Some("slack")), ANY));
        assert!(!event("ann", "discord").is_of(&person("ann", Some("slack")), ANY));
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
        assert!(named.is_of(&ann, ANY) && is_conversation_of(&session, &ann));
        // And so do its replies, which have the other id.
        let reply = ReplyColumns { user: Some("first"), platform: Some("slack") };
        assert!(reply.is_of(&ann, Some(&named), ANY) && !reply.is_of(&ann, None, ANY));
        assert!(reply.is_of(&person("first", None), None, ANY));
        assert!(!EventColumns::default().is_of(&ann, ANY) && !ReplyColumns::default().is_of(&ann, None, ANY));
    }

    #[test]
    fn a_frame_that_could_not_be_used_belongs_to_all_that_it_mentions() {
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
        assert!(!EventColumns { text: Some(&said), ..event("bob", "slack") }.is_of(&ann, ANY));
        let without_frame = json!({"dead_letter": {"reason": "too long", "bytes": 9, "frame": null}}).to_string();
        assert!(!EventColumns { text: Some(&without_frame), ..event("", RELAY) }.is_of(&ann, ANY));
    }

    #[test]
    fn a_frame_is_exported_for_the_author_that_it_names_and_not_for_those_that_it_mentions() {
        let names = |frame: &str| is_letter_of(&person("ann", None), frame, DeadLetters::Naming);
        let source = json!({"source": {"user_id": "bob", "user_id_alt": "ann"}});
        for frame in [
            source.to_string(),
            json!({"event": source}).to_string(),
            json!({"event": source.to_string()}).to_string(),
            json!({"author": {"id": "ann", "bot": false}}).to_string(),
            r#"{"event":{"source":{"user_id": "ann","text":"cut of"#.to_owned(),
            r#"{"event":"{\"user_id_alt\":\"ann\",\"text\":\"cut"#.to_owned(),
            "user_id=ann".to_owned(),
        ] {
            assert!(names(&frame), "{frame}");
        }
        let by_bob = |mentions: Value| {
            let mut frame = json!({"source": {"user_id": "bob"}});
            frame.as_object_mut().unwrap().extend(mentions.as_object().unwrap().clone());
            frame.to_string()
        };
        for frame in [
            by_bob(json!({"text": "ann"})),
            by_bob(json!({"ann": 1})),
            by_bob(json!({"mentions": [{"user_id": "ann"}]})),
            by_bob(json!({"context": [json!({"user_id": "ann"}).to_string()]})),
            by_bob(json!({"reply_to": {"author": "ann", "text": "hello"}})),
            r#"{"source":{"user_id":"bob"},"reply_to":{"author":"ann","text":"cut"#.to_owned(),
            r#"{"about_user_id":"ann","text":"ann: cut"#.to_owned(),
            r#"{"user_id":"anna"#.to_owned(),
        ] {
            let is_mentioned = owns(&person("ann", None), &frame);
            assert!(!names(&frame), "{frame}");
            assert_eq!(is_mentioned, !frame.contains("anna"), "{frame}");
        }
    }

    #[test]
    fn a_row_without_a_profile_is_one_of_a_person_in_each_profile() {
        let (work, ann) = (ProfileName::parse("work").unwrap(), person("ann", None));
        let admits = |wanted, person, profile| ProfileFilter { wanted, person }.admits(profile);
        assert!(admits(None, None, None) && admits(None, None, Some("home")));
        assert!(admits(Some(&work), None, Some("work")) && !admits(Some(&work), None, Some("home")));
        assert!(admits(Some(&work), Some(&ann), None) && !admits(Some(&work), None, None));
        assert!(!admits(Some(&work), Some(&ann), Some("home")));
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
