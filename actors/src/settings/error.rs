//! Why the settings cannot be used.

use std::path::PathBuf;

/// Why the gateway cannot start with these settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The directory does not exist.
    #[error("the home {0} does not exist; create it, or name another with --home")]
    NoHome(PathBuf),
    /// The directory exists and cannot be used.
    #[error("the home {path} cannot be used: {reason}")]
    UnusableHome {
        /// Which directory.
        path: PathBuf,
        /// The error of the system.
        reason: String,
    },
    /// The configuration is invalid; every mistake is listed.
    #[error("the configuration is wrong:\n  {}", .0.join("\n  "))]
    Wrong(Vec<String>),
}
