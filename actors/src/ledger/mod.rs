//! The inbox and outbox on disk, written by one thread.

pub mod messages;
