//! Whether a turn would be admitted, and what is wrong: the words. What decides on them is in `judge.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a turn would be admitted, and whether all parts work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// A turn would be admitted, and nothing is wrong.
    Ready,
    /// A turn would be admitted; a profile, link, grant or file is failed or down.
    Degraded,
    /// No turn would be admitted.
    NotReady,
}

impl Readiness {
    /// The word as it stands in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::NotReady => "not_ready",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// What it costs: `degraded` or `not_ready`.
    pub level: Readiness,
    /// What kind of part it is about: `gateway`, `actor`, `profile`, `link`, `grant` or `configuration`.
    pub part: &'static str,
    /// Which of them; empty where there is one only.
    pub name: String,
    /// How it is, in a word or a few.
    pub state: String,
    /// More, for those who may see everything: it may name paths and addresses.
    pub detail: Option<String>,
}

/// The answer of the one function that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The worst of the issues.
    pub readiness: Readiness,
    /// What is wrong, the worst first.
    pub issues: Vec<Issue>,
}

impl Issue {
    /// The issue without its detail: names and words only, which everyone may see.
    #[must_use]
    pub fn outline(&self) -> String {
        match (self.part, self.name.as_str()) {
            ("gateway", _) => self.state.clone(),
            (part, "") => format!("{part}: {}", self.state),
            ("actor", name) => format!("{name}: {}", self.state),
            (part, name) => format!("{part} {name}: {}", self.state),
        }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.outline())?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl Verdict {
    /// Sorts `issues`; the worst of them is the word.
    pub(super) fn of(mut issues: Vec<Issue>) -> Self {
        issues.sort_by_key(|issue| std::cmp::Reverse(issue.level));
        Self { readiness: issues.first().map_or(Readiness::Ready, |issue| issue.level), issues }
    }

    /// Why no turn would be admitted, for everyone; `None` if one would be.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let reasons: Vec<_> =
            self.issues.iter().filter(|issue| issue.level == Readiness::NotReady).map(Issue::outline).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}
