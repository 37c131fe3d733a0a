//! How a command reaches a gateway: finds it by its home or its address, and sends requests over HTTP.

mod client;
mod selector;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use actix_web::rt::System;
use caduceus_actors::ledger::OpenError;
use caduceus_contract::messages::ledger::LedgerError;

pub(super) use client::GatewayClient;
pub(super) use selector::{Contact, GatewaySelector, Presence};

use super::dumps::try_forbid_dumps;
use super::failure::fail;

/// Why a command failed. Each variant has an exit code that shows what to do about it.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    /// The home cannot be used.
    #[error("the home {} cannot be used", path.display())]
    Home {
        /// Which directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The token cannot be read from its file.
    #[error("the token in {} cannot be used: {why}", path.display())]
    Token {
        /// Which file.
        path: PathBuf,
        /// One clause.
        why: String,
    },
    /// The address is not an HTTP address.
    #[error("--url takes the address of a gateway, such as http://127.0.0.1:8652, without credentials")]
    Address,
    /// The marker or another file of the home can be neither written nor removed.
    #[error("the drain marker in {} cannot be changed", path.display())]
    Marker {
        /// Which home.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// No gateway is running there.
    #[error("no gateway answers: {0}")]
    NoGateway(String),
    /// The gateway gives no answer, or none that can be used.
    #[error("the gateway gave no answer: {0}")]
    NoAnswer(String),
    /// The gateway refuses the request.
    #[error("the gateway refused: {detail} ({status} {code})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable error code.
        code: String,
        /// One sentence.
        detail: String,
    },
    /// The ledger of the home cannot be opened.
    #[error(transparent)]
    OpenLedger(OpenError),
    /// The ledger of the home refuses.
    #[error(transparent)]
    Ledger(LedgerError),
    /// The system denies permission.
    #[error("this user has no permission to signal process {0}")]
    NotPermitted(u32),
    /// The requested state is not reached.
    #[error("{0}")]
    NotReached(String),
}

impl CommandError {
    /// Whether the failure is temporary: another try may succeed without a repair.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self.exit_code(), super::NO_GATEWAY | super::TRY_AGAIN)
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::NoGateway(_) => super::NO_GATEWAY,
            Self::Marker { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => super::NOT_PERMITTED,
            Self::OpenLedger(error) if error.is_temporary() => super::TRY_AGAIN,
            Self::Home { .. } | Self::Token { .. } | Self::Address | Self::OpenLedger(_) => super::CONFIGURATION,
            Self::NotPermitted(_) | Self::Refused { status: 401 | 403, .. } => super::NOT_PERMITTED,
            Self::Marker { .. }
            | Self::NoAnswer(_)
            | Self::Ledger(LedgerError::Unwritable(_) | LedgerError::Closed)
            | Self::Refused { status: 429 | 500.., .. } => super::TRY_AGAIN,
            Self::Refused { .. }
            | Self::NotReached(_)
            | Self::Ledger(LedgerError::Missing { .. } | LedgerError::Corrupt { .. } | LedgerError::Final { .. }) => {
                super::NOT_REACHED
            }
        }
    }
}

/// Runs a command to its end, and prints an error on standard error.
pub(super) fn conclude(command: impl Future<Output = Result<(), CommandError>>) -> ExitCode {
    conclude_with(async { command.await.map(|()| ExitCode::SUCCESS) })
}

/// The same for a command with more than one exit code for success.
pub(super) fn conclude_with(command: impl Future<Output = Result<ExitCode, CommandError>>) -> ExitCode {
    // It may hold a token.
    try_forbid_dumps();
    match System::new().block_on(command) {
        Ok(code) => code,
        Err(error) => fail(&error, error.exit_code()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unavailable_gateway_is_a_temporary_failure_and_a_refusal_is_not() {
        let refused = |status| CommandError::Refused { status, code: String::new(), detail: String::new() };
        for error in [refused(429), refused(503), CommandError::NoGateway(String::new())] {
            assert!(error.is_temporary(), "{error:?}");
        }
        for error in [refused(401), refused(403), refused(404), CommandError::Address] {
            assert!(!error.is_temporary(), "{error:?}");
        }
    }
}
