//! Why an incarnation ended, as its supervisor sees it.

use std::fmt;

/// Why one incarnation of a child ended. The supervisor decides by one exhaustive match over this.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExitReason {
    /// Its work was done and it stopped itself.
    Normal,
    /// It was asked to stop: by an operator, by a group restart, or by the shutdown.
    Asked,
    /// It panicked; the text has been through the redactor of the panic hook.
    Panic(String),
    /// It stopped itself because it could not go on; the text is the cause.
    Error(String),
    /// It was asked to stop, did not within its grace, and was dropped.
    Killed,
    /// The child or its thread had no heartbeat for longer than allowed, and was fenced.
    Unresponsive,
    /// It stopped for a reason that no restart can cure. Does not count against the restart intensity.
    Fatal(Fatal),
}

/// A reason of the application that no restart can cure, such as revoked credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fatal {
    /// A stable `snake_case` word for the status, such as `revoked`.
    pub code: &'static str,
    /// One sentence for the operator, free of secrets.
    pub detail: String,
}

impl ExitReason {
    /// The stable word of this reason, as the status shows it.
    ///
    /// ```
    /// use caduceus_supervision::{ExitReason, Fatal};
    ///
    /// assert_eq!(ExitReason::Killed.word(), "killed");
    /// let fatal = Fatal { code: "revoked", detail: "the credentials are revoked".to_owned() };
    /// assert_eq!(ExitReason::Fatal(fatal).word(), "revoked");
    /// ```
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Asked => "asked",
            Self::Panic(_) => "panic",
            Self::Error(_) => "error",
            Self::Killed => "killed",
            Self::Unresponsive => "unresponsive",
            Self::Fatal(fatal) => fatal.code,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(text) | Self::Error(text) => write!(f, "{}: {text}", self.word()),
            Self::Fatal(fatal) => write!(f, "{}: {}", fatal.code, fatal.detail),
            Self::Normal | Self::Asked | Self::Killed | Self::Unresponsive => f.write_str(self.word()),
        }
    }
}
