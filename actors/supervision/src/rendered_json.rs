//! The JSON of a value, kept beside it.

use std::sync::OnceLock;

use serde::Serialize;

/// The JSON of a value that does not change any more, rendered at its first use. A clone has none, because what is cloned may be
/// changed; all are equal, because the value decides.
#[derive(Debug, Default)]
pub struct RenderedJson(OnceLock<Box<str>>);

impl RenderedJson {
    /// The JSON of `value`, which has to be the same at each call.
    ///
    /// # Errors
    /// If `value` has no JSON form.
    pub fn of(&self, value: &impl Serialize) -> Result<&str, serde_json::Error> {
        if let Some(json) = self.0.get() {
            return Ok(json);
        }
        let json = serde_json::to_string(value)?;
        Ok(self.0.get_or_init(|| json.into()))
    }

    /// Whether the value was rendered.
    #[must_use]
    pub fn is_rendered(&self) -> bool {
        self.0.get().is_some()
    }
}

impl Clone for RenderedJson {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for RenderedJson {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for RenderedJson {}
