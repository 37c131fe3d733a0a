//! Profiles, guards and turns with real processes. Linux only: the tests read `/proc`.
#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../tests/support/forms.rs"]
mod forms;
mod guard;
mod live;
#[path = "../support/model_server.rs"]
mod model_server;
mod openai;
mod openai_faults;
mod proc;
mod profile;
#[path = "../support/refusing.rs"]
mod refusing;
mod support;
mod turn;
mod turn_control;
mod turn_stub;
mod wait;
