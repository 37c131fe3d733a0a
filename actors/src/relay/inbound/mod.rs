//! Events that come in beside the socket.

pub mod messages;
