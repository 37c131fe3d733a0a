//! The findings of the audit, from the facts about the profiles. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use caduceus_actors::profile::globals::{is_deployment, is_global, is_own, is_valid_variable};
use caduceus_actors::profile::inspect::Inspection;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::env_lines;
use crate::cli::files::{FileFact, exposed};
use crate::cli::finding::{Finding, lines, looks_like_a_name, missing_name, shown};
use crate::cli::gateways;

/// A shorter value is `true` or a number, and shared by accident.
const MIN_SHARED_CHARS: usize = 8;
/// Longest line of names.
const WIDTH: usize = 100;

/// The facts about one profile.
#[derive(Debug)]
pub(super) struct ProfileFacts {
    pub(super) name: String,
    /// Whether its `.env` is all that it has, regardless of the gateway's environment.
    pub(super) closed: bool,
    pub(super) inspection: Inspection,
    /// The names that its agent would see; `None` if it has no agent that is a process.
    pub(super) child: Option<Vec<String>>,
    /// What is wrong with its own configuration, one sentence each.
    pub(super) problems: Vec<String>,
    /// Its files with secrets.
    pub(super) files: Vec<FileFact>,
}

/// The report.
#[derive(Debug)]
pub(super) struct AuditReport {
    profiles: Vec<ProfileReport>,
    pub(super) findings: Vec<Finding>,
}

/// The names of one profile. What does not look like a name is replaced.
#[derive(Debug, Serialize)]
struct ProfileReport {
    name: String,
    /// In its `.env`.
    holds: Vec<String>,
    /// What it takes from the environment of the process besides.
    from_process: Vec<String>,
    /// `null` if it has no agent that is a process.
    child_sees: Option<Vec<String>>,
    kept_from_child: Vec<WithheldName>,
    missing: Vec<MissingName>,
}

#[derive(Debug, Serialize)]
struct WithheldName {
    name: String,
    why: WithheldReason,
}

#[derive(Debug, Serialize)]
struct MissingName {
    key: &'static str,
    name: String,
}

/// Why a name that a profile holds is not given to its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum WithheldReason {
    /// No process can have it.
    Impossible,
    /// The process's own value is used.
    Global,
    /// It belongs to the deployment.
    Deployment,
    /// It configures the gateway itself.
    Process,
}

/// Makes the report. `key` is new and random: values are compared by a hash that has no use elsewhere.
pub(super) fn report(profiles: &[ProfileFacts], key: &[u8; 32]) -> AuditReport {
    let mut findings: Vec<Finding> = profiles.iter().flat_map(of_one).collect();
    findings.extend(shared(profiles, key));
    let gateways = profiles.iter().map(|profile| (profile.name.as_str(), profile.inspection.gateway.as_ref()));
    findings.extend(gateways::shared(gateways));
    let mut seen = Vec::new();
    findings.retain(|finding| {
        let first = !seen.contains(finding);
        seen.extend(first.then(|| finding.clone()));
        first
    });
    AuditReport { profiles: profiles.iter().map(names).collect(), findings }
}

fn names(profile: &ProfileFacts) -> ProfileReport {
    let Inspection { own, missing, .. } = &profile.inspection;
    let kept = own.iter().filter_map(|(name, value)| {
        let why = withheld_reason(name, value.expose_secret())?;
        Some(WithheldName { name: shown(name).into_owned(), why })
    });
    let lacking = |lacking: &caduceus_actors::profile::inspect::Missing| MissingName {
        key: lacking.key,
        name: shown(&lacking.name).into_owned(),
    };
    ProfileReport {
        name: profile.name.clone(),
        holds: own.names().map(|name| shown(name).into_owned()).collect(),
        from_process: profile
            .inspection
            .names()
            .filter(|name| own.get(name).is_none())
            .map(|name| shown(name).into_owned())
            .collect(),
        child_sees: profile.child.as_ref().map(|names| names.iter().map(|name| shown(name).into_owned()).collect()),
        kept_from_child: kept.collect(),
        missing: missing.iter().map(lacking).collect(),
    }
}

fn withheld_reason(name: &str, value: &str) -> Option<WithheldReason> {
    let table = [
        (!is_valid_variable(name, value), WithheldReason::Impossible),
        (is_global(name), WithheldReason::Global),
        (is_deployment(name), WithheldReason::Deployment),
        (is_own(name), WithheldReason::Process),
    ];
    table.into_iter().find_map(|(is_it, why)| is_it.then_some(why))
}

fn of_one(profile: &ProfileFacts) -> Vec<Finding> {
    let ProfileFacts { name, inspection, problems, files, .. } = profile;
    let mut found = Vec::new();
    for problem in problems {
        found.push(Finding::error("configuration", problem, "correct the file").of(name));
    }
    if let Some(reason) = &inspection.problem {
        let detail = format!(".env cannot be used, so the profile has no secret: {reason}");
        found.push(Finding::error("env_unusable", detail, "make it a readable UTF-8 file").of(name));
    }
    for missing in &inspection.missing {
        found.push(missing_name(missing.key, &missing.name, profile.closed).of(name));
    }
    for (variable, value) in inspection.own.iter() {
        if !is_valid_variable(variable, value.expose_secret()) {
            let detail = format!("{} is a variable that no process can have; no agent gets it", shown(variable));
            let remedy = "take white space out of the name and NUL out of the value";
            found.push(Finding::warn("impossible_variable", detail, remedy).of(name));
        } else if !looks_like_a_name(variable) {
            let detail = format!("{} in .env may be a piece of a secret", shown(variable));
            let remedy = "find the line that was broken or pasted in; a value is on one line, after its name";
            found.push(Finding::warn("odd_name", detail, remedy).of(name));
        }
    }
    // What is kept from every child has its finding above.
    let odd = env_lines::findings(&inspection.own, &inspection.missing);
    found.extend(odd.into_iter().map(|finding| finding.of(name)));
    found.extend(exposed(files));
    found
}

/// A finding for each value that more than one profile holds.
fn shared(profiles: &[ProfileFacts], key: &[u8; 32]) -> Vec<Finding> {
    let mut holders: BTreeMap<[u8; 32], Vec<(&str, &str)>> = BTreeMap::new();
    for profile in profiles {
        for (name, tag) in profile.inspection.tags(key, MIN_SHARED_CHARS) {
            holders.entry(tag).or_default().push((&profile.name, name));
        }
    }
    let mut found: Vec<String> = holders
        .into_values()
        .filter(|held| held.iter().any(|(profile, _)| *profile != held[0].0))
        .map(|held| {
            held.iter().map(|(profile, name)| format!("{profile} ({})", shown(name))).collect::<Vec<_>>().join(", ")
        })
        .collect();
    // By name, because the order of the hashes differs in each run.
    found.sort_unstable();
    let finding = |held: String| {
        let detail = format!("one value is held by {held}");
        Finding::warn("shared_value", detail, "give each profile a separate secret")
    };
    found.into_iter().map(finding).collect()
}

impl AuditReport {
    /// For programs.
    pub(super) fn json(&self, home: &Path, multiplex: bool) -> Value {
        json!({
            "home": home.display().to_string(),
            "multiplex_profiles": multiplex,
            "clean": self.findings.is_empty(),
            "profiles": self.profiles,
            "findings": self.findings,
        })
    }

    /// For people.
    pub(super) fn text(&self, home: &Path) -> String {
        let mut text = format!("home {}\n\n", home.display());
        for profile in &self.profiles {
            profile.write(&mut text);
        }
        text.push_str(&lines(&self.findings));
        text
    }
}

impl ProfileReport {
    fn write(&self, text: &mut String) {
        let _ = writeln!(text, "profile {}", self.name);
        row(text, "holds", &self.holds);
        if !self.from_process.is_empty() {
            row(text, "from here", &self.from_process);
        }
        match &self.child_sees {
            Some(names) => row(text, "agent sees", names),
            None => row(text, "agent sees", &["nothing: it is not a process".to_owned()]),
        }
        let kept: Vec<String> =
            self.kept_from_child.iter().map(|kept| format!("{} ({})", kept.name, kept.why.words())).collect();
        if !kept.is_empty() {
            row(text, "kept back", &kept);
        }
        if !self.missing.is_empty() {
            row(text, "lacks", &self.missing.iter().map(|lacking| lacking.name.clone()).collect::<Vec<_>>());
        }
        text.push('\n');
    }
}

impl WithheldReason {
    fn words(self) -> &'static str {
        match self {
            Self::Impossible => "no process can have it",
            Self::Global => "the process's own is used",
            Self::Deployment => "belongs to the deployment",
            Self::Process => "belongs to the gateway",
        }
    }
}

/// One row of names, broken where it grows too long.
fn row(text: &mut String, title: &str, names: &[String]) {
    let mut line = format!("  {title:<12}");
    if names.is_empty() {
        line.push('-');
    }
    for (place, name) in names.iter().enumerate() {
        let comma = if place + 1 < names.len() { "," } else { "" };
        if line.len() + name.len() > WIDTH && line.trim_start().len() > title.len() {
            let _ = writeln!(text, "{}", line.trim_end());
            line = " ".repeat(14);
        }
        let _ = write!(line, "{name}{comma} ");
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use caduceus_actors::profile::env_file::parse;
    use caduceus_actors::profile::inspect::Missing;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn profile(name: &str, env: &str) -> ProfileFacts {
        ProfileFacts {
            name: name.into(),
            closed: true,
            inspection: Inspection::of(parse(env)),
            child: None,
            problems: Vec::new(),
            files: Vec::new(),
        }
    }

    fn codes(report: &AuditReport) -> Vec<&'static str> {
        report.findings.iter().map(|finding| finding.code).collect()
    }

    fn everything(report: &AuditReport) -> String {
        format!("{}{}", report.text(Path::new("/h")), report.json(Path::new("/h"), true))
    }

    #[test]
    fn a_value_of_two_profiles_is_found_under_any_name_and_not_shown() {
        let profiles = [profile("a", "ONE=hunter2-hunter2\n"), profile("b", "TWO=hunter2-hunter2\nX=other-value")];
        let report = report(&profiles, &KEY);
        assert_eq!(report.findings[0].detail, "one value is held by a (ONE), b (TWO)");
        assert_eq!(codes(&report), ["shared_value"]);
        assert!(!everything(&report).contains("hunter2"));
    }

    #[test]
    fn short_values_platform_names_and_repeats_within_one_profile_are_not_shared() {
        let env = "A=1234567\nGATEWAY_RELAY_PLATFORM=telegram-long";
        let own = format!("{env}\nC=same-value-1\nD=same-value-1");
        assert!(report(&[profile("a", &own), profile("b", env)], &KEY).findings.is_empty());
        let relay = "GATEWAY_RELAY_SECRET=same-value-1";
        assert_eq!(codes(&report(&[profile("a", relay), profile("b", relay)], &KEY)), ["shared_value"]);
    }

    #[test]
    fn a_profile_with_the_credentials_of_another_is_named() {
        let relay = "GATEWAY_RELAY_URL=wss://c.example\nGATEWAY_RELAY_ID=gw\nGATEWAY_RELAY_SECRET=";
        let of = |name, secret: &str| profile(name, &format!("{relay}{secret}\n"));
        let clone = report(&[of("a", "same-value-1"), of("b", "same-value-1")], &KEY);
        assert_eq!(codes(&clone), ["shared_value", "shared_gateway"]);
        assert_eq!(clone.findings[1].profile.as_deref(), Some("b"));
        assert_eq!(codes(&report(&[of("a", "value-number-1"), of("b", "value-number-2")], &KEY)), ["shared_gateway"]);
    }

    #[test]
    fn a_name_that_is_kept_from_the_child_has_a_reason() {
        let env = "A B=1\nPATH=/x\nHONCHO_OAUTH_X=1\nCADUCEUS_X=1\nGOOD=1\nN=x\0y";
        let report = report(&[profile("a", env)], &KEY);
        let kept: Vec<_> =
            report.profiles[0].kept_from_child.iter().map(|kept| (kept.name.as_str(), kept.why)).collect();
        let odd = "(unusual name of 3 characters)";
        let expected = [
            (odd, WithheldReason::Impossible),
            ("CADUCEUS_X", WithheldReason::Process),
            ("HONCHO_OAUTH_X", WithheldReason::Deployment),
            ("N", WithheldReason::Impossible),
            ("PATH", WithheldReason::Global),
        ];
        assert_eq!(kept, expected);
        assert_eq!(codes(&report), ["impossible_variable", "impossible_variable"]);
    }

    #[test]
    fn a_part_of_a_key_in_place_of_a_name_is_found_and_not_shown() {
        let report = report(&[profile("a", "KEY=-----BEGIN-----\nMIIEvQIBADANBgkq=\n")], &KEY);
        assert_eq!(codes(&report), ["odd_name"]);
        assert!(!everything(&report).contains("MIIEv"));
    }

    #[test]
    fn a_key_in_place_of_its_name_is_not_shown() {
        let mut facts = profile("a", "");
        facts.inspection.missing = vec![Missing { key: "agent.api_key_env", name: "sk-live-Hunter2".into() }];
        let report = report(&[facts], &KEY);
        assert!(report.findings[0].remedy.as_ref().unwrap().contains("move it"), "{report:?}");
        assert!(!everything(&report).contains("Hunter2"));
    }

    #[test]
    fn every_problem_of_a_profile_is_a_finding() {
        let mut facts = profile("work", "");
        facts.inspection.problem = Some("it is not UTF-8 at byte 3".into());
        facts.inspection.missing = vec![Missing { key: "agent.command", name: "NEEDED".into() }];
        facts.problems = vec!["x.yaml: is not UTF-8".into()];
        facts.files = vec![FileFact { path: "/h/.env".into(), mode: 0o644 }];
        let report = report(&[facts], &KEY);
        assert_eq!(codes(&report), ["configuration", "env_unusable", "missing_name", "file_mode"]);
        assert_eq!(report.json(Path::new("/h"), false)["clean"], false);
        assert!(report.text(Path::new("/h")).contains("lacks       NEEDED"), "{}", report.text(Path::new("/h")));
    }
}
