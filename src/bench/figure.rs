//! What a run measured, as it is kept and printed.

use serde::{Deserialize, Serialize};

/// One number, with what it is the number of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// The row of the table: what was measured.
    pub(crate) row: String,
    /// Under which circumstances, such as `64 in flight`; may be empty.
    pub(crate) case: String,
    /// Which number of that case, such as `gateway CPU`.
    pub(crate) name: String,
    /// The number.
    pub(crate) value: f64,
    /// Its unit, such as `µs`.
    pub(crate) unit: String,
    /// What it has to reach.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) goal: Option<Goal>,
}

/// What a figure has to reach, in its unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// A cost.
    AtMost(f64),
    /// A rate.
    AtLeast(f64),
}

impl Figure {
    pub(crate) fn new(row: &str, case: impl Into<String>, name: &str, value: f64, unit: &str) -> Self {
        let (row, case, name, unit) = (row.to_owned(), case.into(), name.to_owned(), unit.to_owned());
        Self { row, case, name, value, unit, goal: None }
    }

    pub(crate) fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// Whether it reached its goal; `None` if it has none.
    pub(crate) fn is_met(&self) -> Option<bool> {
        self.goal.map(|goal| match goal {
            Goal::AtMost(most) => self.value <= most,
            Goal::AtLeast(least) => self.value >= least,
        })
    }
}

/// Everything that one run measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The commit of the sources in the working directory, if there is a repository.
    pub(crate) commit: Option<String>,
    /// The version of the program.
    pub(crate) version: String,
    /// When the run began, RFC 3339 in UTC.
    pub(crate) begun: String,
    /// Whether the rows ran in their short form, whose figures are rough.
    pub(crate) short: bool,
    /// What it ran on.
    pub(crate) machine: Machine,
    /// The figures, in the order of the table.
    pub(crate) figures: Vec<Figure>,
    /// Rows that failed, each with its error.
    pub(crate) failed: Vec<FailedRow>,
}

/// A row without figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailedRow {
    /// The row.
    pub(crate) row: String,
    /// Why it failed.
    pub(crate) error: String,
}

/// The machine of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The model of its processor.
    pub(crate) processor: String,
    /// Cores that the process may use.
    pub(crate) cores: usize,
    /// The kernel's release.
    pub(crate) kernel: String,
}

/// The quotient of two numbers; 0 if there is nothing to divide by.
#[expect(clippy::cast_precision_loss, reason = "figures are printed with three digits")]
pub(crate) fn ratio(number: u64, by: u64) -> f64 {
    if by == 0 { 0.0 } else { number as f64 / by as f64 }
}
