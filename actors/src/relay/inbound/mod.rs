//! Events that arrive other than over the socket.

pub mod messages;
