//! The capabilities of each platform, as its descriptor states them. Plain data.

use caduceus_contract::wire::action::OPS;
use caduceus_contract::wire::descriptor::{Descriptor, LenUnit};

/// The platforms that the chat page can emulate, and a plain one for all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capabilities {
    Discord,
    Telegram,
    Plain,
}

impl Capabilities {
    pub(super) fn of(platform: &str) -> Self {
        match platform {
            "discord" => Self::Discord,
            "telegram" => Self::Telegram,
            _ => Self::Plain,
        }
    }

    /// The descriptor that answers a hello for `platform`.
    pub(super) fn descriptor(self, platform: &str) -> Descriptor {
        let (label, dialect, emoji) = match self {
            Self::Discord => ("Discord", "discord", "🎮"),
            Self::Telegram => ("Telegram", "markdown_v2", "✈️"),
            Self::Plain => ("Relay", "plain", "🔌"),
        };
        Descriptor {
            platform: platform.to_owned(),
            label: label.to_owned(),
            max_message_length: self.limit(),
            supports_threads: self.has_threads(),
            markdown_dialect: dialect.to_owned(),
            len_unit: self.unit(),
            emoji: emoji.to_owned(),
            platform_hint: "A development connector: one person tries the gateway in a web page.".to_owned(),
            supported_ops: Some(self.operations().map(str::to_owned).collect()),
            ..Descriptor::default()
        }
    }

    pub(super) fn supports(self, operation: &str) -> bool {
        self.operations().any(|supported| supported == operation)
    }

    /// The length of a text and the limit, as a sentence, if it is too long.
    pub(super) fn too_long(self, text: &str) -> Option<String> {
        let unit = match self.unit() {
            LenUnit::Chars => "characters",
            LenUnit::Utf16 => "UTF-16 units",
        };
        let length = self.unit().len(text);
        (length > self.limit()).then(|| format!("content has {length} {unit}, the limit is {}", self.limit()))
    }

    const fn limit(self) -> usize {
        match self {
            Self::Discord => 2_000,
            Self::Telegram | Self::Plain => 4_096,
        }
    }

    const fn unit(self) -> LenUnit {
        match self {
            Self::Discord | Self::Plain => LenUnit::Chars,
            Self::Telegram => LenUnit::Utf16,
        }
    }

    const fn has_threads(self) -> bool {
        matches!(self, Self::Discord)
    }

    fn operations(self) -> impl Iterator<Item = &'static str> {
        OPS.into_iter().filter(move |operation| self.has_threads() || !operation.starts_with("thread_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_platform_counts_in_its_own_unit() {
        let astral = "😀".repeat(2_001);
        assert!(Capabilities::Discord.too_long(&astral[..8_000]).is_none());
        assert!(Capabilities::Discord.too_long(&astral).is_some());
        assert!(Capabilities::Telegram.too_long(&astral).is_none());
        assert!(Capabilities::Telegram.too_long(&"😀".repeat(2_049)).is_some());
        assert!(Capabilities::Plain.too_long(&"😀".repeat(4_096)).is_none());
    }

    #[test]
    fn only_a_platform_with_threads_supports_creating_them() {
        assert!(Capabilities::Discord.supports("thread_create"));
        assert!(!Capabilities::of("telegram").supports("thread_create"));
        assert!(Capabilities::of("anything").supports("prompt"));
    }
}
