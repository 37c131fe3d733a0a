//! Adding a child while its supervisor runs.

use actix::Message;

use crate::spec::{ChildSpec, SpecError};

/// Starts one more child, after the existing ones. A restart of the supervisor removes it if it is temporary, and
/// otherwise starts it as it starts the others.
#[derive(Message)]
#[rtype(result = "Result<(), StartChildError>")]
pub struct StartChild(pub ChildSpec);

/// Starts several children, as [`StartChild`] does each, at the cost of one message. Answered in the same order; one that is
/// refused does not affect the others.
#[derive(Message)]
#[rtype(result = "Vec<Result<(), StartChildError>>")]
pub struct StartChildren(pub Vec<ChildSpec>);

/// Why [`StartChild`] was refused. In every case nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartChildError {
    /// The specification is invalid. An id is taken until the child that has it is removed.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The supervisor is stopping.
    #[error("the supervisor is stopping")]
    Closing,
}
