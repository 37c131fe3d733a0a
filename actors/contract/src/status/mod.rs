//! The status of the whole gateway at one moment, and its words. `StatusActor` builds it.

mod judge; // The readiness of a snapshot.
pub mod readiness;
pub mod shown;
pub mod snapshot;
pub mod words;
