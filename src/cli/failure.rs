//! How a command reports that it failed.

use std::process::ExitCode;

use caduceus_actors::error_chain::error_chain;

use crate::out;

/// Prints on standard error why the command fails.
pub(super) fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    out::print_error(&error_chain(error));
    ExitCode::from(code)
}
