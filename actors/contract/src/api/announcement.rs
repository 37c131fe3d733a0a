//! The first line that a server writes to standard output.

use serde::{Deserialize, Serialize};

/// The address of a server that has begun to listen. Scripts read the port from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenAnnouncement {
    /// The URL, with the port that the system assigned.
    pub listening: String,
}
