//! What each fronted platform can do, as its descriptor tells a gateway. Plain data.

use serde_json::{Value, json};

/// Every operation this connector carries out.
const OPERATIONS: [&str; 10] = [
    "send",
    "edit",
    "typing",
    "follow_up",
    "get_chat_info",
    "send_media",
    "prompt",
    "react",
    "thread_create",
    "thread_rename",
];

/// How a platform counts the length of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LengthUnit {
    Chars,
    Utf16,
}

/// The platforms the chat page can play, and a plain one for everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Discord,
    Telegram,
    Plain,
}

impl Shape {
    pub(super) fn of(platform: &str) -> Self {
        match platform {
            "discord" => Self::Discord,
            "telegram" => Self::Telegram,
            _ => Self::Plain,
        }
    }

    /// The descriptor that answers a hello for `platform`.
    pub(super) fn descriptor(self, platform: &str) -> Value {
        let (label, dialect, emoji) = match self {
            Self::Discord => ("Discord", "discord", "🎮"),
            Self::Telegram => ("Telegram", "markdown_v2", "✈️"),
            Self::Plain => ("Relay", "plain", "🔌"),
        };
        let unit = match self.unit() {
            LengthUnit::Chars => "chars",
            LengthUnit::Utf16 => "utf16",
        };
        json!({
            "contract_version": 1,
            "platform": platform,
            "label": label,
            "max_message_length": self.limit(),
            "supports_draft_streaming": false,
            "supports_edit": true,
            "supports_threads": self.has_threads(),
            "markdown_dialect": dialect,
            "len_unit": unit,
            "emoji": emoji,
            "platform_hint": "A development connector: one person tries the gateway in a web page.",
            "pii_safe": false,
            "supports_context": false,
            "supported_ops": self.operations().collect::<Vec<_>>(),
        })
    }

    pub(super) fn supports(self, operation: &str) -> bool {
        self.operations().any(|known| known == operation)
    }

    /// By how much a text is too long, as a sentence.
    pub(super) fn too_long(self, text: &str) -> Option<String> {
        let (length, unit) = match self.unit() {
            LengthUnit::Chars => (text.chars().count(), "characters"),
            LengthUnit::Utf16 => (text.encode_utf16().count(), "UTF-16 units"),
        };
        (length > self.limit()).then(|| format!("content has {length} {unit}, the limit is {}", self.limit()))
    }

    const fn limit(self) -> usize {
        match self {
            Self::Discord => 2_000,
            Self::Telegram | Self::Plain => 4_096,
        }
    }

    const fn unit(self) -> LengthUnit {
        match self {
            Self::Discord | Self::Plain => LengthUnit::Chars,
            Self::Telegram => LengthUnit::Utf16,
        }
    }

    const fn has_threads(self) -> bool {
        matches!(self, Self::Discord)
    }

    fn operations(self) -> impl Iterator<Item = &'static str> {
        OPERATIONS.into_iter().filter(move |operation| self.has_threads() || !operation.starts_with("thread_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_platform_counts_in_its_own_unit() {
        let astral = "😀".repeat(2_001);
        assert!(Shape::Discord.too_long(&astral[..8_000]).is_none());
        assert!(Shape::Discord.too_long(&astral).is_some());
        assert!(Shape::Telegram.too_long(&astral).is_none());
        assert!(Shape::Telegram.too_long(&"😀".repeat(2_049)).is_some());
        assert!(Shape::Plain.too_long(&"😀".repeat(4_096)).is_none());
    }

    #[test]
    fn only_a_platform_with_threads_offers_to_make_them() {
        assert!(Shape::Discord.supports("thread_create"));
        assert!(!Shape::of("telegram").supports("thread_create"));
        assert!(Shape::of("anything").supports("prompt"));
    }
}
