//! `caduceus drain`: begins a drain, cancels it, says how far it is, waits for its end.

mod order;
mod progress;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use actix_web::rt::time::sleep;
use caduceus_actors::drain::{epoch, store};
use caduceus_actors::profile::name::ProfileName;

use self::progress::{Progress, ProgressStep};
use super::contact::{Client, CommandError, Contact, Place, Presence, conclude};
use crate::out::print;

/// How long the gateway keeps one question open while turns run.
const LOOK: Duration = Duration::from_secs(1);
/// How often the same is said again.
const REMIND: Duration = Duration::from_secs(10);

/// Let running turns finish and admit no new one, and the way back.
///
/// The token of the gateway is taken from `HERMES_DASHBOARD_DRAIN_SECRET` in the environment or from --token-file. Without
/// one, and where no gateway answers, the marker in the home says the same.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Begin a drain. Once this returns after an answer of the gateway, no turn starts.
    Begin(Begin),
    /// End a drain. Ending none is fine.
    Cancel(Which),
    /// Say whether there is a drain, how many turns are left, and how old the oldest is.
    Status(Which),
    /// Wait until no turn is left, and say how many there are meanwhile.
    ///
    /// Exits with 0 only when drained: with 1 if there is no drain, or it was cancelled, or the time is over.
    Wait(Wait),
}

#[derive(Debug, clap::Args)]
struct Which {
    #[command(flatten)]
    place: Place,
    /// One profile alone, not the whole gateway.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Begin {
    #[command(flatten)]
    which: Which,
    /// Announce nothing in the home channel at the shutdown that ends this drain.
    #[arg(long)]
    suppress_notification: bool,
    /// End the drain by itself after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    deadline: Option<Duration>,
}

#[derive(Debug, clap::Args)]
struct Wait {
    #[command(flatten)]
    which: Which,
    /// Wait so many seconds at most.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

/// The drain that a command is about.
struct Drain {
    contact: Contact,
    profile: Option<ProfileName>,
}

pub(crate) fn run(arguments: Arguments) -> ExitCode {
    conclude(async {
        match arguments.command {
            Command::Begin(begin) => {
                let drain = begin.which.find()?;
                order::begin(&drain, begin.suppress_notification, begin.deadline).await
            }
            Command::Cancel(which) => order::cancel(&which.find()?).await,
            Command::Status(which) => {
                let drain = which.find()?;
                print(&format!("{}\n", drain.look(Duration::ZERO).await?));
                Ok(())
            }
            Command::Wait(wait) => wait.which.find()?.wait(wait.timeout).await,
        }
    })
}

impl Which {
    fn find(self) -> Result<Drain, CommandError> {
        let profile = self.profile.map(|name| named(&name)).transpose()?;
        Ok(Drain { contact: self.place.find()?, profile })
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

impl Drain {
    /// Where the marker lies.
    fn marker_home(&self) -> Option<PathBuf> {
        let home = self.contact.home.as_deref()?;
        Some(self.profile.as_ref().map_or_else(|| home.to_owned(), |name| profile_home(home, name)))
    }

    /// How far the drain is; the gateway may keep the question for `patience`.
    async fn look(&self, patience: Duration) -> Result<Progress, CommandError> {
        match self.contact.client().await? {
            Some(client) => self.ask(&client, patience).await,
            None => self.without_gateway(),
        }
    }

    async fn ask(&self, client: &Client, patience: Duration) -> Result<Progress, CommandError> {
        let odd = || CommandError::NoAnswer("it does not tell of its drain".to_owned());
        if self.profile.is_none() && self.contact.has_token() {
            // The gateway itself knows which turn is not waited for.
            let path = format!("/api/gateway/drain?wait={}", patience.as_secs_f64());
            return Progress::of_drain(&client.get(&path, patience).await?).ok_or_else(odd);
        }
        let status = client.get("/api/status", Duration::ZERO).await?;
        let progress = Progress::of_status(&status, self.profile.as_ref(), self.contact.turn.as_deref());
        let progress = progress.ok_or_else(odd)?;
        if progress.step() == ProgressStep::Again {
            sleep(patience).await;
        }
        Ok(progress)
    }

    fn without_gateway(&self) -> Result<Progress, CommandError> {
        match self.contact.presence()? {
            Presence::Absent if self.contact.home.is_some() => Ok(Progress::nobody(self.marker_asks())),
            _ => Err(self.contact.nobody()),
        }
    }

    /// Whether a marker in the home asks for this drain.
    fn marker_asks(&self) -> bool {
        let own = self.marker_home();
        let markers =
            own.iter().chain(&self.contact.home).filter_map(|home| store::read(home, epoch::current().as_ref()));
        markers.into_iter().any(|marker| marker.draining)
    }

    async fn wait(&self, timeout: Option<Duration>) -> Result<(), CommandError> {
        // What lies beyond all time has no end.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut said: Option<(Progress, Instant)> = None;
        loop {
            let progress = self.look(LOOK).await?;
            let news = said.as_ref().is_none_or(|(last, at)| progress.differs(last) || at.elapsed() >= REMIND);
            if news {
                print(&format!("{progress}\n"));
                said = Some((progress.clone(), Instant::now()));
            }
            match progress.step() {
                ProgressStep::Done => return Ok(()),
                // It lies there and the gateway has not looked yet.
                ProgressStep::NoDrain if self.marker_asks() => sleep(LOOK / 4).await,
                ProgressStep::NoDrain => {
                    return Err(CommandError::NotReached("there is no drain to wait for".to_owned()));
                }
                ProgressStep::Again if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return Err(CommandError::NotReached("the time is over and turns are left".to_owned()));
                }
                ProgressStep::Again => {}
            }
        }
    }
}

fn profile_home(home: &Path, name: &ProfileName) -> PathBuf {
    home.join("profiles").join(name.as_str())
}
