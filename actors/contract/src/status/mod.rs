//! The status of the whole gateway at one moment. `StatusActor` builds it.

pub mod lifecycle;
pub mod profiles;
pub mod readiness;
pub mod shown;
pub mod snapshot;
mod verdict; // The readiness of a snapshot.
