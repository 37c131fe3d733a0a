//! Why an incarnation ended, as its supervisor sees it.

use std::fmt;

/// Why one incarnation of a child ended. With its [`Restart`](crate::Restart) type it decides whether the child is restarted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExitReason {
    /// It completed its work and stopped itself.
    Normal,
    /// It was requested to stop: by an operator, a group restart or the shutdown of the tree.
    Shutdown,
    /// It panicked; the text is redacted by the panic hook.
    Panic(String),
    /// It stopped itself because it could not continue; the text is the cause.
    Error(String),
    /// It did not stop within its grace after a request, and was dropped.
    Killed,
    /// The child or its thread had no heartbeat for longer than allowed, and was fenced.
    Unresponsive,
    /// It stopped for a reason that a restart cannot remove. It is not restarted, and the restart intensity does not count it.
    Fatal(Fatal),
}

/// A reason of the application that a restart cannot remove, such as revoked credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fatal {
    /// A stable `snake_case` word for the status, such as `revoked`.
    pub code: &'static str,
    /// One sentence for the operator, free of secrets.
    pub detail: String,
}

impl ExitReason {
    /// The stable name of this reason in the status; `asked` for [`ExitReason::Shutdown`].
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
            Self::Shutdown => "asked",
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
            Self::Normal | Self::Shutdown | Self::Killed | Self::Unresponsive => f.write_str(self.word()),
        }
    }
}
