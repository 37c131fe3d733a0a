//! What every test binary needs: the real binary as a child, its first line, waits that say what never came.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Ceiling for anything a healthy process does at once; generous, because two cores are shared.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The binary under test, killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Base address from its first line on standard output.
    pub(crate) url: String,
}

impl Process {
    /// Starts `caduceus` and waits for the line that says where it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_caduceus"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let output = child.stdout.take().expect("standard output is piped");
        let (sender, lines) = mpsc::channel();
        // Reads to the end, so that the child never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut process = Self { child, url: String::new() };
        let first = lines.recv_timeout(SOON).expect("a first line on standard output");
        let first: Value = serde_json::from_str(&first).expect("the first line is JSON");
        first["listening"].as_str().expect("the first line says where it listens").clone_into(&mut process.url);
        process
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
        assert!(status.success(), "the process is there to get {name}");
    }

    /// How it ended, if it has.
    pub(crate) fn try_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be waited for")
    }

    /// Waits for it to end by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.try_ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "the process did not end in {SOON:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Awaits `future`, or fails and says what never came.
pub(crate) async fn within<F: Future>(ceiling: Duration, what: &str, future: F) -> F::Output {
    actix_web::rt::time::timeout(ceiling, future).await.unwrap_or_else(|_| panic!("{what} did not come in {ceiling:?}"))
}

/// Asks again until `look` finds something, for what announces itself by no event.
pub(crate) async fn wait_for<T, F: Future<Output = Option<T>>>(
    what: &str,
    ceiling: Duration,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + ceiling;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come in {ceiling:?}");
        actix_web::rt::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The folder for what tests keep between runs.
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

thread_local! {
    /// A new one reads the system's roots, which takes longer than any question. It keeps no connection: whoever comes next on
    /// this thread has another runtime.
    static CLIENT: awc::Client = {
        let connector = awc::Connector::new().conn_keep_alive(Duration::ZERO);
        awc::Client::builder().connector(connector).finish()
    };
}

/// A client for plain questions.
pub(crate) fn client() -> awc::Client {
    CLIENT.with(Clone::clone)
}

/// Sends a request as it is prepared.
pub(crate) async fn send(request: awc::ClientRequest, body: String) -> (u16, Value) {
    let sent = request.timeout(SOON).send_body(body).await;
    let mut answer = sent.expect("the server answers");
    let bytes = answer.body().limit(64 * 1024 * 1024).await.expect("the answer is whole");
    (answer.status().as_u16(), serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}
