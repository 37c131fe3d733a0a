//! One file a subcommand.

pub mod connector;
