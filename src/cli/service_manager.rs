//! Notifications to systemd, or another service manager that set `NOTIFY_SOCKET`.
//!
//! A separate thread sends them: a socket without a reader must not block the gateway. It also sends the watchdog heartbeat,
//! but only while the root's thread has one, and asks for more time while a shutdown waits for turns.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use caduceus_supervision::Watchdog;
use sd_notify::NotifyState;
use tracing::warn;

/// The extension that one request asks for during a shutdown.
const EXTENSION: Duration = Duration::from_secs(30);
/// Interval of these requests; two may be lost.
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
    /// If there is no thread for it, or the address is of an unsupported kind.
    pub(super) fn start(address: &str, watched: Watchdog) -> io::Result<Self> {
        let send = sender(address)?;
        let (sender, events) = channel();
        let heartbeat = sd_notify::watchdog_enabled().map(|allowance| allowance / 2);
        thread::Builder::new().name("service-manager".to_owned()).spawn(move || {
            let fresh = Box::new(move || watched.is_fresh());
            Notifier { fresh, heartbeat, send, stopping: false, warned: false }.run(&events);
        })?;
        Ok(Self(Some(sender)))
    }

    /// The gateway serves.
    pub(super) fn ready(&self) {
        self.notify(ManagerEvent::Ready);
    }

    /// It reloads its files; [`ServiceManager::ready`] reports that it is done.
    pub(super) fn reloading(&self) {
        self.notify(ManagerEvent::Reloading);
    }

    /// The gateway goes down, which may take as long as turns run.
    pub(super) fn stopping(&self) {
        self.notify(ManagerEvent::Stopping);
    }

    /// One line for people.
    pub(super) fn status(&self, line: String) {
        self.notify(ManagerEvent::Status(line));
    }

    fn notify(&self, event: ManagerEvent) {
        if let Some(sender) = &self.0 {
            // The thread has ended only if the process does.
            let _ = sender.send(event);
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

struct Notifier {
    fresh: Box<dyn Fn() -> bool + Send>,
    /// Interval of the heartbeat, if the manager sets one.
    heartbeat: Option<Duration>,
    send: Box<SendNotice>,
    stopping: bool,
    warned: bool,
}

impl Notifier {
    fn run(mut self, events: &Receiver<ManagerEvent>) {
        let mut next = self.period().map(|period| Instant::now() + period);
        loop {
            let event = match next {
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => events.recv_timeout(at.saturating_duration_since(Instant::now())),
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
                    self.send_heartbeat();
                    next = self.period().map(|period| Instant::now() + period);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.send_heartbeat();
                    next = self.period().map(|period| Instant::now() + period);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn period(&self) -> Option<Duration> {
        let extending = self.stopping.then_some(EXTEND_EVERY);
        self.heartbeat.into_iter().chain(extending).min()
    }

    /// Sends a heartbeat, unless the root's thread is unresponsive.
    fn send_heartbeat(&mut self) {
        if !(self.fresh)() {
            return;
        }
        let extension = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
        let extension = self.stopping.then_some(NotifyState::ExtendTimeoutUsec(extension));
        let notification = self.heartbeat.map(|_| NotifyState::Watchdog);
        let states: Vec<_> = notification.into_iter().chain(extension).collect();
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

    /// A notifier on its thread, the messages that it sent, and whether the root's thread responds.
    struct NotifierBench {
        manager: ServiceManager,
        messages: Arc<Mutex<Vec<String>>>,
        responsive: Arc<AtomicBool>,
    }

    impl NotifierBench {
        fn start(heartbeat: Option<Duration>) -> Self {
            let (sender, events) = channel();
            let (messages, responsive) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(AtomicBool::new(true)));
            let (kept, read) = (Arc::clone(&messages), Arc::clone(&responsive));
            thread::spawn(move || {
                let send = move |states: &[NotifyState<'_>]| {
                    kept.lock().unwrap().extend(states.iter().map(ToString::to_string));
                    Ok(())
                };
                let fresh = Box::new(move || read.load(Ordering::SeqCst));
                Notifier { fresh, heartbeat, send: Box::new(send), stopping: false, warned: false }.run(&events);
            });
            Self { manager: ServiceManager(Some(sender)), messages, responsive }
        }

        fn count(&self, words: &str) -> usize {
            self.messages.lock().unwrap().iter().filter(|message| message.starts_with(words)).count()
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
    fn heartbeats_stop_while_the_root_is_unresponsive() {
        let bench = NotifierBench::start(Some(Duration::from_millis(10)));
        bench.until("WATCHDOG=1", 3);
        bench.responsive.store(false, Ordering::SeqCst);
        // One may have been under way.
        let before = bench.count("WATCHDOG=1");
        bench.manager.status("a".to_owned());
        thread::sleep(Duration::from_millis(200));
        bench.until("STATUS=a", 1);
        assert!(bench.count("WATCHDOG=1") <= before + 1);
        bench.responsive.store(true, Ordering::SeqCst);
        bench.until("WATCHDOG=1", before + 5);
    }

    #[test]
    fn a_path_and_an_abstract_name_receive_the_same() {
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
        let bench = NotifierBench::start(None);
        bench.manager.reloading();
        bench.manager.ready();
        bench.until("READY=1", 1);
        let messages = bench.messages.lock().unwrap().clone();
        assert_eq!((messages[0].as_str(), messages[2].as_str()), ("RELOADING=1", "READY=1"));
        assert!(
            messages[1].strip_prefix("MONOTONIC_USEC=").is_some_and(|at| at.parse::<u64>().is_ok()),
            "{messages:?}"
        );
    }

    #[test]
    fn events_do_not_delay_the_heartbeats() {
        let bench = NotifierBench::start(Some(Duration::from_millis(10)));
        let begun = Instant::now();
        while bench.count("WATCHDOG=1") < 3 {
            assert!(begun.elapsed() < Duration::from_secs(20), "events delayed the heartbeats");
            bench.manager.status("busy".to_owned());
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn more_time_is_requested_at_once_when_stopping_unless_the_root_hangs() {
        let bench = NotifierBench::start(None);
        bench.manager.ready();
        bench.manager.stopping();
        bench.until("EXTEND_TIMEOUT_USEC=30000000", 1);
        assert_eq!((bench.count("READY=1"), bench.count("STOPPING=1"), bench.count("WATCHDOG=1")), (1, 1, 0));
        let hanging = NotifierBench::start(None);
        hanging.responsive.store(false, Ordering::SeqCst);
        hanging.manager.stopping();
        hanging.manager.status("after".to_owned());
        hanging.until("STATUS=after", 1);
        assert_eq!(hanging.count("EXTEND_TIMEOUT_USEC"), 0);
    }
}
