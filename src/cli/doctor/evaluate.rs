//! From the facts about a home to findings with remedies. Pure.

use caduceus_actors::ledger::peek::{KNOWN_VERSION, Peek};
use caduceus_actors::relay::probe::ProbeResult;

use super::agent::{AgentFact, CommandFound};
use super::events::{EventsFact, WatchLimit};
use super::facts::{
    DrainFact, HomeFact, HomeFacts, LedgerFact, LinkFact, NetworkFact, ProfileFact, Sent, UnservedFact,
};
use super::grant;
use crate::cli::files::exposed;
use crate::cli::finding::{Finding, missing_name, shown};
use crate::cli::gateways;

/// All findings, in the order of a gateway's start.
pub(super) fn findings(facts: &HomeFacts) -> Vec<Finding> {
    let mut found = vec![home(&facts.home)];
    if !matches!(facts.home, HomeFact::There { .. }) {
        return found;
    }
    found.extend(configuration(&facts.errors, &facts.warnings));
    found.extend(facts.proxies.iter().map(|proxy| Finding::ok("proxy", proxy)));
    let exposed = exposed(&facts.files);
    if exposed.is_empty() {
        found.push(Finding::ok("file_mode", "no file with secrets can be read by others"));
    }
    found.extend(exposed);
    found.push(lock(&facts.lock));
    found.extend(facts.events.as_ref().map(events));
    found.extend(ledger(&facts.ledger));
    found.extend(profiles(&facts.profiles));
    found.extend(unserved(&facts.unserved));
    found.extend(network(&facts.network));
    found.extend(facts.link.as_ref().map(link));
    found.extend(facts.drain.as_ref().map(drain));
    found
}

fn home(home: &HomeFact) -> Finding {
    match home {
        HomeFact::Missing => {
            Finding::error("home", "the home does not exist", "create it, or name another one with --home")
        }
        HomeFact::Unusable(reason) => {
            let detail = format!("the home cannot be used: {reason}");
            Finding::error("home", detail, "give it to the user that the gateway runs as, or name another with --home")
        }
        HomeFact::There { writable: false, .. } => {
            let remedy = "let the user that the gateway runs as write it, on a file system that is not read-only";
            Finding::error("home", "the home cannot be written", remedy)
        }
        HomeFact::There { mode, .. } if mode & 0o022 != 0 => {
            let detail = format!("other users can put files into the home (mode {mode:04o})");
            Finding::warn("home", detail, "chmod go-w on it")
        }
        HomeFact::There { .. } => Finding::ok("home", "the home exists and can be written"),
    }
}

fn configuration(errors: &[String], warnings: &[String]) -> Vec<Finding> {
    let wrong = |error: &String| Finding::error("configuration", error, "correct it; until then no gateway starts");
    let ineffective =
        |warning: &String| Finding::warn("configuration", warning, "correct it; until then that part has no effect");
    let found: Vec<Finding> = errors.iter().map(wrong).chain(warnings.iter().map(ineffective)).collect();
    if found.is_empty() { vec![Finding::ok("configuration", "the configuration is valid")] } else { found }
}

fn lock(held: &Result<bool, String>) -> Finding {
    match held {
        Ok(true) => Finding::ok("lock", "a gateway is running on this home"),
        Ok(false) => Finding::ok("lock", "no gateway is running on this home"),
        Err(reason) => {
            let detail = format!("gateway.lock cannot be used: {reason}");
            Finding::error("lock", detail, "let the user that the gateway runs as read and write it")
        }
    }
}

fn events(events: &EventsFact) -> Finding {
    const CODE: &str = "file_events";
    let EventsFact { needed, made, limit } = events;
    let detail = format!(
        "only {made} of {needed} file watchers could be made; without them changes are found late, by polling each second"
    );
    match limit {
        None => Finding::ok(CODE, "the system has room for the file watchers of a gateway"),
        Some(WatchLimit::Instances) => {
            Finding::warn(CODE, detail, "raise fs.inotify.max_user_instances with sysctl, or the limit of open files")
        }
        Some(WatchLimit::Watches) => Finding::warn(CODE, detail, "raise fs.inotify.max_user_watches with sysctl"),
        Some(WatchLimit::Other(reason)) => {
            Finding::warn(CODE, format!("{detail}: {reason}"), "use a file system with file events")
        }
    }
}

fn ledger(ledger: &LedgerFact) -> Vec<Finding> {
    const CODE: &str = "ledger";
    let state = match &ledger.peek {
        Ok(Peek::Missing) => Finding::ok(CODE, "there is no ledger yet; the first start creates it"),
        Ok(Peek::Fresh) => {
            Finding::ok(CODE, "the ledger exists, and its write-ahead log has not been written back yet")
        }
        Ok(Peek::Version(version)) if i64::from(*version) > KNOWN_VERSION => {
            let detail =
                format!("the ledger has version {version}, and this build reads versions up to {KNOWN_VERSION}");
            Finding::error(CODE, detail, "run the newer build")
        }
        Ok(Peek::Version(version)) => Finding::ok(CODE, format!("the ledger exists, version {version}")),
        Ok(Peek::Foreign) => {
            let detail = format!(
                "{} does not begin as a ledger; a gateway restores its first page from a copy, or sets it aside and does not start",
                ledger.path.display()
            );
            Finding::error(CODE, detail, "put the right file back, or move this one away")
        }
        Err(reason) => {
            let detail = format!("the ledger cannot be read: {reason}");
            Finding::error(CODE, detail, "let the user that the gateway runs as read and write it")
        }
    };
    let corrupt = |name: &String| {
        let detail = format!("a damaged ledger, or a copy made before its repair, is {name}");
        Finding::warn("ledger_set_aside", detail, "save what is needed from it, then move it out of the home")
    };
    let second = ledger.second.as_ref().map(|second| {
        let detail =
            format!("there are two ledgers, {} and {} of an earlier version", ledger.path.display(), second.display());
        Finding::error(CODE, detail, "move one of them away, with its -wal, -shm and -synced")
    });
    std::iter::once(state).chain(second).chain(ledger.set_aside.iter().map(corrupt)).collect()
}

fn profiles(profiles: &[ProfileFact]) -> Vec<Finding> {
    let gateways = profiles.iter().map(|profile| (profile.name.as_str(), profile.gateway.as_ref()));
    let found: Vec<Finding> = profiles.iter().flat_map(profile).chain(gateways::shared(gateways)).collect();
    match profiles.len() {
        0 => found,
        _ if !found.is_empty() => found,
        1 => vec![Finding::ok("profile", "the profile has all names it needs, and its agent can be run")],
        count => {
            let detail = format!("all {count} profiles have the names they need, and their agents can be run");
            vec![Finding::ok("profile", detail)]
        }
    }
}

fn profile(profile: &ProfileFact) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    found.extend(profile.problems.iter().map(|problem| Finding::error("configuration", problem, "correct it")));
    found.extend(profile.env_error.iter().map(|reason| {
        let detail = format!(".env cannot be used, so the profile has no secret: {reason}");
        Finding::error("env_unusable", detail, "make it a readable UTF-8 file")
    }));
    found.extend(profile.missing.iter().map(|missing| missing_name(missing.key, &missing.name, profile.closed)));
    found.extend(profile.env.iter().cloned());
    found.extend(grant::findings(&profile.grant));
    // A profile with an invalid file has no agent.
    found.extend(agent(&profile.agent).filter(|finding| finding.code != NO_AGENT || profile.problems.is_empty()));
    found.into_iter().map(|finding| finding.of(&profile.name)).collect()
}

const NO_AGENT: &str = "no_agent";

fn agent(agent: &AgentFact) -> Option<Finding> {
    const CODE: &str = "agent_command";
    let (word, found) = match agent {
        AgentFact::None => {
            let detail = "no agent is configured; every message is answered with a notice";
            return Some(Finding::warn(NO_AGENT, detail, "add an agent block to caduceus.yaml"));
        }
        AgentFact::NoProcess => return None,
        AgentFact::Command { word, found } => (word, found),
    };
    match found {
        CommandFound::Yes | CommandFound::Unresolved => None,
        CommandFound::Refers(name) => {
            let detail = format!(
                "agent.command refers to {}, whose value every user could read in the list of processes; the agent is not started",
                shown(name)
            );
            Some(Finding::error("agent_secret", detail, "have the agent read it from its environment, which holds it"))
        }
        CommandFound::NoDirectory(cwd) => {
            let detail = format!("the agent's working directory {} does not exist", cwd.display());
            Some(Finding::error("agent_cwd", detail, "create it, or correct agent.cwd"))
        }
        CommandFound::NotThere => {
            let detail = format!("the agent's command {word:?} is not found");
            let remedy = "install it, write its whole path, or start the gateway with another PATH";
            Some(Finding::error(CODE, detail, remedy))
        }
        CommandFound::NotExecutable => {
            let detail = format!("the agent's command {word:?} is not executable");
            Some(Finding::error(CODE, detail, "chmod +x it, or put its interpreter before it"))
        }
    }
}

fn link(link: &LinkFact) -> Finding {
    const CODE: &str = "connector";
    let (place, credentials, answer) = match link {
        LinkFact::NotSet { credentials: false } => {
            return Finding::ok(CODE, "no connector is configured; messages arrive by signed delivery only");
        }
        LinkFact::NotSet { credentials: true } => {
            let detail = "credentials for a connector are set, and no address of one";
            return Finding::warn(CODE, detail, "set GATEWAY_RELAY_URL");
        }
        LinkFact::Undialable(why) => return Finding::error(CODE, why, "correct GATEWAY_RELAY_URL"),
        LinkFact::Probed { place, credentials, sent, answer } => (place, (*credentials, *sent), answer),
    };
    let (credentials, sent) = credentials;
    match answer {
        ProbeResult::Answered(code @ (401 | 403)) if sent == Sent::Token => refused(place, *code),
        ProbeResult::Closed(code) if *code == REFUSED => refused(place, *code),
        ProbeResult::Closed(code) => {
            let detail = format!("{place} accepts the link and closes it at once with {code}");
            Finding::warn(CODE, detail, "find the reason in the connector's log")
        }
        ProbeResult::Opened if sent == Sent::Token => {
            Finding::ok(CODE, format!("the connector at {place} accepts the gateway's credentials"))
        }
        ProbeResult::Answered(401 | 403) | ProbeResult::Opened if sent == Sent::Withheld => {
            let detail = format!(
                "the connector at {place} answers; the status of the running gateway shows whether it accepts the credentials"
            );
            Finding::ok(CODE, detail)
        }
        ProbeResult::Unreachable(reason) => {
            let detail = format!("{place}: {reason}");
            Finding::error(CODE, detail, "start it, or correct GATEWAY_RELAY_URL, the network or its certificate")
        }
        ProbeResult::Answered(401 | 403) if !credentials => {
            let detail = format!("{place} requires a token, and there are no credentials to make one from");
            Finding::error(CODE, detail, "enroll, or set GATEWAY_RELAY_ID and GATEWAY_RELAY_SECRET")
        }
        ProbeResult::Answered(401 | 403) | ProbeResult::Opened => {
            Finding::ok(CODE, format!("the connector at {place} answers"))
        }
        ProbeResult::Answered(status) => {
            let detail = format!("{place} answers with {status}, unlike a connector");
            Finding::warn(CODE, detail, "check GATEWAY_RELAY_URL and the connector")
        }
    }
}

/// The code with which a connector refuses credentials on an open link.
const REFUSED: u16 = 4401;

/// The connector does not accept the credentials.
fn refused(place: &str, code: u16) -> Finding {
    let (why, remedy) = if code == 403 {
        (
            "recognises the gateway and refuses it",
            "ask the operator of the connector whether the gateway was barred or moved",
        )
    } else {
        (
            "does not accept GATEWAY_RELAY_ID and GATEWAY_RELAY_SECRET",
            "enroll again, or write the present pair into .env; if they are right, check this machine's clock",
        )
    };
    Finding::error("connector", format!("{place} {why} ({code})"), remedy)
}

/// Findings about the network.
fn network(network: &NetworkFact) -> Vec<Finding> {
    let mut found = Vec::new();
    for (key, address, why) in &network.unusable {
        let detail = format!("{key} {address} cannot be listened on: {why}");
        let remedy = format!("stop the process that listens there, or set another {key}");
        found.push(Finding::error("bind", detail, remedy));
    }
    if network.public_without_secret {
        let detail = "http.bind is reachable from other machines, and no drain secret is set: other machines can neither drain nor see the status";
        let remedy = "set HERMES_DASHBOARD_DRAIN_SECRET (`caduceus secrets generate`), or bind 127.0.0.1";
        found.push(Finding::warn("public_bind", detail, remedy));
    }
    found
}

/// Findings about profiles and routes that have no effect.
fn unserved(unserved: &UnservedFact) -> Vec<Finding> {
    let names = |names: &[String]| names.join(", ");
    let mut found = Vec::new();
    if !unserved.profiles.is_empty() {
        let detail = format!(
            "profiles/ holds {}, and multiplex_profiles is off: they are not served",
            names(&unserved.profiles)
        );
        let remedy = "set gateway.multiplex_profiles: true in config.yaml, or move the directories away";
        found.push(Finding::warn("unserved_profiles", detail, remedy));
    }
    for (route, profile) in &unserved.routes {
        let detail =
            format!("the route {route} leads to the profile {profile}, which is not served; its messages are refused");
        let remedy = format!("create profiles/{profile}, or correct profile_routes in config.yaml");
        found.push(Finding::warn("unserved_route", detail, remedy));
    }
    found
}

fn drain(drain: &DrainFact) -> Finding {
    const CODE: &str = "drain_secret";
    match drain {
        DrainFact::None => Finding::ok(CODE, "no drain secret is set; a drain can begin by its marker only"),
        DrainFact::Strong => Finding::ok(CODE, "the drain secret is strong enough"),
        DrainFact::Weak(weakness) => {
            let detail = format!("drains over HTTP are refused: {weakness}");
            Finding::error(CODE, detail, "make a new one with `caduceus secrets generate`")
        }
    }
}

#[cfg(test)]
mod tests;
