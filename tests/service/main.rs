//! The gateway through its real binary: real sockets, real files, real processes.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod agents;
#[path = "../support/backlog.rs"]
mod backlog;
mod backlog_released;
mod canaries;
#[path = "../support/command.rs"]
mod command;
mod commands;
mod conversations;
mod drains;
mod failing_disks;
mod faults;
mod given_up;
mod guards;
mod hold;
mod home_channel;
mod hostile;
mod hostile_requests;
mod hung_disk;
mod kills;
mod ledger;
mod many_turns;
mod markers;
mod mistakes;
#[path = "../../actors/tests/support/model_server.rs"]
mod model_server;
mod odd_files;
mod openai;
mod overload;
mod processes;
mod races;
mod recovered;
mod recovery_floods;
mod refused_writes;
mod reload;
mod restarts;
mod self_drain;
mod sessions;
mod shutdown;
mod stopping;
#[path = "../support/mod.rs"]
mod support;
mod threads;
mod unread;
#[path = "../support/world.rs"]
mod world;
