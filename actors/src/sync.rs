//! The counters and queues that threads share, which outlive actors: those of the standard library. Locks are taken with
//! [`locked`](crate::locked::locked).
//!
//! In the tests of this crate they come from `explored`, which can also try many orders of the steps of several threads.

#[cfg(test)]
pub(crate) mod explored;

#[cfg(test)]
pub(crate) use explored::{atomic, mpsc};
#[cfg(not(test))]
pub(crate) use std::sync::{atomic, mpsc};
