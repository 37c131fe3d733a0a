//! The conversation that an event belongs to.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::event::Source;
use crate::profile_name::ProfileName;

/// How conversations are separated in shared chats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRules {
    /// Whether each user of a group has a separate conversation.
    pub group_sessions_per_user: bool,
    /// Whether that applies inside a thread too.
    pub thread_sessions_per_user: bool,
}

impl Default for SessionRules {
    fn default() -> Self {
        Self { group_sessions_per_user: true, thread_sessions_per_user: false }
    }
}

/// One conversation. Compared by its parts, because two conversations can have the same text. Cheap to clone. The order of two is that of
/// a hash, so it has no meaning, and is the same only within a process.
#[derive(Clone)]
pub struct SessionKey {
    /// Of the parts: a map of many sessions is searched without a look at the parts of each.
    hash: u64,
    shared: Arc<SharedParts>,
}

/// The parts, with the text that is made of them.
struct SharedParts {
    parts: SessionParts,
    /// Made when it is first used, and shared by all clones.
    stored: OnceLock<Box<str>>,
}

/// The parts of a conversation's identity.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct SessionParts {
    profile: ProfileName,
    platform: String,
    chat_type: String,
    chat: Option<String>,
    thread: Option<String>,
    user: Option<String>,
}

impl SessionKey {
    /// The conversation of `source` under `profile`. Empty identifiers count as absent.
    #[must_use]
    pub fn new(source: &Source, profile: &ProfileName, rules: SessionRules) -> Self {
        let non_empty = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let direct = source.chat_type == "dm";
        let thread = non_empty(&source.thread_id);
        let user = non_empty(&source.user_id_alt).or_else(|| non_empty(&source.user_id));
        let chat = Some(source.chat_id.clone()).filter(|chat| !chat.is_empty());
        let chat = if direct { stable_id(chat, &source.platform) } else { chat };
        let by_user = if direct {
            // The chat of a direct message identifies the person.
            chat.is_none()
        } else {
            rules.group_sessions_per_user && (thread.is_none() || rules.thread_sessions_per_user)
        };
        Self::of(SessionParts {
            profile: profile.clone(),
            platform: source.platform.clone(),
            chat_type: source.chat_type.clone(),
            chat,
            thread,
            user: stable_id(user, &source.platform).filter(|_| by_user),
        })
    }

    /// The [`chat_hash`] of each event of the conversation.
    #[must_use]
    pub fn chat_hash(&self) -> u64 {
        hash_of_chat(&self.shared.parts.platform, self.shared.parts.chat.as_deref().unwrap_or_default())
    }

    /// The profile this conversation runs under.
    #[must_use]
    pub fn profile(&self) -> &ProfileName {
        &self.shared.parts.profile
    }

    /// The platform.
    #[must_use]
    pub fn platform(&self) -> &str {
        &self.shared.parts.platform
    }

    /// The person of a conversation that is separate for each.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.shared.parts.user.as_deref()
    }

    /// Whether several people may take part in it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared.parts.user.is_none() && self.shared.parts.chat_type != "dm"
    }

    /// The same chat without the person: what is left of the name of a conversation that is erased. It belongs to the same dispatcher.
    #[must_use]
    pub fn without_user(&self) -> Self {
        let SessionParts { profile, platform, chat_type, chat, thread, user: _ } = &self.shared.parts;
        Self::of(SessionParts {
            profile: profile.clone(),
            platform: platform.clone(),
            chat_type: chat_type.clone(),
            chat: chat.clone(),
            thread: thread.clone(),
            user: None,
        })
    }

    /// The text on the wire and in the environment of a turn.
    #[must_use]
    pub fn text(&self) -> String {
        self.text_parts().collect::<Vec<_>>().join(":")
    }

    fn text_parts(&self) -> impl Iterator<Item = &str> {
        let parts = &self.shared.parts;
        let profile = if parts.profile.is_default() { "main" } else { parts.profile.as_str() };
        // The user of a direct message takes the place of an unknown chat.
        let last = if parts.chat_type == "dm" { [&parts.user, &parts.thread] } else { [&parts.thread, &parts.user] };
        let ids = std::iter::once(&parts.chat).chain(last).flatten().map(String::as_str);
        ["agent", profile, &parts.platform, &parts.chat_type].into_iter().chain(ids)
    }

    /// Whether [`SessionKey::text`] is `text`; makes no text.
    #[must_use]
    pub fn has_text(&self, text: &str) -> bool {
        let mut rest = Some(text);
        for (at, part) in self.text_parts().enumerate() {
            if at > 0 {
                rest = rest.and_then(|rest| rest.strip_prefix(':'));
            }
            rest = rest.and_then(|rest| rest.strip_prefix(part));
        }
        rest == Some("")
    }

    /// The text under which it is stored: JSON of all its parts, which are its identity.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "six texts have a JSON form")]
    pub fn stored(&self) -> &str {
        let text = || serde_json::to_string(&self.shared.parts).expect("six texts have a JSON form").into();
        self.shared.stored.get_or_init(text)
    }

    fn of(parts: SessionParts) -> Self {
        let mut hasher = DefaultHasher::new();
        parts.hash(&mut hasher);
        Self { hash: hasher.finish(), shared: Arc::new(SharedParts { parts, stored: OnceLock::new() }) }
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionKey").field(&self.shared.parts).finish()
    }
}

impl PartialEq for SessionKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for SessionKey {}

impl Ord for SessionKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.hash.cmp(&other.hash).then_with(|| {
            if Arc::ptr_eq(&self.shared, &other.shared) {
                return Ordering::Equal;
            }
            self.shared.parts.cmp(&other.shared.parts)
        })
    }
}

impl PartialOrd for SessionKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for SessionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Serialize for SessionKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shared.parts.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SessionKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SessionParts::deserialize(deserializer).map(Self::of)
    }
}

/// The stable part of an identifier. `WhatsApp` uses several forms for one person, which share their digits.
fn stable_id(id: Option<String>, platform: &str) -> Option<String> {
    if platform != "whatsapp" {
        return id;
    }
    let id = id?.trim().replacen('+', "", 1);
    id.split([':', '@']).next().filter(|digits| !digits.is_empty()).map(str::to_owned)
}

/// A number made of the platform and the chat of an event. All conversations of a chat have the same one, whatever their profile, thread and
/// user are, and whatever the rules of sessions; so have all forms of a chat that are one conversation. It is the same in all threads of
/// a process, and may differ in another version.
#[must_use]
pub fn chat_hash(source: &Source) -> u64 {
    hash_of_chat(&source.platform, &source.chat_id)
}

pub(crate) fn hash_of_chat(platform: &str, chat: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    platform.hash(&mut hasher);
    if platform == "whatsapp" {
        // As for `stable_id`, but the same for an identifier and its stable part: of a group the key has the former, of a direct
        // message the latter.
        let digits = chat.split([':', '@']).next().unwrap_or_default();
        digits.chars().filter(|c| *c != '+' && !c.is_whitespace()).for_each(|c| c.hash(&mut hasher));
    } else {
        chat.hash(&mut hasher);
    }
    hasher.finish()
}

/// Whether the text of a session key, as on the wire, is a conversation of the named profile `owner`.
#[must_use]
pub fn names_session_of(text: &str, owner: &ProfileName) -> bool {
    let name = if owner.is_default() { "main" } else { owner.as_str() };
    text.strip_prefix("agent:").and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with(':'))
}

/// The chat in the text of a session key; empty if there is none.
///
/// A chat with a colon in its id is cut there, because the text does not mark its end.
#[must_use]
pub fn chat_of(text: &str) -> &str {
    text.split(':').nth(4).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn key(chat_type: &str, chat: &str, thread: Option<&str>, user: Option<&str>) -> SessionKey {
        let source = Source {
            platform: "slack".into(),
            chat_type: chat_type.into(),
            chat_id: chat.into(),
            thread_id: thread.map(str::to_owned),
            user_id: user.map(str::to_owned),
            ..Source::default()
        };
        SessionKey::new(&source, &ProfileName::default_profile(), SessionRules::default())
    }

    #[test]
    fn two_conversations_with_the_same_text_are_different() {
        let (one, other) = (key("group", "c:2", None, None), key("group", "c", Some("2"), None));
        assert_eq!(one.text(), other.text());
        assert_ne!(one, other);
        assert!(one.has_text(&other.text()));
    }

    #[test]
    fn a_session_has_its_own_text_and_no_other() {
        let session = key("group", "c", Some("t"), None);
        assert!(session.has_text("agent:main:slack:group:c:t"));
        for other in
            ["agent:main:slack:group:c:", "agent:main:slack:group:c:t:u", "agent:main:slack:group:c", "", "agent"]
        {
            assert!(!session.has_text(other), "{other}");
        }
    }

    #[test]
    fn a_stored_session_reads_back_as_itself() {
        let session = key("group", "c", Some("t"), Some("u"));
        let read: SessionKey = serde_json::from_str(session.stored()).unwrap();
        assert_eq!((&read, read.stored()), (&session, session.stored()));
        assert_eq!(
            session.stored(),
            r#"{"profile":"default","platform":"slack","chat_type":"group","chat":"c","thread":"t","user":null}"#
        );
    }

    #[test]
    fn the_author_does_not_matter_in_a_thread_or_in_a_known_direct_chat() {
        assert_eq!(key("group", "c", Some("t"), Some("u1")), key("group", "c", Some("t"), Some("u2")));
        assert_eq!(key("dm", "c", None, Some("u1")), key("dm", "c", None, Some("u2")));
        assert_ne!(key("dm", "", None, Some("u1")), key("dm", "", None, Some("u2")));
        assert_eq!(key("dm", "", Some("t"), Some("u")).text(), "agent:main:slack:dm:u:t");
    }

    #[test]
    fn every_conversation_of_a_chat_has_the_hash_of_its_events() {
        let profiles = ["default", "work"].map(|name| ProfileName::parse(name).unwrap());
        let rules = [true, false]
            .map(|per_user| SessionRules { group_sessions_per_user: per_user, thread_sessions_per_user: per_user });
        let mut hashes = HashSet::new();
        for (platform, chat) in [("slack", "c"), ("slack", "d"), ("irc", "c"), ("slack", ""), ("whatsapp", "++49:1@s")]
        {
            let mut of_chat = HashSet::new();
            for (chat_type, thread, user) in
                [("dm", None, None), ("group", Some("t"), Some("u")), ("dm", None, Some("v"))]
            {
                let source = Source {
                    platform: platform.into(),
                    chat_type: chat_type.into(),
                    chat_id: chat.into(),
                    thread_id: thread.map(str::to_owned),
                    user_id: user.map(str::to_owned),
                    ..Source::default()
                };
                of_chat.insert(chat_hash(&source));
                let keys = |profile| rules.map(|rules| SessionKey::new(&source, profile, rules).chat_hash());
                of_chat.extend(profiles.iter().flat_map(keys));
            }
            assert_eq!(of_chat.len(), 1, "{platform} {chat}");
            hashes.extend(of_chat);
        }
        assert_eq!(hashes.len(), 5, "one for each chat");
    }

    proptest! {
        #[test]
        fn any_form_of_a_chat_on_whatsapp_has_the_hash_of_its_conversation(chat in "[ +@:a1]{0,8}", direct: bool) {
            let source = Source {
                platform: "whatsapp".into(),
                chat_type: if direct { "dm" } else { "group" }.into(),
                chat_id: chat,
                ..Source::default()
            };
            let key = SessionKey::new(&source, &ProfileName::default_profile(), SessionRules::default());
            prop_assert_eq!(key.chat_hash(), chat_hash(&source), "{:?}", key);
        }
    }

    #[test]
    fn one_person_on_whatsapp_is_one_conversation() {
        let of = |chat: &str| {
            let source = Source {
                platform: "whatsapp".into(),
                chat_type: "dm".into(),
                chat_id: chat.into(),
                ..Source::default()
            };
            SessionKey::new(&source, &ProfileName::default_profile(), SessionRules::default()).text()
        };
        for chat in ["4915", "+4915", "4915@s.whatsapp.net", "4915:47@s.whatsapp.net", " 4915@lid "] {
            assert_eq!(of(chat), "agent:main:whatsapp:dm:4915");
        }
    }
}
