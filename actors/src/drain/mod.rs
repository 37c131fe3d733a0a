//! Draining: turning new turns away while those in flight finish.

pub mod epoch;
pub mod marker;
