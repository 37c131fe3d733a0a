//! Each fact that is not as it should be is a finding with a remedy.

use caduceus_actors::honcho::inspect::{Credential, GrantInspection};
use caduceus_actors::profile::inspect::Missing;
use caduceus_actors::profile::strength::Weakness;
use caduceus_actors::relay::gateway_key::GatewayKey;

use super::*;
use crate::cli::files::FileFact;
use crate::cli::finding::{Level, worst};

fn good() -> HomeFacts {
    let work = ProfileFact {
        name: "work".into(),
        home: "/h".into(),
        closed: true,
        problems: Vec::new(),
        env_error: None,
        missing: Vec::new(),
        gateway: None,
        env: Vec::new(),
        agent: AgentFact::Command { word: "sh".into(), found: CommandFound::Yes },
        grant: GrantInspection {
            path: "/h/honcho.json".into(),
            host: "hermes_work".into(),
            credential: Credential::None,
            replaceable: true,
            kept: None,
        },
    };
    HomeFacts {
        home: HomeFact::There { mode: 0o755, writable: true },
        events: Some(EventsFact { needed: 3, made: 3, limit: None }),
        profiles: vec![work],
        link: Some(probed(true, ProbeResult::Answered(401))),
        drain: Some(DrainFact::Strong),
        ..HomeFacts::default()
    }
}

fn probed(credentials: bool, answer: ProbeResult) -> LinkFact {
    let sent = if credentials { Sent::Withheld } else { Sent::None };
    LinkFact::Probed { place: "wss://c.example".into(), credentials, sent, answer }
}

fn upgraded(answer: ProbeResult) -> LinkFact {
    LinkFact::Probed { place: "wss://c.example".into(), credentials: true, sent: Sent::Token, answer }
}

#[test]
fn a_real_upgrade_distinguishes_a_wrong_secret_from_a_right_one() {
    for (answer, level) in [
        (ProbeResult::Answered(401), Level::Error),
        (ProbeResult::Answered(403), Level::Error),
        (ProbeResult::Closed(4401), Level::Error),
        (ProbeResult::Closed(1011), Level::Warn),
        (ProbeResult::Answered(500), Level::Warn),
    ] {
        assert_eq!(after(|facts| facts.link = Some(upgraded(answer.clone()))), (level, "connector"), "{answer:?}");
    }
    let taken = findings(&HomeFacts { link: Some(upgraded(ProbeResult::Opened)), ..good() });
    assert_eq!(worst(&taken), Level::Ok, "{taken:?}");
}

#[test]
fn settings_without_effect_and_addresses_in_use_are_reported() {
    let address = "127.0.0.1:8652".parse().unwrap();
    let taken = vec![("http.bind", address, "Address already in use".to_owned())];
    assert_eq!(after(|facts| facts.network.unusable = taken), (Level::Error, "bind"));
    assert_eq!(after(|facts| facts.network.public_without_secret = true), (Level::Warn, "public_bind"));
    assert_eq!(after(|facts| facts.unserved.profiles = vec!["work".into()]), (Level::Warn, "unserved_profiles"));
    let route = vec![("r".to_owned(), "ghost".to_owned())];
    assert_eq!(after(|facts| facts.unserved.routes = route), (Level::Warn, "unserved_route"));
    let odd = Finding::warn("env_comment", "odd", "correct it");
    assert_eq!(after(|facts| facts.profiles[0].env = vec![odd]), (Level::Warn, "env_comment"));
}

/// The one finding above ok that a change to good facts makes.
fn after(change: impl FnOnce(&mut HomeFacts)) -> (Level, &'static str) {
    let mut facts = good();
    change(&mut facts);
    let mut found = findings(&facts);
    found.retain(|finding| finding.level > Level::Ok);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].remedy.is_some(), "{found:?}");
    (found[0].level, found[0].code)
}

#[test]
fn without_a_problem_every_part_has_an_ok_finding() {
    let found = findings(&good());
    assert_eq!(worst(&found), Level::Ok, "{found:?}");
    let codes: Vec<_> = found.iter().map(|finding| finding.code).collect();
    let parts =
        ["home", "configuration", "file_mode", "lock", "file_events", "ledger", "profile", "connector", "drain_secret"];
    assert_eq!(codes, parts);
}

#[test]
fn the_grant_of_a_profile_is_checked_with_it() {
    let broken = |facts: &mut HomeFacts| facts.profiles[0].grant.credential = Credential::Unusable("line 1".into());
    assert_eq!(after(broken), (Level::Error, "grant_file"));
}

#[test]
fn a_profile_with_the_credentials_of_another_is_an_error_of_that_profile() {
    let mut facts = good();
    let gateway = Some(GatewayKey::new("wss://c.example", "gw"));
    facts.profiles[0].gateway.clone_from(&gateway);
    let fact = ProfileFact { name: "work-2".into(), gateway, ..good().profiles.remove(0) };
    facts.profiles.push(fact);
    let found: Vec<_> = findings(&facts).into_iter().filter(|finding| finding.level > Level::Ok).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].level, found[0].code, found[0].profile.as_deref()),
        (Level::Error, "shared_gateway", Some("work-2"))
    );
}

#[test]
fn without_a_home_there_is_no_other_finding() {
    for home in [HomeFact::Missing, HomeFact::Unusable("permission denied".into())] {
        let found = findings(&HomeFacts { home, ..good() });
        assert_eq!(
            found.iter().map(|finding| (finding.level, finding.code)).collect::<Vec<_>>(),
            [(Level::Error, "home")]
        );
    }
}

#[test]
fn a_home_that_cannot_be_written_is_an_error_and_one_that_others_write_a_warning() {
    let home = |mode, writable| after(|facts| facts.home = HomeFact::There { mode, writable });
    assert_eq!(home(0o700, false), (Level::Error, "home"));
    assert_eq!(home(0o775, true), (Level::Warn, "home"));
}

#[test]
fn every_error_of_the_configuration_is_a_separate_finding() {
    let mut facts = good();
    facts.errors = vec!["a: wrong".into(), "b: wrong".into()];
    facts.warnings = vec!["c is odd".into()];
    let found = findings(&facts);
    let levels: Vec<_> =
        found.iter().filter(|finding| finding.code == "configuration").map(|finding| finding.level).collect();
    assert_eq!(levels, [Level::Error, Level::Error, Level::Warn]);
}

#[test]
fn files_lock_and_file_events_are_checked() {
    let file = FileFact { path: "/h/caduceus.db".into(), mode: 0o660 };
    assert_eq!(after(|facts| facts.files = vec![file]), (Level::Warn, "file_mode"));
    assert_eq!(after(|facts| facts.lock = Err("denied".into())), (Level::Error, "lock"));
    assert!(
        findings(&HomeFacts { lock: Ok(true), ..good() }).iter().any(|finding| finding.detail.contains("is running"))
    );
    for limit in [WatchLimit::Instances, WatchLimit::Watches, WatchLimit::Other("x".into())] {
        let events = EventsFact { needed: 3, made: 1, limit: Some(limit) };
        assert_eq!(after(|facts| facts.events = Some(events)), (Level::Warn, "file_events"));
    }
}

#[test]
fn a_ledger_that_this_build_cannot_use_is_an_error_and_one_set_aside_a_warning() {
    let newer = u32::try_from(KNOWN_VERSION).unwrap() + 1;
    for peek in [Ok(Peek::Foreign), Ok(Peek::Version(newer)), Err("denied".into())] {
        assert_eq!(after(|facts| facts.ledger.peek = peek), (Level::Error, "ledger"));
    }
    for peek in [Peek::Fresh, Peek::Version(newer - 1)] {
        let mut facts = good();
        facts.ledger.peek = Ok(peek);
        assert_eq!(worst(&findings(&facts)), Level::Ok);
    }
    assert_eq!(after(|facts| facts.ledger.second = Some("/h/caduceus.db".into())), (Level::Error, "ledger"));
    let aside = vec!["/h/caduceus.db.damaged-x".to_owned()];
    assert_eq!(after(|facts| facts.ledger.set_aside = aside), (Level::Warn, "ledger_set_aside"));
}

#[test]
fn an_agent_that_cannot_be_started_is_an_error_and_none_at_all_a_warning() {
    let agent = |found| after(|facts| facts.profiles[0].agent = AgentFact::Command { word: "sh".into(), found });
    assert_eq!(agent(CommandFound::NotThere), (Level::Error, "agent_command"));
    assert_eq!(agent(CommandFound::NotExecutable), (Level::Error, "agent_command"));
    assert_eq!(agent(CommandFound::Refers("KEY".into())), (Level::Error, "agent_secret"));
    assert_eq!(agent(CommandFound::NoDirectory("/gone".into())), (Level::Error, "agent_cwd"));
    assert_eq!(after(|facts| facts.profiles[0].agent = AgentFact::None), (Level::Warn, "no_agent"));
}

#[test]
fn the_findings_of_a_profile_are_reported_once_and_with_its_name() {
    let missing = || vec![Missing { key: "agent.command", name: "NEEDED".into() }];
    assert_eq!(after(|facts| facts.profiles[0].missing = missing()), (Level::Error, "missing_name"));
    let open = |facts: &mut HomeFacts| {
        facts.profiles[0].missing = missing();
        facts.profiles[0].closed = false;
    };
    assert_eq!(after(open), (Level::Warn, "missing_name"), "the gateway may be started with it");
    assert_eq!(after(|facts| facts.profiles[0].env_error = Some("x".into())), (Level::Error, "env_unusable"));
    let broken = |facts: &mut HomeFacts| {
        facts.profiles[0].problems = vec!["x.yaml: is not UTF-8".into()];
        facts.profiles[0].agent = AgentFact::None;
    };
    assert_eq!(after(broken), (Level::Error, "configuration"), "a broken file is why there is no agent");
    let mut facts = good();
    facts.profiles[0].env_error = Some("x".into());
    assert!(findings(&facts).iter().any(|finding| finding.profile.as_deref() == Some("work")));
}

#[test]
fn a_connector_that_requires_a_token_is_ok_if_there_are_credentials() {
    let link = |link| after(|facts| facts.link = Some(link));
    assert_eq!(link(probed(true, ProbeResult::Unreachable("refused".into()))), (Level::Error, "connector"));
    assert_eq!(link(probed(false, ProbeResult::Answered(401))), (Level::Error, "connector"));
    assert_eq!(link(probed(true, ProbeResult::Answered(404))), (Level::Warn, "connector"));
    assert_eq!(link(LinkFact::Undialable("no host".into())), (Level::Error, "connector"));
    assert_eq!(link(LinkFact::NotSet { credentials: true }), (Level::Warn, "connector"));
    for good_link in
        [probed(false, ProbeResult::Opened), probed(true, ProbeResult::Opened), LinkFact::NotSet { credentials: false }]
    {
        assert_eq!(worst(&findings(&HomeFacts { link: Some(good_link), ..good() })), Level::Ok);
    }
}

#[test]
fn a_weak_drain_secret_is_an_error_and_none_is_fine() {
    assert_eq!(after(|facts| facts.drain = Some(DrainFact::Weak(Weakness::Empty))), (Level::Error, "drain_secret"));
    assert_eq!(worst(&findings(&HomeFacts { drain: Some(DrainFact::None), ..good() })), Level::Ok);
}
