//! The gateway for AI agents.

// Nothing starts the server yet.
#[allow(dead_code)]
mod http;

fn main() {}
