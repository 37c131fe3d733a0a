//! The capabilities of one identity, as the connector describes them.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::fields::{FieldError, Fields};

/// Longest message if the connector sends no usable limit.
const DEFAULT_MAX_LENGTH: usize = 4096;

/// Shown for a platform without an emoji of its own.
const DEFAULT_EMOJI: &str = "\u{1f50c}";

/// The unit of the length of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LenUnit {
    /// Unicode scalar values; also for an unknown unit.
    #[default]
    Chars,
    /// UTF-16 code units.
    Utf16,
}

impl LenUnit {
    /// The length of `c` in this unit.
    #[must_use]
    pub fn of(self, c: char) -> usize {
        match self {
            Self::Chars => 1,
            Self::Utf16 => c.len_utf16(),
        }
    }

    /// The length of `text` in this unit.
    #[must_use]
    pub fn len(self, text: &str) -> usize {
        text.chars().map(|c| self.of(c)).sum()
    }
}

/// The capabilities of one identity. [`Descriptor::default`] applies before the first one was received.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the fields are the contract's")]
pub struct Descriptor {
    /// Version of the contract; raised by additions only.
    pub contract_version: u64,
    /// The platform, such as `discord`.
    pub platform: String,
    /// Its name for people.
    pub label: String,
    /// Longest message, counted in `len_unit`; above zero.
    pub max_message_length: usize,
    /// Whether a reply may be shown as a growing draft.
    pub supports_draft_streaming: bool,
    /// Whether a sent message can be changed.
    pub supports_edit: bool,
    /// Whether threads can be opened.
    pub supports_threads: bool,
    /// The markup of texts, such as `plain` or `discord`.
    pub markdown_dialect: String,
    /// The unit of `max_message_length`.
    pub len_unit: LenUnit,
    /// An emoji for people.
    pub emoji: String,
    /// A hint for the agent.
    pub platform_hint: String,
    /// Whether identifiers may be shown.
    pub pii_safe: bool,
    /// Whether events include the messages around them.
    pub supports_context: bool,
    /// The supported ops; `None` if the connector lists none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supported_ops: Option<Vec<String>>,
}

impl Default for Descriptor {
    fn default() -> Self {
        Self {
            contract_version: 1,
            platform: "relay".into(),
            label: "Relay".into(),
            max_message_length: DEFAULT_MAX_LENGTH,
            supports_draft_streaming: false,
            supports_edit: true,
            supports_threads: false,
            markdown_dialect: "plain".into(),
            len_unit: LenUnit::Chars,
            emoji: DEFAULT_EMOJI.into(),
            platform_hint: String::new(),
            pii_safe: false,
            supports_context: false,
            supported_ops: None,
        }
    }
}

/// Why a descriptor was refused; the former one stays in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("descriptor: {0}")]
pub struct DescriptorError(pub FieldError);

impl Descriptor {
    /// The descriptor of `platform` in a link's list, else the first, which is the default.
    #[must_use]
    pub fn of<'a>(descriptors: &'a [Arc<Self>], platform: &str) -> Option<&'a Arc<Self>> {
        descriptors.iter().find(|descriptor| descriptor.platform == platform).or(descriptors.first())
    }

    /// Reads a descriptor from the wire. Unknown fields are ignored, missing optional ones take the defaults.
    ///
    /// # Errors
    /// [`DescriptorError`] names the first field that is required and missing, or of the wrong type.
    pub fn parse(value: &Value) -> Result<Self, DescriptorError> {
        Self::read(value).map_err(DescriptorError)
    }

    fn read(value: &Value) -> Result<Self, FieldError> {
        let fields = Fields::of(value, "descriptor")?;
        let flag = |name| fields.flag(name)?.ok_or(FieldError::Missing(name));
        // Here null has a meaning, as in the original: the default.
        let length = value.get("max_message_length").ok_or(FieldError::Missing("max_message_length"))?;
        let version = fields.number("contract_version")?.ok_or(FieldError::Missing("contract_version"))?;
        let ops = fields.get("supported_ops").map(|_| fields.texts("supported_ops")).transpose()?;
        Ok(Self {
            contract_version: version.as_u64().ok_or(FieldError::WrongType("contract_version"))?,
            platform: fields.required("platform")?,
            label: fields.required("label")?,
            max_message_length: positive(length).unwrap_or(DEFAULT_MAX_LENGTH),
            supports_draft_streaming: flag("supports_draft_streaming")?,
            supports_edit: flag("supports_edit")?,
            supports_threads: flag("supports_threads")?,
            markdown_dialect: fields.required("markdown_dialect")?,
            len_unit: if fields.required("len_unit")? == "utf16" { LenUnit::Utf16 } else { LenUnit::Chars },
            emoji: fields.text("emoji")?.unwrap_or_else(|| DEFAULT_EMOJI.to_owned()),
            platform_hint: fields.text("platform_hint")?.unwrap_or_default(),
            pii_safe: fields.flag("pii_safe")?.unwrap_or_default(),
            supports_context: fields.flag("supports_context")?.unwrap_or_default(),
            supported_ops: ops,
        })
    }
}

fn positive(length: &Value) -> Option<usize> {
    usize::try_from(length.as_u64()?).ok().filter(|length| *length > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wire() -> Value {
        serde_json::to_value(Descriptor::default()).unwrap()
    }

    #[test]
    fn a_missing_required_field_is_named() {
        assert_eq!(Descriptor::parse(&wire()).unwrap(), Descriptor::default());
        let required = [
            "contract_version",
            "platform",
            "label",
            "max_message_length",
            "supports_draft_streaming",
            "supports_edit",
            "supports_threads",
            "markdown_dialect",
            "len_unit",
        ];
        for name in required {
            let mut wire = wire();
            wire.as_object_mut().unwrap().remove(name);
            assert_eq!(Descriptor::parse(&wire), Err(DescriptorError(FieldError::Missing(name))));
        }
    }

    #[test]
    fn an_unknown_unit_counts_as_chars() {
        for (word, unit) in [("utf16", LenUnit::Utf16), ("chars", LenUnit::Chars), ("bytes", LenUnit::Chars)] {
            let mut wire = wire();
            wire["len_unit"] = json!(word);
            assert_eq!(Descriptor::parse(&wire).unwrap().len_unit, unit);
        }
        assert_eq!(LenUnit::Utf16.len("a😀"), 3);
    }

    #[test]
    fn a_field_of_the_wrong_type_is_refused_without_showing_it() {
        let mut wire = wire();
        wire["supported_ops"] = json!(["send", 7]);
        let error = Descriptor::parse(&wire).unwrap_err();
        assert_eq!(error.to_string(), "descriptor: `supported_ops` has the wrong type");
        assert!(Descriptor::parse(&json!([])).is_err());
    }
}
