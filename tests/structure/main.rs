//! Rules for the sources themselves: the layers of the crates, panics that unwind in every profile, settings that are
//! documented, and deployments and documents that name only what exists.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod cycles;
mod deploy;
mod documents;
mod layers;
mod profiles;
mod secrets;
mod settings;
mod source;
mod terms;
