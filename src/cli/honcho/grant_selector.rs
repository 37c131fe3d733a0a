//! The grant that a command refers to.

use std::path::PathBuf;
use std::process::ExitCode;

use caduceus_actors::honcho::location::HonchoProfile;
use caduceus_actors::settings::{Environment, Settings, SettingsError, find_home};
use caduceus_contract::profile_name::ProfileName;

use crate::cli::each_home::is_directory;
use crate::cli::{CONFIGURATION, TRY_AGAIN, failure};
use crate::out;

/// The home and the profile of a grant.
#[derive(Debug, clap::Args)]
pub(super) struct GrantSelector {
    /// Home directory; `HERMES_HOME`, else `~/.hermes`, if not given.
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Profile; the default one if not given.
    #[arg(long, value_name = "NAME", value_parser = profile_name)]
    pub(super) profile: Option<ProfileName>,
}

fn profile_name(text: &str) -> Result<ProfileName, String> {
    ProfileName::parse(text).map_err(|_| "a profile's name is made of a-z, 0-9, - and _".to_owned())
}

impl GrantSelector {
    /// The settings of the home, and the profile meant. `Err` is an exit code; the cause has been printed.
    pub(super) fn find(self) -> Result<(Settings, HonchoProfile), ExitCode> {
        let environment = Environment::capture();
        let home = find_home(self.home, &environment);
        let fail = |error: SettingsError| failure::fail(&error, CONFIGURATION);
        let settings = Settings::load(&home, environment).map_err(fail)?;
        let Some(name) = self.profile else {
            let first = &settings.profiles[0];
            let profile = HonchoProfile::new(first.name.clone(), &first.home, &settings.home, &settings.environment);
            return Ok((settings, profile));
        };
        // A profile may be logged in before the gateway serves it.
        let own = match settings.profiles.iter().find(|profile| profile.name == name) {
            Some(served) => served.home.clone(),
            None if name.is_default() => settings.home.clone(),
            None => settings.home.join("profiles").join(name.as_str()),
        };
        let problem = match is_directory(&own) {
            Ok(true) => None,
            Ok(false) => {
                let why = format!("there is no profile {name}: {} is not a directory", own.display());
                Some((why, CONFIGURATION))
            }
            Err(error) => Some((error.to_string(), TRY_AGAIN)),
        };
        if let Some((why, code)) = problem {
            out::print_error(&why);
            return Err(ExitCode::from(code));
        }
        let profile = HonchoProfile::new(name, &own, &settings.home, &settings.environment);
        Ok((settings, profile))
    }
}
