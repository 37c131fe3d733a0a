//! The name of a profile, which is also the name of its directory.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The profile whose home is the gateway's own.
const DEFAULT: &str = "default";

/// Longest name; the original's limit.
const MAX_CHARS: usize = 64;

/// A name that is safe as a directory and in a session key. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProfileName(Arc<str>);

/// The text is not a profile name. Retrying cannot help: another name has to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a profile name is 1 to 64 of a-z, 0-9, `_` and `-`, and begins with a letter or a digit")]
pub struct ProfileNameError;

impl ProfileName {
    /// Checks `text` unchanged; trimming and lower-casing are the caller's job.
    ///
    /// # Errors
    /// [`ProfileNameError`] unless it is 1 to 64 of `a-z0-9_-` beginning with a letter or digit.
    pub fn parse(text: &str) -> Result<Self, ProfileNameError> {
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let good = bytes.len() <= MAX_CHARS
            && bytes.first().is_some_and(|first| word(*first))
            && bytes.iter().all(|byte| word(*byte) || matches!(byte, b'_' | b'-'));
        if good { Ok(Self(text.into())) } else { Err(ProfileNameError) }
    }

    /// The profile whose home is the gateway's own.
    #[must_use]
    pub fn default_profile() -> Self {
        Self(DEFAULT.into())
    }

    /// Whether this is the profile whose home is the gateway's own.
    #[must_use]
    pub fn is_default(&self) -> bool {
        &*self.0 == DEFAULT
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name is found by its text.
impl Borrow<str> for ProfileName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ProfileName {
    type Error = ProfileNameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<ProfileName> for String {
    fn from(name: ProfileName) -> Self {
        name.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_safe_as_a_directory_are_valid() {
        for valid in ["a", "0", "default", "a_b-1", &"x".repeat(64)] {
            assert_eq!(ProfileName::parse(valid).unwrap().as_str(), valid);
        }
        for bad in ["", "_a", "-a", "A", "a.b", "../x", "a b", "a\n", "ä", &"x".repeat(65)] {
            assert_eq!(ProfileName::parse(bad), Err(ProfileNameError), "{bad:?}");
        }
        assert!(ProfileName::default_profile().is_default());
        assert!(serde_json::from_str::<ProfileName>("\"../x\"").is_err());
    }
}
