//! `caduceus honcho`: log in, look at the grants, refresh one by hand. Works with and without a running gateway, which hears
//! of every change by the file. No token is ever shown.

mod login;
mod loopback;
mod refresh;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use caduceus_actors::honcho::location::HonchoProfile;
use caduceus_actors::profile::name::ProfileName;
use caduceus_actors::settings::{Environment, Settings, SettingsError, find_home};

use super::each_home::is_directory;
use super::{life, serve};
use crate::out;

/// Look after the OAuth grants of Honcho: log in, show them, refresh one.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Login(login::Arguments),
    Status(status::Arguments),
    Refresh(refresh::Arguments),
}

pub(crate) fn run(arguments: Arguments) -> ExitCode {
    if let Err(error) = life::forbid_dumps() {
        out::complain(&format!("other processes of this user can read our memory: {error}"));
    }
    match arguments.command {
        Command::Login(arguments) => login::run(arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Refresh(arguments) => refresh::run(arguments),
    }
}

/// Whose grant.
#[derive(Debug, clap::Args)]
struct Whose {
    /// Home directory; `HERMES_HOME`, else `~/.hermes`, if not given.
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Profile; the default one if not given.
    #[arg(long, value_name = "NAME", value_parser = profile_name)]
    profile: Option<ProfileName>,
}

fn profile_name(text: &str) -> Result<ProfileName, String> {
    ProfileName::parse(text).map_err(|_| "a profile's name is made of a-z, 0-9, - and _".to_owned())
}

impl Whose {
    /// The settings of the home, and the profile meant. `Err` is an exit code; why has been said.
    fn find(self) -> Result<(Settings, HonchoProfile), ExitCode> {
        let environment = Environment::capture();
        let home = find_home(self.home, &environment);
        let fail = |error: SettingsError| serve::fail(&error, super::CONFIGURATION);
        let settings = Settings::load(&home, environment).map_err(fail)?;
        let Some(name) = self.profile else {
            let first = &settings.profiles[0];
            let profile = HonchoProfile::new(first.name.clone(), &first.home, &settings.home, &settings.environment);
            return Ok((settings, profile));
        };
        // A profile may be logged in before the gateway is told to serve it.
        let own = match settings.profiles.iter().find(|profile| profile.name == name) {
            Some(served) => served.home.clone(),
            None if name.is_default() => settings.home.clone(),
            None => settings.home.join("profiles").join(name.as_str()),
        };
        let wrong = match is_directory(&own) {
            Ok(true) => None,
            Ok(false) => {
                let why = format!("there is no profile {name}: {} is no directory", own.display());
                Some((why, super::CONFIGURATION))
            }
            Err(error) => Some((error.to_string(), super::TRY_AGAIN)),
        };
        if let Some((why, code)) = wrong {
            out::complain(&why);
            return Err(ExitCode::from(code));
        }
        let profile = HonchoProfile::new(name, &own, &settings.home, &settings.environment);
        Ok((settings, profile))
    }
}

/// A length of time for people, rounded down.
fn roughly(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_unit_that_suits_it() {
        let told: Vec<String> = [0, 119, 120, 7_199, 7_200, 172_800].map(roughly).into();
        assert_eq!(told, ["0 s", "119 s", "2 min", "119 min", "2 h", "2 days"]);
    }
}
