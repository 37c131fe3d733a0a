//! One profile: its secrets, its children.
//!
//! # What does not compile
//!
//! A secret is looked up in a profile's scope, and the scope is private to this module.
//!
//! ```compile_fail,E0603
//! use caduceus_actors::profile::scope::Scope;
//! ```
//!
//! [`inspect`] returns names, and answers to questions.
//!
//! ```
//! # use caduceus_actors::profile::{env_file, inspect::Inspection};
//! let inspection = Inspection::of(env_file::parse("KEY=hunter2"));
//! assert_eq!(inspection.names().collect::<Vec<_>>(), ["KEY"]);
//! ```
//! ```compile_fail,E0616
//! # use caduceus_actors::profile::{env_file, inspect::Inspection};
//! let inspection = Inspection::of(env_file::parse("KEY=hunter2"));
//! assert_eq!(inspection.scope.get("KEY"), None);
//! ```
//!
//! The environment of the process is sealed, so that no lookup falls back to it.
//!
//! ```
//! # use caduceus_actors::settings::Environment;
//! let environment = Environment::sort([("OPENAI_API_KEY".to_owned(), "sk-1".to_owned())]);
//! assert_eq!(environment.rest.names().collect::<Vec<_>>(), ["OPENAI_API_KEY"]);
//! ```
//! ```compile_fail,E0624
//! # use caduceus_actors::settings::Environment;
//! let environment = Environment::sort([("OPENAI_API_KEY".to_owned(), "sk-1".to_owned())]);
//! environment.rest.get("OPENAI_API_KEY");
//! ```
//!
//! A redactor accepts secrets and returns none.
//!
//! ```
//! # use caduceus_actors::profile::Redactor;
//! # use secrecy::SecretString;
//! let redactor = Redactor::default();
//! redactor.replace("work", [("KEY", &SecretString::from("hunter2-hunter2"))]);
//! assert_eq!(redactor.redact("key: hunter2-hunter2"), "key: [redacted:KEY]");
//! ```
//! ```compile_fail,E0616
//! # use caduceus_actors::profile::Redactor;
//! # use secrecy::SecretString;
//! let redactor = Redactor::default();
//! redactor.replace("work", [("KEY", &SecretString::from("hunter2-hunter2"))]);
//! redactor.0.read();
//! ```
//!
//! A secret gets into a text or a JSON document only by exposing it, which can be searched for.
//!
//! ```
//! # use secrecy::SecretString;
//! assert!(!format!("{:?}", SecretString::from("hunter2")).contains("hunter2"));
//! ```
//! ```compile_fail,E0277
//! # use secrecy::SecretString;
//! assert!(!format!("{}", SecretString::from("hunter2")).contains("hunter2"));
//! ```
//! ```compile_fail,E0277
//! # use secrecy::SecretString;
//! serde_json::to_string(&SecretString::from("hunter2"));
//! ```
//!
//! The answers to messages are listed in `tests/structure/secrets.rs`, which fails for one that holds a secret.

pub mod actor;
pub mod agent;
mod call;
pub mod child_env;
mod dial;
pub mod env_edit;
pub mod env_file;
mod env_source;
pub mod globals;
mod input;
pub mod inspect;
mod launch;
pub mod messages;
mod plan;
mod provisioning;
pub mod redact;
mod reference;
mod scope;
pub mod sealed;
pub mod shown;
pub mod strength;

pub use actor::{ProfileActor, ProfileDependencies};
pub use call::{CallTimings, Caller};
pub use input::AgentInput;
pub use launch::GuardCommand;
pub use redact::Redactor;
