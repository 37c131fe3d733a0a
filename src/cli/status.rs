//! `caduceus status`: the status of a gateway, in a few lines or in full.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use actix_web::rt::time::sleep;
use caduceus_actors::status::state_file;
use caduceus_contract::status::readiness::ReadinessLevel;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::contact::{CommandError, Contact, GatewayPlace, conclude_with};
use crate::out::{print, print_json};
use crate::stream::Stream;
use crate::terminal::one_line;

/// How often a watch looks.
const LOOK: Duration = Duration::from_secs(1);

/// Exit code of `--check`: turns are admitted, and a part is failed or down.
const DEGRADED: u8 = 1;
/// Exit code of `--check`: no turn is admitted.
const NOT_READY: u8 = 3;

/// Show the status of a gateway, and what is wrong with it.
///
/// Exits with 0 if it answers, with 69 if there is none, with 75 if there is one that does not answer. With --check: with 0 if it is
/// ready, with 1 if it is degraded (turns are admitted; a profile, link, grant or file is failed or down), with 3 if it is not ready.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    place: GatewayPlace,
    /// Keep running, and print the status again after each change.
    #[arg(long)]
    watch: bool,
    /// Print the whole status, one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Exit with 0 only if the gateway is ready and nothing is wrong.
    #[arg(long, conflicts_with = "watch")]
    check: bool,
}

pub(crate) fn run(arguments: StatusArguments) -> ExitCode {
    conclude_with(async {
        let contact = arguments.place.find()?;
        let mut said = String::new();
        loop {
            let status = match look(&contact).await {
                Ok(status) => status,
                // A watch goes on while the gateway, or a part of it, is down.
                Err(error) if arguments.watch && error.may_pass() => json!({"error": error.to_string()}),
                Err(error) => return Err(error),
            };
            let text = if arguments.json { status.to_string() } else { summary(&status) };
            if text != said {
                if arguments.json {
                    print_json(&status, false);
                } else {
                    print(&text);
                }
                said = text;
            }
            // A watch without a reader ends.
            if !arguments.watch || !Stream::Output.has_reader() {
                let code = if arguments.check { code(readiness(&status)) } else { 0 };
                return Ok(ExitCode::from(code));
            }
            sleep(LOOK).await;
        }
    })
}

async fn look(contact: &Contact) -> Result<Value, CommandError> {
    match contact.client().await? {
        Some(client) => match client.get("/api/status", Duration::ZERO).await? {
            status if status.is_object() => Ok(status),
            _ => Err(CommandError::NoAnswer("the answer is not a status; is this a gateway?".to_owned())),
        },
        None => Err(match (contact.no_gateway(), contact.home.as_deref().and_then(last_words)) {
            (CommandError::NoGateway(why), Some(last)) => CommandError::NoGateway(format!("{why}; {last}")),
            (error, _) => error,
        }),
    }
}

/// The record of the last gateway of a home.
fn last_words(home: &Path) -> Option<String> {
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

/// Whether it is ready, as it reports; an earlier version reports otherwise.
fn readiness(status: &Value) -> ReadinessLevel {
    let word = status.get("readiness").and_then(|word| ReadinessLevel::deserialize(word).ok());
    word.unwrap_or_else(|| {
        let is_running = status.get("gateway_state").and_then(Value::as_str) == Some("running");
        let refuses = status.get("not_ready").is_some_and(|why| !why.is_null());
        if is_running && !refuses { ReadinessLevel::Ready } else { ReadinessLevel::NotReady }
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
fn summary(status: &Value) -> String {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(one_line);
    let known = |value: &Value, name: &str| text(value, name).unwrap_or_else(|| "?".to_owned());
    let count = |name: &str| status.get(name).and_then(Value::as_u64).unwrap_or_default();
    if let Some(error) = text(status, "error") {
        return format!("{error}\n");
    }
    let state = known(status, "gateway_state");
    let well = match readiness(status) {
        ReadinessLevel::Degraded => ", degraded",
        ReadinessLevel::NotReady if state == "running" => ", not ready",
        // Every other state implies it.
        ReadinessLevel::Ready | ReadinessLevel::NotReady => "",
    };
    let mut lines = format!("{state}{well} since {}\n", known(status, "gateway_updated_at"));
    for issue in list(status, "issues") {
        let named = [known(issue, "part"), text(issue, "name").unwrap_or_default()].join(" ");
        let _ = write!(lines, "  {}: {}", named.trim_end(), known(issue, "state"));
        let _ = match text(issue, "detail") {
            Some(detail) => writeln!(lines, ": {detail}"),
            None => writeln!(lines),
        };
    }
    for (name, _) in status.get("stale").and_then(Value::as_object).into_iter().flatten() {
        let _ = writeln!(lines, "  {}: does not answer; what is shown of it is old", one_line(name));
    }
    if status.get("issues").is_none() && readiness(status) != ReadinessLevel::Ready {
        lines.push_str("  the cause is shown on the gateway's own machine or with its token\n");
    }
    let _ = writeln!(lines, "turns: {}, sessions: {}", count("active_agents"), count("active_sessions"));
    for (name, platform) in status.get("gateway_platforms").and_then(Value::as_object).into_iter().flatten() {
        let _ = write!(lines, "platform {}: {}", one_line(name), known(platform, "state"));
        let _ = match text(platform, "error_message").or_else(|| text(platform, "error_code")) {
            Some(why) => writeln!(lines, " ({why})"),
            None => writeln!(lines),
        };
    }
    let profiles: Vec<_> = list(status, "profiles").filter_map(Value::as_str).map(one_line).collect();
    let _ = writeln!(lines, "profiles: {}", profiles.join(", "));
    lines
}

fn list<'a>(status: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    status.get(name).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_shows_the_state_what_is_wrong_and_since_when() {
        let status = json!({
            "gateway_state": "running", "gateway_updated_at": "T", "readiness": "degraded", "not_ready": null, "active_agents": 2,
            "issues": [
                {"level": "degraded", "part": "link", "name": "relay", "state": "failed", "detail": "panic: boom"},
                {"level": "degraded", "part": "configuration", "name": "", "state": "wrong", "detail": null},
            ],
            "stale": {"honcho": 500},
            "active_sessions": 3, "gateway_platforms": {"discord": {"state": "fatal", "error_code": "relay_failed"}},
            "profiles": ["default", "work"],
        });
        let expected = "running, degraded since T\n  link relay: failed: panic: boom\n  configuration: wrong\n  \
            honcho: does not answer; what is shown of it is old\nturns: 2, sessions: 3\n\
            platform discord: fatal (relay_failed)\nprofiles: default, work\n";
        assert_eq!(summary(&status), expected);
        assert!(summary(&json!({})).starts_with("? since ?"));
    }

    #[test]
    fn nothing_of_the_status_makes_a_line_or_an_order_of_its_own() {
        let odd = "x\u{1b}[2J\nplatform discord: connected";
        let status = json!({
            "gateway_state": odd, "gateway_updated_at": odd, "readiness": "degraded",
            "issues": [{"level": "degraded", "part": odd, "name": odd, "state": odd, "detail": odd}],
            "stale": {odd: 1},
            "gateway_platforms": {odd: {"state": odd, "error_message": odd}}, "profiles": [odd],
        });
        let text = summary(&status);
        assert_eq!(text.lines().count(), 6, "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert_eq!(summary(&json!({"error": odd})).lines().count(), 1);
    }

    #[test]
    fn a_check_exits_with_the_readiness_and_reads_earlier_versions() {
        let of = |status: Value| code(readiness(&status));
        assert_eq!(of(json!({"readiness": "ready", "gateway_state": "running"})), 0);
        assert_eq!(of(json!({"readiness": "degraded", "gateway_state": "running"})), 1);
        assert_eq!(of(json!({"readiness": "not_ready", "gateway_state": "draining"})), 3);
        assert_eq!(of(json!({"gateway_state": "running", "not_ready": null})), 0);
        assert_eq!(of(json!({"gateway_state": "running", "not_ready": "ledger"})), 3);
        assert_eq!(of(json!({"gateway_state": "draining"})), 3);
        assert_eq!(of(json!({})), 3);
    }
}
