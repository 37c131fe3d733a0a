//! The one reader of the process environment and of the two YAML files.
//!
//! `config.yaml` is the original's and only read; `caduceus.yaml` beside it is ours. Everything wrong with them is
//! collected, so that a person mends it all at once.

mod agent;
mod environment;
mod error;
mod home;
mod link;
mod load;
mod notices;
mod original;
mod profiles;
mod relay;
mod reload;
mod yaml;

pub use environment::Environment;
pub use error::SettingsError;
pub use home::find_home;
pub use load::{Busy, DrainAuth, Interrupted, Settings, SupervisionSettings, WhenRefused};
pub use notices::HomeChannel;
pub use profiles::ProfileSettings;
pub use relay::{InboundSettings, client_of_command};
pub use reload::{DirectoryState, Reading, Sources};
