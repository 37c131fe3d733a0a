//! Adding a child while its supervisor runs.

use actix::Message;

use crate::spec::{ChildSpec, SpecError};

/// Starts one more child, after those that are there. A restart of the supervisor forgets it if it is temporary, and
/// otherwise starts it like any other.
#[derive(Message)]
#[rtype(result = "Result<(), StartChildError>")]
pub struct StartChild(pub ChildSpec);

/// Why [`StartChild`] was refused. In every case nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartChildError {
    /// The specification cannot be carried out. An id is taken for as long as a child of that id is there.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The supervisor is stopping.
    #[error("the supervisor is stopping")]
    Closing,
}
