//! Formats of files that other programs read or write as well. `caduceus-actors` reads and writes the files.

pub mod epoch;
pub mod gateway_state;
pub mod marker;
pub mod process_identity;
