//! Supervision for actix actors: restarts, budgets, fencing, heartbeats. Free of the domain.

mod exit;
mod life;
mod mailbox;
mod port;

pub use exit::{ExitReason, Fatal};
pub use life::Life;
pub use mailbox::{DEFAULT_LIMIT, Gauge, Mailbox};
pub use port::{AskError, Port, TellError};
