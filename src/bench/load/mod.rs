//! The load: a connector on raw sockets, in this process, that costs little beside the gateway it drives.

mod connection;
mod connector;
mod times;

pub(crate) use connection::LoadConnection;
pub(crate) use connector::{Amount, Load, LoadConnector, LoadMode, Outcome, SESSIONS};
pub(crate) use times::Times;
