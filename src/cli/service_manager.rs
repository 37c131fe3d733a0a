//! What systemd, or whoever else set `NOTIFY_SOCKET`, is told of us.
//!
//! A thread of its own tells it: a socket that nobody reads must not hold up the gateway. It also gives the signs of life,
//! but only while the root's thread gives some, and asks for more time while a shutdown waits for turns.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use caduceus_actors::supervision::Watchdog;
use sd_notify::NotifyState;
use tracing::warn;

/// How much more time is asked for at once, while a shutdown goes on.
const EXTENSION: Duration = Duration::from_secs(30);
/// How often, so that two may be lost.
const EXTEND_EVERY: Duration = Duration::from_secs(10);

/// The way to the thread; with nobody to tell there is none.
#[derive(Debug, Clone, Default)]
pub(super) struct ServiceManager(Option<Sender<News>>);

#[derive(Debug)]
enum News {
    Ready,
    Stopping,
    Status(String),
}

impl ServiceManager {
    /// Starts the thread. `watched` decides on the signs of life.
    pub(super) fn start(watched: Watchdog) -> io::Result<Self> {
        let (sender, news) = channel();
        let signs = sd_notify::watchdog_enabled().map(|allowance| allowance / 2);
        thread::Builder::new().name("service-manager".to_owned()).spawn(move || {
            Teller { fresh: Box::new(move || watched.fresh()), signs, stopping: false, warned: false }.tell_on(&news);
        })?;
        Ok(Self(Some(sender)))
    }

    /// The gateway serves.
    pub(super) fn ready(&self) {
        self.tell(News::Ready);
    }

    /// The gateway goes down, which may take as long as turns run.
    pub(super) fn stopping(&self) {
        self.tell(News::Stopping);
    }

    /// One line for people.
    pub(super) fn status(&self, line: String) {
        self.tell(News::Status(line));
    }

    fn tell(&self, news: News) {
        if let Some(sender) = &self.0 {
            // The thread has ended only if the process does.
            let _ = sender.send(news);
        }
    }
}

struct Teller {
    fresh: Box<dyn Fn() -> bool + Send>,
    /// How often it wants a sign of life, if at all.
    signs: Option<Duration>,
    stopping: bool,
    warned: bool,
}

impl Teller {
    fn tell_on(mut self, news: &Receiver<News>) {
        let mut next = self.period().map(|period| Instant::now() + period);
        loop {
            let heard = match next {
                None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => news.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match heard {
                Ok(News::Ready) => self.send(&[NotifyState::Ready]),
                Ok(News::Status(line)) => self.send(&[NotifyState::Status(&line)]),
                Ok(News::Stopping) => {
                    self.stopping = true;
                    self.send(&[NotifyState::Stopping]);
                    self.live();
                    next = self.period().map(|period| Instant::now() + period);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.live();
                    next = self.period().map(|period| Instant::now() + period);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn period(&self) -> Option<Duration> {
        let extending = self.stopping.then_some(EXTEND_EVERY);
        self.signs.into_iter().chain(extending).min()
    }

    /// Gives a sign of life, unless the root's thread gives none.
    fn live(&mut self) {
        if !(self.fresh)() {
            return;
        }
        let extension = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
        let extension = self.stopping.then_some(NotifyState::ExtendTimeoutUsec(extension));
        let sign = self.signs.map(|_| NotifyState::Watchdog);
        let states: Vec<_> = sign.into_iter().chain(extension).collect();
        self.send(&states);
    }

    fn send(&mut self, states: &[NotifyState]) {
        if let Err(error) = sd_notify::notify(states)
            && !std::mem::replace(&mut self.warned, true)
        {
            warn!(%error, "the service manager cannot be told");
        }
    }
}
