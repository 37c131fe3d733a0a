//! What must hold of the sources themselves: the floors of the house, and that a panic unwinds in every profile.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod floors;
mod profiles;
mod source;
