//! Notifications to systemd, or another service manager that set `NOTIFY_SOCKET`.
//!
//! A thread of its own sends them: a socket without a reader must not block the gateway. It also sends the watchdog heartbeat,
//! but only while the root's thread has one, and asks for more time while a shutdown waits for turns.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use caduceus_supervision::Watchdog;
use sd_notify::NotifyState;
use tracing::warn;

/// How much more time is asked for at once, while a shutdown goes on.
const EXTENSION: Duration = Duration::from_secs(30);
/// How often, so that two may be lost.
const EXTEND_EVERY: Duration = Duration::from_secs(10);

/// The queue of the thread; `None` without a service manager.
#[derive(Debug, Clone, Default)]
pub(super) struct ServiceManager(Option<Sender<ManagerEvent>>);

#[derive(Debug)]
enum ManagerEvent {
    Ready,
    Reloading,
    Stopping,
    Status(String),
}

impl ServiceManager {
    /// Starts the thread that sends to the socket at `address`, which is in the form of `NOTIFY_SOCKET`. `watched` decides on
    /// heartbeats.
    ///
    /// # Errors
    /// If there is no thread for it, or the address is of a kind that is not known here.
    pub(super) fn start(address: &str, watched: Watchdog) -> io::Result<Self> {
        let send = sender(address)?;
        let (sender, news) = channel();
        let signs = sd_notify::watchdog_enabled().map(|allowance| allowance / 2);
        thread::Builder::new().name("service-manager".to_owned()).spawn(move || {
            let fresh = Box::new(move || watched.is_fresh());
            Teller { fresh, signs, send, stopping: false, warned: false }.tell_on(&news);
        })?;
        Ok(Self(Some(sender)))
    }

    /// The gateway serves.
    pub(super) fn ready(&self) {
        self.tell(ManagerEvent::Ready);
    }

    /// It reloads its files; [`ServiceManager::ready`] reports that it is done.
    pub(super) fn reloading(&self) {
        self.tell(ManagerEvent::Reloading);
    }

    /// The gateway goes down, which may take as long as turns run.
    pub(super) fn stopping(&self) {
        self.tell(ManagerEvent::Stopping);
    }

    /// One line for people.
    pub(super) fn status(&self, line: String) {
        self.tell(ManagerEvent::Status(line));
    }

    fn tell(&self, news: ManagerEvent) {
        if let Some(sender) = &self.0 {
            // The thread has ended only if the process does.
            let _ = sender.send(news);
        }
    }
}

/// Sends to a socket in the file system, or to an abstract one (`@name`), which `sd-notify` takes for a file.
fn sender(address: &str) -> io::Result<Box<SendNotice>> {
    let address = match address.strip_prefix('@') {
        Some(name) => abstract_address(name)?,
        None if address.starts_with('/') => SocketAddr::from_pathname(address)?,
        None => return Err(io::Error::new(io::ErrorKind::Unsupported, "NOTIFY_SOCKET is neither a path nor @name")),
    };
    let socket = UnixDatagram::unbound()?;
    Ok(Box::new(move |states| {
        let text = states.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        socket.send_to_addr(text.as_bytes(), &address).map(drop)
    }))
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &str) -> io::Result<SocketAddr> {
    <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &str) -> io::Result<SocketAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "abstract sockets are Linux's"))
}

/// Sends one message.
type SendNotice = dyn Fn(&[NotifyState<'_>]) -> io::Result<()> + Send;

struct Teller {
    fresh: Box<dyn Fn() -> bool + Send>,
    /// Interval of the heartbeat, if the manager sets one.
    signs: Option<Duration>,
    send: Box<SendNotice>,
    stopping: bool,
    warned: bool,
}

impl Teller {
    fn tell_on(mut self, news: &Receiver<ManagerEvent>) {
        let mut next = self.period().map(|period| Instant::now() + period);
        loop {
            let event = match next {
                None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => news.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match event {
                Ok(ManagerEvent::Ready) => self.send(&[NotifyState::Ready]),
                Ok(ManagerEvent::Reloading) => match NotifyState::monotonic_usec_now() {
                    Ok(now) => self.send(&[NotifyState::Reloading, now]),
                    Err(error) => warn!(%error, "reload not reported to the service manager: no clock"),
                },
                Ok(ManagerEvent::Status(line)) => self.send(&[NotifyState::Status(&line)]),
                Ok(ManagerEvent::Stopping) => {
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

    /// Sends a heartbeat, unless the root's thread is unresponsive.
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

    fn send(&mut self, states: &[NotifyState<'_>]) {
        if let Err(error) = (self.send)(states)
            && !std::mem::replace(&mut self.warned, true)
        {
            warn!(%error, "service manager not notified");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A notifier on its thread, what it sent, and whether the root's thread responds.
    struct Rig {
        manager: ServiceManager,
        said: Arc<Mutex<Vec<String>>>,
        turns: Arc<AtomicBool>,
    }

    impl Rig {
        fn start(signs: Option<Duration>) -> Self {
            let (sender, news) = channel();
            let (said, turns) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(AtomicBool::new(true)));
            let (kept, asked) = (Arc::clone(&said), Arc::clone(&turns));
            thread::spawn(move || {
                let send = move |states: &[NotifyState<'_>]| {
                    kept.lock().unwrap().extend(states.iter().map(ToString::to_string));
                    Ok(())
                };
                let fresh = Box::new(move || asked.load(Ordering::SeqCst));
                Teller { fresh, signs, send: Box::new(send), stopping: false, warned: false }.tell_on(&news);
            });
            Self { manager: ServiceManager(Some(sender)), said, turns }
        }

        fn count(&self, words: &str) -> usize {
            self.said.lock().unwrap().iter().filter(|said| said.starts_with(words)).count()
        }

        fn until(&self, words: &str, count: usize) {
            let deadline = Instant::now() + Duration::from_secs(20);
            while self.count(words) < count {
                assert!(Instant::now() < deadline, "{words} was never sent {count} times");
                thread::sleep(Duration::from_millis(2));
            }
        }
    }

    #[test]
    fn signs_of_life_end_with_the_roots_and_come_back_with_them() {
        let rig = Rig::start(Some(Duration::from_millis(10)));
        rig.until("WATCHDOG=1", 3);
        rig.turns.store(false, Ordering::SeqCst);
        // One may have been under way.
        let before = rig.count("WATCHDOG=1");
        rig.manager.status("a".to_owned());
        thread::sleep(Duration::from_millis(200));
        rig.until("STATUS=a", 1);
        assert!(rig.count("WATCHDOG=1") <= before + 1);
        rig.turns.store(true, Ordering::SeqCst);
        rig.until("WATCHDOG=1", before + 5);
    }

    #[test]
    fn a_socket_gets_the_same_by_a_path_and_by_a_name_without_a_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let name = format!("caduceus-test-{}", std::process::id());
        let by_name = abstract_address(&name).unwrap();
        let sockets = [
            (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}"), UnixDatagram::bind_addr(&by_name).unwrap()),
        ];
        for (address, socket) in sockets {
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            sender(&address).unwrap()(&[NotifyState::Ready, NotifyState::Status("up")]).unwrap();
            let mut received = [0; 64];
            let length = socket.recv(&mut received).expect("what was sent");
            assert_eq!(&received[..length], b"READY=1\nSTATUS=up", "{address}");
        }
        assert_eq!(sender("vsock:2:1234").err().map(|error| error.kind()), Some(io::ErrorKind::Unsupported));
    }

    #[test]
    fn a_reload_is_reported_with_the_time_at_which_it_began() {
        let rig = Rig::start(None);
        rig.manager.reloading();
        rig.manager.ready();
        rig.until("READY=1", 1);
        let said = rig.said.lock().unwrap().clone();
        assert_eq!((said[0].as_str(), said[2].as_str()), ("RELOADING=1", "READY=1"));
        assert!(said[1].strip_prefix("MONOTONIC_USEC=").is_some_and(|at| at.parse::<u64>().is_ok()), "{said:?}");
    }

    #[test]
    fn news_do_not_put_off_the_signs_of_life() {
        let rig = Rig::start(Some(Duration::from_millis(10)));
        let begun = Instant::now();
        while rig.count("WATCHDOG=1") < 3 {
            assert!(begun.elapsed() < Duration::from_secs(20), "notifications went before all heartbeats");
            rig.manager.status("busy".to_owned());
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn more_time_is_asked_for_at_once_when_stopping_and_not_by_a_root_that_hangs() {
        let rig = Rig::start(None);
        rig.manager.ready();
        rig.manager.stopping();
        rig.until("EXTEND_TIMEOUT_USEC=30000000", 1);
        assert_eq!((rig.count("READY=1"), rig.count("STOPPING=1"), rig.count("WATCHDOG=1")), (1, 1, 0));
        let hanging = Rig::start(None);
        hanging.turns.store(false, Ordering::SeqCst);
        hanging.manager.stopping();
        hanging.manager.status("after".to_owned());
        hanging.until("STATUS=after", 1);
        assert_eq!(hanging.count("EXTEND_TIMEOUT_USEC"), 0);
    }
}
