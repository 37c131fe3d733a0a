//! `caduceus status`: the status of a gateway, in a few lines or in full.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use actix_web::rt::time::sleep;
use caduceus_actors::status::state_file;
use caduceus_contract::api::status::StatusResponse;
use caduceus_contract::status::lifecycle::GatewayState;
use caduceus_contract::status::readiness::ReadinessLevel;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::contact::{CommandError, Contact, GatewaySelector, conclude_with};
use crate::out::{print, print_json};
use crate::stream::Stream;
use crate::terminal::one_line;

/// Interval at which a watch polls.
const POLL: Duration = Duration::from_secs(1);

/// Exit code of `--check`: turns are admitted, and a part is failed or down.
const DEGRADED: u8 = 1;
/// Exit code of `--check`: no turn is admitted.
const NOT_READY: u8 = 3;

/// Show the status of a gateway, and its issues.
///
/// Exits with 0 if the gateway answers, with 69 if there is none, with 75 if it does not answer. With --check: with 0 if it is
/// ready, with 1 if it is degraded (turns are admitted; a profile, link, grant or file is failed or down), with 3 if it is not ready.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    gateway: GatewaySelector,
    /// Keep running, and print the status again after each change.
    #[arg(long)]
    watch: bool,
    /// Print the whole status, one JSON object per line.
    #[arg(long)]
    json: bool,
    /// Exit with 0 only if the gateway is ready and has no issue.
    #[arg(long, conflicts_with = "watch")]
    check: bool,
}

pub(crate) fn run(arguments: StatusArguments) -> ExitCode {
    conclude_with(async {
        let contact = arguments.gateway.find()?;
        let mut last = String::new();
        loop {
            let (json, text, code) = match read_status(&contact).await {
                Ok((json, status)) => {
                    let code = if arguments.check { code(readiness(&status)) } else { 0 };
                    (json, summary(&status), code)
                }
                // A watch continues while the gateway, or a part of it, is down.
                Err(error) if arguments.watch && error.is_temporary() => {
                    let error = error.to_string();
                    (json!({"error": &error}), error_line(&error), 0)
                }
                Err(error) => return Err(error),
            };
            let shown = if arguments.json { json.to_string() } else { text };
            if shown != last {
                if arguments.json {
                    print_json(&json, false);
                } else {
                    print(&shown);
                }
                last = shown;
            }
            // A watch without a reader ends.
            if !arguments.watch || !Stream::Output.has_reader() {
                return Ok(ExitCode::from(code));
            }
            sleep(POLL).await;
        }
    })
}

/// The status as received, and as this command reads it.
async fn read_status(contact: &Contact) -> Result<(Value, StatusResponse), CommandError> {
    let Some(client) = contact.client().await? else {
        return Err(match (contact.no_gateway(), contact.home.as_deref().and_then(last_record)) {
            (CommandError::NoGateway(why), Some(last)) => CommandError::NoGateway(format!("{why}; {last}")),
            (error, _) => error,
        });
    };
    let json: Value = client.get("/api/status", Duration::ZERO).await?;
    match StatusResponse::deserialize(&json) {
        Ok(status) if json.is_object() => Ok((json, status)),
        _ => Err(CommandError::NoAnswer("the answer is not a status; is this a gateway?".to_owned())),
    }
}

/// The record of the last gateway of a home.
fn last_record(home: &Path) -> Option<String> {
    let found = state_file::read(home)?;
    let state = found.state?;
    let mut text = format!("the last one ended in state {state}");
    if let Some(at) = found.updated_at {
        let _ = write!(text, " at {at}");
    }
    if let Some(reason) = found.exit_reason {
        let _ = write!(text, " ({reason})");
    }
    Some(text)
}

/// The readiness that the gateway reports; derived from its state for a version that reports none.
fn readiness(status: &StatusResponse) -> ReadinessLevel {
    status.readiness.unwrap_or_else(|| {
        let is_running = GatewayState::from_name(&status.gateway_state) == Some(GatewayState::Running);
        if is_running && status.not_ready.is_none() { ReadinessLevel::Ready } else { ReadinessLevel::NotReady }
    })
}

fn code(readiness: ReadinessLevel) -> u8 {
    match readiness {
        ReadinessLevel::Ready => 0,
        ReadinessLevel::Degraded => DEGRADED,
        ReadinessLevel::NotReady => NOT_READY,
    }
}

/// The status for people; what the public summary lacks is left out.
fn summary(status: &StatusResponse) -> String {
    let known = |text: &str| if text.is_empty() { "?".to_owned() } else { one_line(text) };
    let readiness = readiness(status);
    let running = GatewayState::from_name(&status.gateway_state) == Some(GatewayState::Running);
    let suffix = match readiness {
        ReadinessLevel::Degraded => ", degraded",
        ReadinessLevel::NotReady if running => ", not ready",
        // Every other state implies it.
        ReadinessLevel::Ready | ReadinessLevel::NotReady => "",
    };
    let mut lines = format!("{}{suffix} since {}\n", known(&status.gateway_state), known(&status.gateway_updated_at));
    for issue in status.issues.iter().flatten() {
        let part = [known(&issue.part), one_line(&issue.name)].join(" ");
        let _ = write!(lines, "  {}: {}", part.trim_end(), known(&issue.state));
        let _ = match &issue.detail {
            Some(detail) => writeln!(lines, ": {}", one_line(detail)),
            None => writeln!(lines),
        };
    }
    for name in status.stale.keys() {
        let _ = writeln!(lines, "  {}: does not answer; its values are out of date", one_line(name));
    }
    if status.issues.is_none() && readiness != ReadinessLevel::Ready {
        lines.push_str("  the cause is shown on the gateway's own machine or with its token\n");
    }
    let _ = writeln!(lines, "turns: {}, sessions: {}", status.active_agents, status.active_sessions);
    for (name, platform) in &status.gateway_platforms {
        let _ = write!(lines, "platform {}: {}", one_line(name), known(&platform.state));
        let _ = match platform.error_message.as_ref().or(platform.error_code.as_ref()) {
            Some(why) => writeln!(lines, " ({})", one_line(why)),
            None => writeln!(lines),
        };
    }
    let profiles: Vec<_> = status.profiles.iter().map(|name| one_line(name)).collect();
    let _ = writeln!(lines, "profiles: {}", profiles.join(", "));
    lines
}

/// What a watch shows while there is no status.
fn error_line(error: &str) -> String {
    format!("{}\n", one_line(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(status: Value) -> StatusResponse {
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn a_summary_shows_the_state_its_time_and_the_issues() {
        let status = parse(json!({
            "gateway_state": "running", "gateway_updated_at": "T", "readiness": "degraded", "not_ready": null, "active_agents": 2,
            "issues": [
                {"level": "degraded", "part": "link", "name": "relay", "state": "failed", "detail": "panic: boom"},
                {"level": "degraded", "part": "configuration", "name": "", "state": "wrong", "detail": null},
            ],
            "stale": {"honcho": 500},
            "active_sessions": 3, "profiles": ["default", "work"],
            "gateway_platforms": {"discord": {"state": "fatal", "error_code": "relay_failed", "updated_at": "T"}},
        }));
        let expected = "running, degraded since T\n  link relay: failed: panic: boom\n  configuration: wrong\n  \
            honcho: does not answer; its values are out of date\nturns: 2, sessions: 3\n\
            platform discord: fatal (relay_failed)\nprofiles: default, work\n";
        assert_eq!(summary(&status), expected);
        let bare = parse(json!({"gateway_state": "", "active_agents": 0}));
        assert!(summary(&bare).starts_with("? since ?"));
    }

    #[test]
    fn a_value_of_the_status_cannot_begin_a_line_or_control_the_terminal() {
        let odd = "x\u{1b}[2J\nplatform discord: connected";
        let status = parse(json!({
            "gateway_state": odd, "gateway_updated_at": odd, "readiness": "degraded", "active_agents": 0,
            "issues": [{"level": "degraded", "part": odd, "name": odd, "state": odd, "detail": odd}],
            "stale": {odd: 1},
            "gateway_platforms": {odd: {"state": odd, "error_message": odd, "updated_at": odd}}, "profiles": [odd],
        }));
        let text = summary(&status);
        assert_eq!(text.lines().count(), 6, "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert_eq!(error_line(odd).lines().count(), 1);
    }

    #[test]
    fn a_check_exits_with_the_readiness_and_reads_earlier_versions() {
        let of = |mut status: Value| {
            status["active_agents"] = json!(0);
            code(readiness(&parse(status)))
        };
        assert_eq!(of(json!({"readiness": "ready", "gateway_state": "running"})), 0);
        assert_eq!(of(json!({"readiness": "degraded", "gateway_state": "running"})), 1);
        assert_eq!(of(json!({"readiness": "not_ready", "gateway_state": "draining"})), 3);
        assert_eq!(of(json!({"gateway_state": "running", "not_ready": null})), 0);
        assert_eq!(of(json!({"gateway_state": "running", "not_ready": "ledger"})), 3);
        assert_eq!(of(json!({"gateway_state": "draining"})), 3);
    }
}
