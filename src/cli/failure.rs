//! How a command reports that it failed.

use std::process::ExitCode;

use crate::out;

/// Prints on standard error why the command fails.
pub(super) fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    out::complain(&sentences(error));
    ExitCode::from(code)
}

/// An error with its causes.
pub(super) fn sentences(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
