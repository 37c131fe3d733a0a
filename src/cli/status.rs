//! `caduceus status`: how a gateway is, in a few lines or in full.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use actix_web::rt::time::sleep;
use caduceus_actors::status::record;
use serde_json::Value;

use super::contact::{CommandError, Contact, Place, conclude};
use crate::out::print;
use crate::stream::Stream;

/// How often a watch looks.
const LOOK: Duration = Duration::from_secs(1);

/// Say how a gateway is.
///
/// Exits with 0 if it answers, with 69 if there is none, with 75 if there is one that does not answer.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Go on, and say it again whenever something changed.
    #[arg(long)]
    watch: bool,
    /// Print the whole status, one JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> ExitCode {
    conclude(async {
        let contact = arguments.place.find()?;
        let mut said = String::new();
        loop {
            let text = match look(&contact).await {
                Ok(status) if arguments.json => format!("{status}\n"),
                Ok(status) => summary(&status),
                // A watch outlives the gateway that it watches, and whatever of it is down for a while.
                Err(error) if arguments.watch && error.may_pass() => {
                    if arguments.json {
                        format!("{}\n", serde_json::json!({"error": error.to_string()}))
                    } else {
                        format!("{error}\n")
                    }
                }
                Err(error) => return Err(error),
            };
            if text != said {
                print(&text);
                said = text;
            }
            // A watch without a reader has nobody to watch for.
            if !arguments.watch || !Stream::Output.has_reader() {
                return Ok(());
            }
            sleep(LOOK).await;
        }
    })
}

async fn look(contact: &Contact) -> Result<Value, CommandError> {
    match contact.client().await? {
        Some(client) => client.get("/api/status", Duration::ZERO).await,
        None => Err(match (contact.nobody(), contact.home.as_deref().and_then(last_words)) {
            (CommandError::Nobody(why), Some(last)) => CommandError::Nobody(format!("{why}; {last}")),
            (error, _) => error,
        }),
    }
}

/// What the last gateway of a home left behind.
fn last_words(home: &Path) -> Option<String> {
    let found = record::read(home)?;
    let state = found.state?;
    let mut text = format!("the last one left it as {state}");
    if let Some(at) = found.updated_at {
        let _ = write!(text, " at {at}");
    }
    if let Some(reason) = found.exit_reason {
        let _ = write!(text, " ({reason})");
    }
    Some(text)
}

/// The status for people; what is not told to everyone is left out where it is not told.
fn summary(status: &Value) -> String {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let count = |name: &str| status.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut lines = format!("{} since {}", text(status, "gateway_state"), text(status, "gateway_updated_at"));
    if let Some(why) = status.get("not_ready").and_then(Value::as_str) {
        let _ = write!(lines, ", not ready: {why}");
    }
    let _ = write!(lines, "\nturns: {}, sessions: {}", count("active_agents"), count("active_sessions"));
    for (name, platform) in status.get("gateway_platforms").and_then(Value::as_object).into_iter().flatten() {
        let _ = write!(lines, "\nplatform {name}: {}", text(platform, "state"));
    }
    let profiles = status.get("profiles").and_then(Value::as_array).into_iter().flatten();
    let profiles: Vec<_> = profiles.filter_map(Value::as_str).collect();
    let _ = writeln!(lines, "\nprofiles: {}", profiles.join(", "));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_summary_says_the_state_and_since_when() {
        let status = json!({
            "gateway_state": "draining", "gateway_updated_at": "T", "not_ready": "draining", "active_agents": 2,
            "active_sessions": 3, "gateway_platforms": {"discord": {"state": "connected"}}, "profiles": ["default", "work"],
        });
        let expected = "draining since T, not ready: draining\nturns: 2, sessions: 3\nplatform discord: connected\nprofiles: default, work\n";
        assert_eq!(summary(&status), expected);
        assert!(summary(&json!({})).starts_with("? since ?"));
    }
}
