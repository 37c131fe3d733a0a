//! Why a frame was refused.

use crate::wire::action::ActionError;
use crate::wire::action_result::ActionResultError;
use crate::wire::descriptor::DescriptorError;
use crate::wire::fields::FieldError;
use crate::wire::received_event::EventTextError;

/// Why a line was skipped; the link stays up. Contains nothing of the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is not JSON, not an object, or nested too deeply.
    #[error("the line is not a JSON object")]
    NotAnObject,
    /// A field of the frame itself is missing or of the wrong type.
    #[error("{frame} frame: {error}")]
    Field {
        /// The type of the frame.
        frame: &'static str,
        /// The field.
        error: FieldError,
    },
    /// The body of a forwarded request is not base64.
    #[error("the forwarded body is not base64")]
    Body,
    /// The descriptor in it was refused.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// The event in it was refused.
    #[error(transparent)]
    Event(#[from] EventTextError),
    /// The action in it was refused.
    #[error(transparent)]
    Action(#[from] ActionError),
    /// The result in it was refused.
    #[error(transparent)]
    Result(#[from] ActionResultError),
}
