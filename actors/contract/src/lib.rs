//! The types that the parts of Caduceus exchange with each other and with other programs: ids, wire formats, file formats and messages.
//!
//! Values only: no actor, no I/O, no lock, no clock. A function that needs the time takes it as an argument. Both ends of a wire, and
//! sender and receiver of a message, use the same type from here.
//!
//! - [`profile_name`], [`turn_id`], [`link`]: ids.
//! - [`wire`]: frames, events, actions, descriptors, tokens, signatures, requests for credentials, the addresses of a connector.
//! - [`files`]: formats of files that other programs read or write as well.
//! - [`api`]: bodies and answers of the gateway's HTTP API.
//! - [`messages`]: one file per actor, with the views that it answers.
//! - [`ledger_rows`], [`ledger_error`]: what the messages of the ledger carry.
//! - [`share`]: which dispatcher a chat belongs to.
//! - [`time`]: lengths of time as numbers.
//! - [`status`]: the status of the whole gateway at one moment.
//!
//! These messages carry a live resource or settings and are in `caduceus-actors`, beside what they carry:
//!
//! - `drain::permit::messages`: a permit holds the lock of the gate.
//! - `turn::order`: the order to start a turn holds its permit.
//! - `profile::messages`: a started agent is pipes and a process, a call in progress is channels; the options of a profile are made of
//!   settings; the parameters of a dial have a token and the links' claims.
//! - `config::messages`: the settings in force, with the ports of each profile.

// Nothing is printed here.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod api;
pub mod files;
pub mod json;
pub mod ledger_error;
pub mod ledger_rows;
pub mod link;
pub mod messages;
pub mod profile_name;
pub mod share;
pub mod status;
pub mod time;
pub mod turn_id;
pub mod wire;
