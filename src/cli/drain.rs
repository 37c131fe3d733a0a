//! `caduceus drain`: begins a drain, cancels it, shows its progress, waits for its end.

mod progress;
mod request;
mod target;

use std::process::ExitCode;
use std::time::Duration;

use caduceus_contract::profile_name::ProfileName;

use self::target::DrainTarget;
use super::contact::{CommandError, GatewaySelector, conclude};
use crate::out::print;

/// Begin, cancel, show or await a drain: running turns finish, and no new turn is admitted.
///
/// The token of the gateway is taken from `HERMES_DASHBOARD_DRAIN_SECRET` in the environment or from --token-file. Without
/// a token, or if no gateway answers, the marker in the home is used, with the same effect.
#[derive(Debug, clap::Args)]
pub(crate) struct DrainArguments {
    #[command(subcommand)]
    command: DrainCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DrainCommand {
    /// Begin a drain. Once this returns after an answer of the gateway, no turn starts.
    Begin(Begin),
    /// Cancel a drain. Without a drain this does nothing and succeeds.
    Cancel(DrainSelector),
    /// Show whether a drain is in progress, how many turns are left, and the age of the oldest.
    Status(DrainSelector),
    /// Wait until no turn is left, and print how many are left meanwhile.
    ///
    /// Exits with 0 only when drained: with 1 if there is no drain, or it was cancelled, or the time limit is reached.
    Wait(Wait),
}

#[derive(Debug, clap::Args)]
struct DrainSelector {
    #[command(flatten)]
    gateway: GatewaySelector,
    /// Only this profile, not the whole gateway.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Begin {
    #[command(flatten)]
    selector: DrainSelector,
    /// Announce nothing in the home channel at the shutdown that ends this drain.
    #[arg(long)]
    suppress_notification: bool,
    /// End the drain automatically after this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    deadline: Option<Duration>,
}

#[derive(Debug, clap::Args)]
struct Wait {
    #[command(flatten)]
    selector: DrainSelector,
    /// Wait for at most this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

pub(crate) fn run(arguments: DrainArguments) -> ExitCode {
    conclude(async {
        match arguments.command {
            DrainCommand::Begin(begin) => {
                let drain = begin.selector.find()?;
                request::begin(&drain, begin.suppress_notification, begin.deadline).await
            }
            DrainCommand::Cancel(selector) => request::cancel(&selector.find()?).await,
            DrainCommand::Status(selector) => {
                let drain = selector.find()?;
                print(&format!("{}\n", drain.progress(Duration::ZERO).await?));
                Ok(())
            }
            DrainCommand::Wait(wait) => wait.selector.find()?.wait(wait.timeout).await,
        }
    })
}

impl DrainSelector {
    fn find(self) -> Result<DrainTarget, CommandError> {
        let profile = self.profile.map(|name| named(&name)).transpose()?;
        Ok(DrainTarget { contact: self.gateway.find()?, profile })
    }
}

fn named(text: &str) -> Result<ProfileName, CommandError> {
    let no = |why: &str| Err(CommandError::NotReached(why.to_owned()));
    match ProfileName::parse(&text.trim().to_lowercase()) {
        Ok(name) if name.is_default() => no("the default profile is the gateway itself; leave the profile out"),
        Ok(name) => Ok(name),
        Err(_) => no("that is not the name of a profile"),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let length = text.parse::<f64>().ok().filter(|length| *length > 0.0);
    length.and_then(|length| Duration::try_from_secs_f64(length).ok()).ok_or_else(|| "more than 0 seconds".to_owned())
}
