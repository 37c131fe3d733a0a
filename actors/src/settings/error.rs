//! Why the settings cannot be used.

use std::path::PathBuf;

/// Why the gateway cannot start with these settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// There is no such directory.
    #[error("the home {0} does not exist; create it, or name another with --home")]
    NoHome(PathBuf),
    /// It is there but cannot be used.
    #[error("the home {path} cannot be used: {reason}")]
    UnusableHome {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The configuration is wrong; every mistake is listed.
    #[error("the configuration is wrong:\n  {}", .0.join("\n  "))]
    Wrong(Vec<String>),
}
