//! What the parts of Caduceus say to each other and to the outside: ids, wire formats, file formats and messages.
//!
//! Values only. No actor, no I/O, no lock and no clock: the time comes in as a value. Both ends of a wire, and both sides of a
//! message, use the same type from here.
//!
//! - [`profile_name`], [`turn_id`], [`link`]: what names things.
//! - [`wire`]: frames, events, actions, descriptors, tokens, signatures, the addresses of a connector.
//! - [`files`]: the formats of files that other programs read or write as well.
//! - [`messages`]: one file for each actor, with the views that it answers.
//! - [`status`]: the status of the whole gateway at one moment, and its words.
//!
//! A message that carries a live resource stays in `caduceus-actors`, beside that resource: a permit holds the gate's lock
//! (`drain::permit::messages`), an order to start a turn holds its permit (`turn::order`), an agent that was started is pipes and a
//! process, and a call under way is channels (`profile::messages`). So do the messages made of settings: `profile::messages` has the
//! terms of a profile and the parameters of a dial, `config::messages` what is in force.

// They panic when the reader is gone, and block when it does not read. Nothing is printed here.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod files;
pub mod json;
pub mod link;
pub mod messages;
pub mod profile_name;
pub mod status;
pub mod turn_id;
pub mod wire;
