//! The load: a connector on raw sockets, in this process, that costs little beside the gateway it drives.

mod connection;
mod connector;
mod times;

pub(crate) use connection::Connection;
pub(crate) use connector::{Amount, Connector, Load, LoadMode, Outcome, SESSIONS};
pub(crate) use times::Times;
