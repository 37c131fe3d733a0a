//! Which dispatcher a chat belongs to.

use crate::wire::event::Source;
use crate::wire::session::{SessionKey, chat_hash, hash_of_chat};

/// The part of all chats that one of several dispatchers has. Every chat is in one part, with all its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DispatchShare {
    number: usize,
    of: usize,
}

impl DispatchShare {
    /// The part of the only dispatcher: all chats.
    pub const ALL: Self = Self { number: 0, of: 1 };

    /// The parts of `of` dispatchers, in order.
    pub fn each(of: usize) -> impl Iterator<Item = Self> {
        (0..of).map(move |number| Self { number, of })
    }

    /// The number of the dispatcher, from 0.
    #[must_use]
    pub fn number(self) -> usize {
        self.number
    }

    /// Whether the dispatcher does what concerns no chat, or many chats at once.
    #[must_use]
    pub fn is_first(self) -> bool {
        self.number == 0
    }

    /// The name of an actor or a thread that each dispatcher has: `base` for the first, `base-2` for the second.
    #[must_use]
    pub fn name(self, base: &str) -> String {
        if self.is_first() { base.to_owned() } else { format!("{base}-{}", self.number + 1) }
    }

    /// Whether a session belongs to this part.
    #[must_use]
    pub fn contains(self, session: &SessionKey) -> bool {
        self.is_all() || self.contains_chat(session.chat_hash())
    }

    /// Whether the chat with this [`chat_hash`] belongs to this part.
    #[must_use]
    pub fn contains_chat(self, hash: u64) -> bool {
        number(hash, self.of) == self.number
    }

    /// Whether a chat of a platform belongs to this part.
    #[must_use]
    pub fn contains_chat_of(self, platform: &str, chat: &str) -> bool {
        self.is_all() || self.contains_chat(hash_of_chat(platform, chat))
    }

    /// Whether all chats belong to this part.
    #[must_use]
    pub fn is_all(self) -> bool {
        self.of == 1
    }

    /// The number of the dispatcher to which a session belongs, if there are `of` of them.
    #[must_use]
    pub fn number_of_session(session: &SessionKey, of: usize) -> usize {
        if of == 1 { 0 } else { number(session.chat_hash(), of) }
    }

    /// The number of the dispatcher to which an event belongs, if there are `of` of them.
    #[must_use]
    pub fn number_of(source: &Source, of: usize) -> usize {
        if of == 1 { 0 } else { number(chat_hash(source), of) }
    }
}

/// The name without the number that [`DispatchShare::name`] gave it.
#[must_use]
pub fn base_name(name: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.rsplit_once('-').filter(|(_, number)| is_number(number)).map_or(name, |(base, _)| base)
}

fn number(hash: u64, of: usize) -> usize {
    // The remainder is below `of`, so it fits.
    of.try_into().ok().and_then(|of: u64| hash.checked_rem(of)).and_then(|rest| rest.try_into().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile_name::ProfileName;
    use crate::wire::session::SessionRules;

    fn source(chat: usize) -> Source {
        Source { platform: "slack".into(), chat_type: "dm".into(), chat_id: format!("c{chat}"), ..Source::default() }
    }

    #[test]
    fn every_chat_is_in_one_part_and_an_event_goes_to_the_dispatcher_of_its_session() {
        for of in 1..=5 {
            for source in (0..100).map(source) {
                let session = SessionKey::new(&source, &ProfileName::default_profile(), SessionRules::default());
                let parts = DispatchShare::each(of).filter(|part| part.contains(&session));
                let numbers: Vec<_> = parts.map(DispatchShare::number).collect();
                let by_chat = |part: &DispatchShare| part.contains_chat_of(&source.platform, &source.chat_id);
                assert!(DispatchShare::each(of).filter(by_chat).map(DispatchShare::number).eq(numbers.clone()));
                assert_eq!(numbers, [DispatchShare::number_of(&source, of)], "of {of}");
                assert_eq!(numbers, [DispatchShare::number_of_session(&session, of)], "of {of}");
            }
        }
    }

    #[test]
    fn the_name_of_each_dispatcher_differs_and_has_the_same_base() {
        let names: Vec<_> = DispatchShare::each(3).map(|share| share.name("dispatch")).collect();
        assert_eq!(names, ["dispatch", "dispatch-2", "dispatch-3"]);
        assert!(names.iter().all(|name| base_name(name) == "dispatch"));
        assert_eq!(["relays", "a-b", "a-"].map(base_name), ["relays", "a-b", "a-"]);
    }

    #[test]
    fn many_chats_are_spread_over_all_dispatchers() {
        for of in [2, 3, 4] {
            let mut chats = vec![0; of];
            for source in (0..1_000).map(source) {
                chats[DispatchShare::number_of(&source, of)] += 1;
            }
            let even = 1_000 / of;
            assert!(chats.iter().all(|count| (even * 8 / 10..=even * 12 / 10).contains(count)), "{chats:?}");
        }
    }
}
