//! Shared by all test binaries: the real binary as a child, its first line, waits that name the missing event.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod original;

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

/// Ceiling for anything a healthy process does at once; long, because two cores are shared.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Whether the long form of a test is requested: `CADUCEUS_LONG=1`.
#[expect(clippy::disallowed_methods, reason = "a test has no settings")]
pub(crate) fn long() -> bool {
    std::env::var_os("CADUCEUS_LONG").is_some()
}

/// The seeds of a test: `short` of them, or `long` with `CADUCEUS_LONG`, or those of `CADUCEUS_SEEDS=FROM..TO`.
#[expect(clippy::disallowed_methods, reason = "a test has no settings")]
pub(crate) fn seeds(short: u64, many: u64) -> Range<u64> {
    let Some(seeds) = std::env::var_os("CADUCEUS_SEEDS") else { return 0..if long() { many } else { short } };
    let seeds = seeds.into_string().expect("CADUCEUS_SEEDS is text");
    let (from, to) = seeds.split_once("..").expect("CADUCEUS_SEEDS is FROM..TO");
    from.parse().expect("FROM is a number")..to.parse().expect("TO is a number")
}

/// The binary under test, killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Base address from its first line on standard output.
    pub(crate) url: String,
    log: Arc<Mutex<String>>,
}

/// The JSON objects that a child writes to its piped standard output, a line each.
pub(crate) fn json_lines(child: &mut Child) -> mpsc::Receiver<Value> {
    let output = child.stdout.take().expect("standard output is piped");
    let (sender, printed) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(serde_json::from_str(&line).expect("every line is JSON"));
        }
    });
    printed
}

/// A free port for a process that cannot report its port, or has to get it again after a restart. The system gives ports to listeners
/// and connections from 32768 on, so that none of these many takes it in the meantime.
pub(crate) fn reserved_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(10_000..32_768)).find(free).expect("one of many ports is free")
}

/// The binary under test, not started yet.
pub(crate) fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_caduceus"))
}

/// Copies a program so that it can be executed. By a process of its own: a file that a thread of this one has open for writing
/// while another one starts a process is *busy* in that process, and cannot be executed.
pub(crate) fn install(from: &Path, to: &Path) {
    let installed = Command::new("install").args(["-m", "755"]).args([from, to]).status();
    assert!(installed.expect("`install` runs").success(), "{} is installed", to.display());
}

/// The binary, run by a user to which permission bits apply: the current one, or the user `nobody` if that is root.
pub(crate) fn as_unprivileged_user<T>(run: impl FnOnce(&mut Command) -> T) -> T {
    if !rustix::process::geteuid().is_root() {
        return run(&mut binary());
    }
    // The user may have no access to the folder of the binary.
    let place = tempfile::tempdir().expect("a folder for the binary");
    let copy = place.path().join("caduceus");
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).expect("the mode is set");
    install(Path::new(binary().get_program()), &copy);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(copy);
    run(command.current_dir("/"))
}

impl Process {
    /// Starts `caduceus` and waits for the line with its address.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(binary().args(arguments))
    }

    /// The same with another build of the binary.
    pub(crate) fn start_binary(path: &Path, arguments: &[&str]) -> Self {
        Self::spawn(Command::new(path).args(arguments))
    }

    /// Starts the command and waits for the same line.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (errors, kept) = (child.stderr.take().expect("standard error is piped"), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                eprintln!("{line}");
                let mut kept = kept.lock().expect("no holder of the lock panics");
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let output = child.stdout.take().expect("standard output is piped");
        let (sender, lines) = mpsc::channel();
        // Reads to the end, so that the child never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut process = Self { child, url: String::new(), log };
        let first = lines.recv_timeout(SOON).expect("a first line on standard output");
        let first: Value = serde_json::from_str(&first).expect("the first line is JSON");
        first["listening"].as_str().expect("the first line has the address").clone_into(&mut process.url);
        process
    }

    /// Standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no holder of the lock panics").clone()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        self.url.strip_prefix("http://").expect("the address is plain HTTP")
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.id().to_string()]).status().expect("kill runs");
        assert!(status.success(), "{name} was not sent to the process");
    }

    /// Its exit status, if it has ended.
    pub(crate) fn try_exit(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be waited for")
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        wait_for_exit(&mut self.child, SOON)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a child has ended, by an event of its process descriptor.
pub(crate) fn wait_for_exit(child: &mut Child, ceiling: Duration) -> ExitStatus {
    // The descriptor of a child that was waited for already cannot be opened.
    if let Some(status) = child.try_wait().expect("the child can be waited for") {
        return status;
    }
    let descriptor = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("the child is not reaped");
    let timeout = Timespec::try_from(ceiling).expect("the ceiling fits");
    let ready = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&timeout)).expect("the descriptor is polled");
    assert_eq!(ready, 1, "process {} did not end in {ceiling:?}", child.id());
    child.wait().expect("the child can be waited for")
}

/// The output of a child that ends by itself; kills it and fails if it takes longer than the ceiling.
pub(crate) fn output_of(child: Child, what: &str, ceiling: Duration) -> Output {
    let id = child.id().to_string();
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = ended.recv_timeout(ceiling).unwrap_or_else(|_| {
        let _ = Command::new("kill").args(["-9", &id]).status();
        panic!("{what} did not end in {ceiling:?}")
    });
    output.expect("the output is read")
}

/// A pause between two steps of a load. The load sets the rate on purpose, so that the other processes get CPU time; it never stands
/// for an event that a test waits for.
pub(crate) async fn pace(pause: Duration) {
    actix_web::rt::time::sleep(pause).await;
}

/// As [`pace`], on a thread of its own.
pub(crate) fn pace_thread(pause: Duration) {
    std::thread::sleep(pause);
}

/// The time limit of a loop that queries for what sends no event.
pub(crate) struct QueryLimit {
    what: String,
    ceiling: Duration,
    deadline: Instant,
}

impl QueryLimit {
    pub(crate) fn new(what: impl Into<String>, ceiling: Duration) -> Self {
        Self { what: what.into(), ceiling, deadline: Instant::now() + ceiling }
    }

    /// Pauses before the next query. Fails at the ceiling, and names the missing event and the last result.
    pub(crate) async fn pause(&self, pause: Duration, last: impl FnOnce() -> String) {
        let (what, ceiling) = (&self.what, self.ceiling);
        assert!(Instant::now() < self.deadline, "timed out after {ceiling:?} waiting for {what}{}", last());
        actix_web::rt::time::sleep(pause).await;
    }
}

/// Awaits `future` under the ceiling, or fails and names the missing event.
pub(crate) async fn within<F: Future>(ceiling: Duration, what: &str, future: F) -> F::Output {
    actix_web::rt::time::timeout(ceiling, future)
        .await
        .unwrap_or_else(|_| panic!("timed out after {ceiling:?} waiting for {what}"))
}

/// Repeats `query` until it finds something, for what sends no event.
pub(crate) async fn wait_for<T, F: Future<Output = Option<T>>>(
    what: &str,
    ceiling: Duration,
    query: impl FnMut() -> F,
) -> T {
    wait_with_pause(what, ceiling, Duration::from_millis(10), query).await
}

/// As [`wait_for`], for a query that itself takes CPU time from what it waits for.
pub(crate) async fn wait_with_pause<T, F: Future<Output = Option<T>>>(
    what: &str,
    ceiling: Duration,
    pause: Duration,
    mut query: impl FnMut() -> F,
) -> T {
    let limit = QueryLimit::new(what, ceiling);
    loop {
        if let Some(found) = query().await {
            return found;
        }
        limit.pause(pause, String::new).await;
    }
}

/// The folder for files that tests keep between runs.
pub(crate) fn target() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target")
}

/// A status and a JSON body.
pub(crate) async fn post(url: &str, body: &Value) -> (u16, Value) {
    send(client().post(url), body.to_string()).await
}

/// A status and a JSON body.
pub(crate) async fn get(url: &str) -> (u16, Value) {
    send(client().get(url), String::new()).await
}

/// The client of this test: making one reads every root certificate of the system, and one that another test has made on
/// this thread has connections of a runtime that has ended.
///
/// No connection is used twice: a test that waits for a process blocks this thread, and does not see that the server has
/// closed an idle connection meanwhile.
pub(crate) fn client() -> awc::Client {
    thread_local! {
        static LAST: RefCell<Option<(usize, awc::Client)>> = const { RefCell::new(None) };
    }
    let system = actix_web::rt::System::current().id();
    LAST.with_borrow_mut(|last| match last {
        Some((of, client)) if *of == system => client.clone(),
        _ => {
            let connector = awc::Connector::new().conn_keep_alive(Duration::ZERO);
            last.insert((system, awc::Client::builder().connector(connector).finish())).1.clone()
        }
    })
}

/// Sends a prepared request.
pub(crate) async fn send(request: awc::ClientRequest, body: String) -> (u16, Value) {
    let sent = request.timeout(SOON).send_body(body).await;
    let mut answer = sent.expect("the server answers");
    let bytes = answer.body().limit(64 * 1024 * 1024).await.expect("the answer is complete");
    (answer.status().as_u16(), serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}
