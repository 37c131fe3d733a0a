//! The minimum strength of a shared secret, checked before it is used.

use std::collections::BTreeMap;

/// Fewest characters, whatever is configured: 256 random bits in url-safe base64.
pub const MIN_CHARS: usize = 43;

/// Fewest distinct characters; below that a value is patterned, however long.
const MIN_DISTINCT: usize = 16;

/// Least Shannon entropy over the whole text, in bits.
const MIN_BITS: f64 = 128.0;

/// Why a secret is too weak, checked in this order. Contains only the measure of the secret.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Weakness {
    /// It is empty.
    #[error("the secret is empty")]
    Empty,
    /// Too few characters.
    #[error("the secret has {chars} characters and needs {needed}")]
    Short {
        /// Characters found.
        chars: usize,
        /// Characters needed.
        needed: usize,
    },
    /// Too few distinct characters.
    #[error("the secret has {found} different characters and needs {MIN_DISTINCT}")]
    Distinct {
        /// Distinct characters found.
        found: usize,
    },
    /// Too regular.
    #[error("the secret has {bits:.0} bits of entropy and needs {MIN_BITS:.0}")]
    Entropy {
        /// Bits found.
        bits: f64,
    },
}

impl Weakness {
    /// The stable name of this reason.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Short { .. } => "short",
            Self::Distinct { .. } => "distinct",
            Self::Entropy { .. } => "entropy",
        }
    }
}

/// Checks `secret` unchanged (trim it first). `min_chars` only raises [`MIN_CHARS`].
///
/// # Errors
/// The first [`Weakness`] found.
pub fn assess(secret: &str, min_chars: usize) -> Result<(), Weakness> {
    let needed = min_chars.max(MIN_CHARS);
    let mut counts = BTreeMap::<char, u32>::new();
    secret.chars().for_each(|c| *counts.entry(c).or_default() += 1);
    let chars = secret.chars().count();
    if chars == 0 {
        return Err(Weakness::Empty);
    }
    if chars < needed {
        return Err(Weakness::Short { chars, needed });
    }
    if counts.len() < MIN_DISTINCT {
        return Err(Weakness::Distinct { found: counts.len() });
    }
    let bits = entropy(counts.values().copied());
    if bits < MIN_BITS { Err(Weakness::Entropy { bits }) } else { Ok(()) }
}

/// Shannon entropy of a text, in bits, from the frequencies of its characters.
fn entropy(counts: impl Iterator<Item = u32> + Clone) -> f64 {
    let total: f64 = counts.clone().map(f64::from).sum();
    counts.map(f64::from).map(|count| -count * (count / total).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_only_raises_the_minimum() {
        let secret = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP";
        assert_eq!(assess(secret, 1), Err(Weakness::Short { chars: 42, needed: 43 }));
        assert_eq!(assess(&format!("{secret}Q"), 1), Ok(()));
        assert_eq!(assess(&format!("{secret}Q"), 44).unwrap_err().word(), "short");
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        assert_eq!(assess(&"ü".repeat(42), 43).unwrap_err().word(), "short");
        assert_eq!(assess(&"ü".repeat(43), 43).unwrap_err().word(), "distinct");
    }
}
