//! The capabilities that the connector has described, one descriptor for each identity in the hello. No I/O.
//!
//! Bounded by the identities of the gateway: descriptors for other platforms are refused.

use std::sync::Arc;

use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_contract::wire::event::RELAY;

/// Longest name of a platform.
const MAX_PLATFORM: usize = 64;

/// The descriptors of one connection. The first is the default.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    /// The platforms named in a hello on this connection.
    named: Vec<String>,
    known: Vec<Arc<Descriptor>>,
    /// The time for the descriptors of all identities has passed.
    settled: bool,
}

/// Why a descriptor is not stored; the former one stays in force. Contains none of the connector's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotKept {
    #[error("descriptor: `platform` is not 1 to {MAX_PLATFORM} of a-z, 0-9, `_` and `-`")]
    Name,
    #[error("descriptor: its platform is in no hello of this gateway")]
    NotNamed,
}

impl Descriptors {
    /// A new connection, whose hello has these platforms.
    pub(super) fn named<'a>(platforms: impl IntoIterator<Item = &'a str>) -> Self {
        Self { named: platforms.into_iter().map(str::to_owned).collect(), ..Self::default() }
    }

    /// Stores `descriptor` and replaces the one of the same platform.
    ///
    /// # Errors
    /// [`NotKept`].
    pub(super) fn keep(&mut self, descriptor: Descriptor) -> Result<(), NotKept> {
        let platform = descriptor.platform.trim().to_lowercase();
        if !is_platform(&platform) {
            return Err(NotKept::Name);
        }
        if !self.named.contains(&platform) && !self.answers_the_generic_hello(&platform) {
            return Err(NotKept::NotNamed);
        }
        let descriptor = Arc::new(Descriptor { platform, ..descriptor });
        match self.known.iter_mut().find(|known| known.platform == descriptor.platform) {
            Some(known) => *known = descriptor,
            None => self.known.push(descriptor),
        }
        Ok(())
    }

    /// A hello for `relay` leaves the platform to the connector: one other name is accepted.
    fn answers_the_generic_hello(&self, platform: &str) -> bool {
        let in_its_place = |known: &&Arc<Descriptor>| known.platform == RELAY || !self.named.contains(&known.platform);
        self.named.iter().any(|named| named == RELAY)
            && self.known.iter().find(in_its_place).is_none_or(|known| known.platform == platform)
    }

    /// The time for the descriptors of all identities has passed: they count as complete. `false` if it had passed before.
    pub(super) fn settle(&mut self) -> bool {
        !std::mem::replace(&mut self.settled, true)
    }

    /// Whether the connector has described every identity, or the time for that has passed.
    pub(super) fn is_complete(&self) -> bool {
        self.settled || self.named.iter().all(|named| self.known.iter().any(|known| known.platform == *named))
    }

    /// Whether exactly this descriptor is stored.
    pub(super) fn contains(&self, descriptor: &Descriptor) -> bool {
        self.known.iter().any(|known| **known == *descriptor)
    }

    /// The capabilities of a platform; the default ones count only once all are complete.
    pub(super) fn of(&self, platform: &str) -> Option<Arc<Descriptor>> {
        let known = Descriptor::of(&self.known, platform)?;
        (known.platform == platform || self.is_complete()).then(|| known.clone())
    }

    /// All of them, in the order of their first arrival.
    pub(super) fn all(&self) -> &[Arc<Descriptor>] {
        &self.known
    }
}

/// Whether `name` has the form of a platform's name.
#[must_use]
pub fn is_platform(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    (1..=MAX_PLATFORM).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(platform: &str, length: usize) -> Descriptor {
        Descriptor { platform: platform.into(), max_message_length: length, ..Descriptor::default() }
    }

    fn limit(kept: &Descriptors, platform: &str) -> usize {
        Descriptor::of(kept.all(), platform).expect("one is known").max_message_length
    }

    fn platforms(kept: &Descriptors) -> Vec<&str> {
        kept.all().iter().map(|descriptor| descriptor.platform.as_str()).collect()
    }

    #[test]
    fn only_platforms_that_were_named_are_kept_and_each_once() {
        let mut kept = Descriptors::named(["discord", "telegram"]);
        assert_eq!(kept.keep(of("Discord ", 1)), Ok(()));
        for n in 0..1_000 {
            assert_eq!(kept.keep(of(&format!("invented-{n}"), 2)), Err(NotKept::NotNamed));
        }
        assert_eq!((kept.keep(of("telegram", 3)), kept.keep(of("discord", 4))), (Ok(()), Ok(())));
        assert_eq!(platforms(&kept), ["discord", "telegram"]);
        assert_eq!((limit(&kept, "discord"), limit(&kept, "slack")), (4, 4));
    }

    #[test]
    fn an_invalid_name_is_refused_for_any_hello() {
        let mut kept = Descriptors::named(["relay"]);
        let long = "x".repeat(MAX_PLATFORM + 1);
        for name in ["", " ", "a b", "\u{1b}[2J", "a\nb", "dïscord", "\u{9b}31m", &long] {
            assert_eq!(kept.keep(of(name, 1)), Err(NotKept::Name), "{name:?}");
        }
        assert!(kept.all().is_empty());
    }

    #[test]
    fn a_generic_hello_is_answered_by_one_platform() {
        let mut kept = Descriptors::named(["relay"]);
        assert_eq!(kept.keep(of("matrix", 1)), Ok(()));
        assert_eq!(kept.keep(of("irc", 2)), Err(NotKept::NotNamed));
        assert_eq!(kept.keep(of("matrix", 3)), Ok(()));
        assert_eq!(platforms(&kept), ["matrix"]);
    }

    #[test]
    fn the_default_descriptor_counts_for_a_platform_only_when_no_other_is_awaited() {
        let mut kept = Descriptors::named(["discord", "telegram"]);
        assert_eq!(kept.keep(of("discord", 1)), Ok(()));
        let limit = |kept: &Descriptors, platform: &str| kept.of(platform).map(|known| known.max_message_length);
        assert_eq!((kept.is_complete(), limit(&kept, "discord"), limit(&kept, "telegram")), (false, Some(1), None));
        assert!(kept.settle() && !kept.settle(), "the time has passed once");
        assert_eq!((kept.is_complete(), limit(&kept, "telegram")), (true, Some(1)));
        let mut kept = Descriptors::named(["discord"]);
        assert_eq!(kept.keep(of("discord", 1)), Ok(()));
        assert!(kept.is_complete() && kept.contains(&of("discord", 1)) && !kept.contains(&of("discord", 2)));
    }
}
