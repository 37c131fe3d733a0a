//! The one reader of the process environment and of the two YAML files.
//!
//! `config.yaml` belongs to the original and is only read; `caduceus.yaml` beside it belongs to the gateway. All mistakes in them are
//! collected, so that an operator can correct them at once.

// First, for its macro.
#[macro_use]
mod key_table;

mod agent;
mod environment;
mod error;
mod form;
mod home;
mod load;
mod notices;
mod original;
mod policies;
mod profiles;
mod relay;
mod reload;
mod values;
pub(crate) mod yaml;

pub use environment::Environment;
pub use error::SettingsError;
pub use home::find_home;
pub use load::{DrainAuth, OpenSettings, Settings};
pub use notices::HomeChannel;
pub use profiles::ProfileSettings;
pub use relay::client_of_command;
pub use reload::{DirectoryState, Reading, Sources};
pub use values::{
    Busy, DrainValues, HttpValues, InboundSettings, Interrupted, NoticeValues, RelayValues, SessionValues,
    SupervisionValues, TurnValues, Values, WhenRefused,
};
