//! Supervision for actix actors: restarts, budgets, fencing, heartbeats. Free of the domain.
//!
//! Start at [`Root::start`]. An actor is described by a [`ChildSpec`] and reached through [`Port`]s into its
//! [`Mailbox`], which outlives it. A [`Supervisor`] carries out what its plan decides; a runner carries one
//! incarnation; the [`Board`] shows all of it to anyone.

mod board;
mod carried;
mod exit;
mod fault;
mod hook;
mod lane;
mod leash;
mod life;
mod mailbox;
mod messages;
mod plan;
mod policy;
mod port;
mod pulse;
mod pump;
mod realm;
mod root;
mod runner;
mod spec;
mod supervisor;
mod watch;
mod watchdog;

pub use board::{Board, ChildState, Departed, Kind, LastExit, TreeNode};
pub use carried::{Carried, ResponseFuture, spawn};
pub use exit::{ExitReason, Fatal};
pub use fault::Fault;
pub use hook::install_panic_hook;
pub use lane::Lane;
pub use life::Life;
pub use mailbox::{DEFAULT_LIMIT, Gauge, Mailbox};
pub use messages::{ChildExited, InjectFault, Operate, OperateError, Order, StartChild, StartChildError, StopChild};
pub use policy::{Backoff, BackoffError, Budget, RestartPolicy, Verdict, WhenSpent};
pub use port::{AskError, Port, TellError};
pub use pulse::Pulse;
pub use root::{Root, RootEnd, RootHandle, RootOptions};
pub use spec::{Birth, ChildSpec, Readiness, Restart, Strategy, SupervisorSpec};
pub use supervisor::Supervisor;
pub use watchdog::{Bite, Cause, Watchdog};
