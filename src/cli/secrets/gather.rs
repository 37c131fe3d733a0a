//! Reads what the audit judges. Thin: what it means is judged there.

use std::path::PathBuf;

use caduceus_actors::honcho::grant::host_name;
use caduceus_actors::honcho::location::{Homes, is_there};
use caduceus_actors::honcho::store;
use caduceus_actors::profile::agent::AgentSettings;
use caduceus_actors::profile::child_env::Facts;
use caduceus_actors::profile::inspect::inspect;
use caduceus_actors::settings::{ProfileSettings, Settings};
use secrecy::SecretString;

use super::audit::ProfileFacts;
use crate::cli::files::{FileFact, of_profile};

/// Looks at every profile that the gateway would serve.
pub(super) fn facts(settings: &Settings) -> Vec<ProfileFacts> {
    settings.profiles.iter().map(|profile| of(profile, settings)).collect()
}

fn of(profile: &ProfileSettings, settings: &Settings) -> ProfileFacts {
    let inspection = inspect(profile, settings);
    let homes = Homes {
        own: profile.home.clone(),
        default: settings.home.clone(),
        user: settings.environment.globals.get("HOME").map(PathBuf::from),
    };
    let grants = homes.locate(is_there);
    let mut files = of_profile(&profile.home);
    // One that is shared is looked at once for each; the findings are made unique.
    files.extend(FileFact::look(grants.clone()).filter(|file| !files.contains(file)));
    let grant = store::read(&grants).map(|file| {
        let file = file?;
        file.grant(&host_name(None, &profile.name, file.default_host()))
    });
    let (has_grant, grant_trouble) = match grant {
        Ok(grant) => (grant.is_some(), None),
        Err(error) => (false, Some(error.to_string())),
    };
    // The real function with a turn of no account, so that what is told is what a child gets.
    let token = has_grant.then(|| SecretString::from("-"));
    let turn = Facts {
        profile: &profile.name,
        home: &profile.home,
        turn: "-",
        session: "-",
        attempt: 1,
        token: token.as_ref(),
    };
    let child = match &profile.agent {
        AgentSettings::Exec(exec) => Some(inspection.child_sees(settings, exec, &turn)),
        AgentSettings::None | AgentSettings::Echo | AgentSettings::OpenAi(_) => None,
    };
    let problems = profile.problems.iter().cloned().chain(grant_trouble).collect();
    let closed = settings.multiplex || profile.home != settings.home;
    ProfileFacts { name: profile.name.to_string(), closed, inspection, child, problems, files }
}
