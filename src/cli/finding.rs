//! The findings of a command that inspects a home, and their output. They contain no secret value.

use std::fmt::Write as _;
use std::path::Path;

pub(super) use caduceus_actors::profile::shown::{looks_like_a_name, shown};
use serde::Serialize;

use crate::terminal::one_line;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// No problem.
    Ok,
    /// The gateway works, but a person should check it.
    Warn,
    /// Something does not work.
    Error,
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// Stable, for programs.
    pub(super) code: &'static str,
    /// Which profile it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) profile: Option<String>,
    /// One sentence.
    pub(super) detail: String,
    /// What a person can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(code: &'static str, detail: impl Into<String>) -> Self {
        Self { level: Level::Ok, code, profile: None, detail: detail.into(), remedy: None }
    }

    pub(super) fn warn(code: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warn, remedy: Some(remedy.into()), ..Self::ok(code, detail) }
    }

    pub(super) fn error(code: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Error, ..Self::warn(code, detail, remedy) }
    }

    #[must_use]
    pub(super) fn of(self, profile: &str) -> Self {
        Self { profile: Some(profile.to_owned()), ..self }
    }
}

/// The level of the worst.
pub(super) fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

/// The findings as lines for people, with a count of them at the end.
pub(super) fn lines(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        let profile = finding.profile.as_ref().map(|name| format!("{}: ", one_line(name))).unwrap_or_default();
        let _ = writeln!(text, "{level:<5}  {profile}{}", one_line(&finding.detail));
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(text, "       → {}", one_line(remedy));
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warn));
    let plural = |count| if count == 1 { "" } else { "s" };
    if !findings.is_empty() {
        text.push('\n');
    }
    match (errors, warnings) {
        (0, 0) => text.push_str("Nothing to correct.\n"),
        _ => {
            let _ = writeln!(text, "{errors} error{}, {warnings} warning{}.", plural(errors), plural(warnings));
        }
    }
    text
}

/// A name that the configuration refers to and a profile lacks. Where the profile is not `closed` the gateway may have it
/// from its own environment, which need not be that of the command.
pub(super) fn missing_name(key: &str, name: &str, closed: bool) -> Finding {
    const CODE: &str = "missing_name";
    if !looks_like_a_name(name) {
        let remedy =
            format!("{key} takes the name of a variable; if a secret stands there, move it to the profile's .env");
        return Finding::error(CODE, format!("{key} needs {}, which is not set", shown(name)), remedy);
    }
    if closed {
        let detail = format!("{key} needs {name}, which is not set");
        Finding::error(CODE, detail, format!("set {name} in the profile's .env"))
    } else {
        let detail = format!("{key} needs {name}, which is neither in .env nor in the environment of this command");
        Finding::warn(CODE, detail, format!("set {name} in .env, unless the gateway is started with it"))
    }
}

/// A path as a word of a shell command.
pub(super) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_counts() {
        let ok = Finding::ok("a", "fine");
        let warn = Finding::warn("b", "unusual", "check it");
        let error = Finding::error("c", "no", "correct it");
        assert_eq!(worst(&[]), Level::Ok);
        assert_eq!(worst(&[ok.clone(), warn.clone()]), Level::Warn);
        assert_eq!(worst(&[error.clone(), warn.clone(), ok]), Level::Error);
        assert!(lines(&[error.of("work"), warn]).ends_with("1 error, 1 warning.\n"));
    }

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
