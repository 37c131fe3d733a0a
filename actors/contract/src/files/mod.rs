//! The formats of files that other programs read or write as well. What reads and writes them is in `caduceus-actors`.

pub mod epoch;
pub mod gateway_state;
pub mod marker;
pub mod process_identity;
