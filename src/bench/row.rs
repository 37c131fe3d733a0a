//! What a row of the table is.

use super::figure::Figure;
use super::lab::Lab;

/// One thing that is measured.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What it measures, for the help.
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Lab) -> anyhow::Result<Vec<Figure>>,
}
