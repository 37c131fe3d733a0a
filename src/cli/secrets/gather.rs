//! Gathers the facts for the audit, which decides what they mean.

use std::path::PathBuf;
use std::sync::Arc;

use caduceus_actors::honcho::grant::host_name;
use caduceus_actors::honcho::location::{Homes, is_there};
use caduceus_actors::honcho::store;
use caduceus_actors::profile::child_env::ChildContext;
use caduceus_actors::profile::inspect::{Inspection, inspect};
use caduceus_actors::settings::{ProfileSettings, Settings};
use secrecy::SecretString;

use super::audit::ProfileFacts;
use crate::cli::each_home::each_home;
use crate::cli::files::{FileFact, of_profile};

/// Gathers the facts about every profile that the gateway would serve.
pub(super) fn facts(settings: &Settings) -> Vec<ProfileFacts> {
    let shared = Arc::new(settings.clone());
    let inspected = each_home(&settings.profiles, |profile| &profile.home, move |profile| of(profile, &shared));
    let found = settings
        .profiles
        .iter()
        .zip(inspected)
        .map(|(profile, found)| found.unwrap_or_else(|error| unanswered(profile, settings, error.to_string())));
    found.collect()
}

/// The facts about a profile whose disk does not answer.
fn unanswered(profile: &ProfileSettings, settings: &Settings, why: String) -> ProfileFacts {
    ProfileFacts {
        name: profile.name.to_string(),
        closed: settings.multiplex || profile.home != settings.home,
        inspection: Inspection::unanswered(why),
        child: None,
        problems: profile.problems.clone(),
        files: Vec::new(),
    }
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
    // A shared file is read once per profile; the findings are made unique.
    files.extend(FileFact::read(grants.clone()).filter(|file| !files.contains(file)));
    let grant = store::read(&grants).map(|file| {
        let file = file?;
        file.grant(&host_name(None, &profile.name, file.default_host()))
    });
    let (has_grant, grant_error) = match grant {
        Ok(grant) => (grant.is_some(), None),
        Err(error) => (false, Some(error.to_string())),
    };
    // The real function with a placeholder turn, so that the report shows what a child gets.
    let token = has_grant.then(|| SecretString::from("-"));
    let turn = ChildContext {
        profile: &profile.name,
        home: &profile.home,
        turn: "-",
        session: "-",
        attempt: 1,
        token: token.as_ref(),
    };
    let child = profile.agent.process().map(|exec| inspection.child_variables(settings, exec, &turn));
    let problems = profile.problems.iter().cloned().chain(grant_error).collect();
    let closed = settings.multiplex || profile.home != settings.home;
    ProfileFacts { name: profile.name.to_string(), closed, inspection, child, problems, files }
}
