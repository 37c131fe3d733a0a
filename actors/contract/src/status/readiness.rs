//! The types of readiness: whether a turn would be admitted, and the issues. The decision is in `verdict.rs`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Whether a turn would be admitted, and whether all parts work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadinessLevel {
    /// A turn would be admitted, and there is no issue.
    Ready,
    /// A turn would be admitted; a profile, link, grant or file is failed or down.
    Degraded,
    /// No turn would be admitted.
    NotReady,
}

impl ReadinessLevel {
    /// The name in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::NotReady => "not_ready",
        }
    }
}

/// One issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// Its effect: `degraded` or `not_ready`.
    pub level: ReadinessLevel,
    /// The kind of part: `gateway`, `actor`, `profile`, `link`, `grant` or `configuration`.
    pub part: Cow<'static, str>,
    /// The name of the part; empty if there is only one.
    pub name: String,
    /// Its state, in a few words.
    pub state: String,
    /// Details for authenticated readers: may contain paths and addresses.
    pub detail: Option<String>,
}

/// The result of the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The worst of the issues.
    pub readiness: ReadinessLevel,
    /// The issues, the worst first.
    pub issues: Vec<Arc<Issue>>,
}

impl Issue {
    /// `state` is named as the status names it.
    pub(super) fn new(
        level: ReadinessLevel,
        part: &'static str,
        name: &str,
        state: &impl Serialize,
        detail: Option<String>,
    ) -> Self {
        let state = match serde_json::to_value(state) {
            Ok(serde_json::Value::String(word)) => word,
            _ => "unknown".to_owned(),
        };
        Self { level, part: part.into(), name: name.to_owned(), state, detail }
    }

    /// The issue without its detail: names and states only, which are public.
    #[must_use]
    pub fn outline(&self) -> String {
        match (&*self.part, self.name.as_str()) {
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
    /// Sorts `issues`; the worst of them decides.
    pub(super) fn of(mut issues: Vec<Arc<Issue>>) -> Self {
        issues.sort_by_key(|issue| std::cmp::Reverse(issue.level));
        Self { readiness: issues.first().map_or(ReadinessLevel::Ready, |issue| issue.level), issues }
    }

    /// Why no turn would be admitted, in public terms; `None` if one would be.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let reasons: Vec<_> = self
            .issues
            .iter()
            .take_while(|issue| issue.level == ReadinessLevel::NotReady)
            .map(|issue| issue.outline())
            .collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}
