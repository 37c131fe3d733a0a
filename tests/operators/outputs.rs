//! Output whose reader is gone, whose disk is full, or that is not read: a server is not affected, and commands report it.

use std::fs::{self, File};
use std::io::{self, PipeReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{SOON, binary, client, get, post, reserved_port, wait_for, wait_for_exit};

/// Ceiling for what takes longer than a timeout of the gateway.
const LATER: Duration = Duration::from_mins(1);

/// The kind of an output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamKind {
    /// A pipe without a reader.
    Closed,
    /// A full disk.
    Full,
    /// A full pipe whose reader does not read.
    Unread,
}

const STREAM_KINDS: [StreamKind; 3] = [StreamKind::Closed, StreamKind::Full, StreamKind::Unread];

impl StreamKind {
    /// The stream, and the reader that must be kept.
    fn stream(self) -> (Stdio, Option<PipeReader>) {
        if self == Self::Full {
            return (File::options().write(true).open("/dev/full").unwrap().into(), None);
        }
        let (reader, mut writer) = io::pipe().unwrap();
        if self == Self::Closed {
            return (writer.into(), None);
        }
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while io::Write::write(&mut writer, &[b'#'; 4096]).is_ok() {}
        while io::Write::write(&mut writer, b"#").is_ok() {}
        rustix::io::ioctl_fionbio(&writer, false).unwrap();
        (writer.into(), Some(reader))
    }
}

/// A process with odd streams, killed when dropped.
struct WithStreams {
    child: Child,
    readers: Vec<PipeReader>,
}

impl WithStreams {
    fn start(command: &mut Command, output: Option<StreamKind>, error: Option<StreamKind>) -> Self {
        let mut readers = Vec::new();
        let mut stream = |kind: Option<StreamKind>| {
            let (stream, reader) = kind.map_or_else(|| (Stdio::null(), None), StreamKind::stream);
            readers.extend(reader);
            stream
        };
        let (output, error) = (stream(output), stream(error));
        let child = command.stdin(Stdio::null()).stdout(output).stderr(error).spawn().unwrap();
        // The copies in `command` would keep the writing end open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self { child, readers }
    }

    fn terminate(&self) {
        let ended = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(ended.success(), "the signal was sent");
    }

    fn exit_code(&mut self, ceiling: Duration) -> Option<i32> {
        wait_for_exit(&mut self.child, ceiling).code()
    }
}

impl Drop for WithStreams {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("caduceus.yaml"), "agent: {backend: echo}\n").unwrap();
    home
}

fn serve(home: &Path) -> Command {
    let mut command = binary();
    command.args(["serve", "--bind", "127.0.0.1:0", "--allow-faults", "--insecure-loopback-drain", "--home"]).arg(home);
    command
}

/// Its address, from the record in its home, which needs no output.
async fn address(home: &Path) -> String {
    wait_for("a record of a running gateway", SOON, || async {
        let record: Value = serde_json::from_slice(&fs::read(home.join("gateway_state.json")).ok()?).ok()?;
        (record["gateway_state"] == "running").then(|| record["http"].as_str().unwrap().to_owned())
    })
    .await
}

async fn metric(url: &str, name: &str) -> u64 {
    let mut answer = client().get(format!("{url}/metrics")).send().await.unwrap();
    let text = String::from_utf8(answer.body().await.unwrap().to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[actix_web::test]
async fn a_gateway_serves_restarts_its_actors_and_ends_with_every_kind_of_output() {
    let cases =
        STREAM_KINDS.into_iter().flat_map(|kind| [(Some(kind), None), (None, Some(kind)), (Some(kind), Some(kind))]);
    let started: Vec<_> = cases
        .map(|(output, error)| {
            let home = home();
            let gateway = WithStreams::start(&mut serve(home.path()), output, error);
            (output, error, home, gateway)
        })
        .collect();
    for (output, error, home, mut gateway) in started {
        let what = format!("output {output:?}, error {error:?}");
        let url = address(home.path()).await;
        // The panic hook logs on the thread that panics.
        let (code, answer) =
            post(&format!("{url}/api/actors/drain/fault"), &json!({"fault": "panic_in_handler"})).await;
        assert_eq!(code, 200, "{what}: {answer}");
        wait_for(&format!("another gate, {what}"), SOON, || async {
            let (_, tree) = get(&format!("{url}/api/actors")).await;
            let children = tree["children"].as_array()?.clone();
            children.iter().any(|child| child["id"] == "drain" && child["generation"] == 2).then_some(())
        })
        .await;
        assert_eq!(get(&format!("{url}/healthz")).await.0, 200, "{what}");
        let dropped = metric(&url, "caduceus_log_lines_dropped_total").await;
        assert_eq!(
            dropped > 0,
            matches!(error, Some(StreamKind::Closed | StreamKind::Full)),
            "{what}: {dropped} lines dropped"
        );
        gateway.terminate();
        assert_eq!(gateway.exit_code(SOON), Some(0), "{what}");
    }
}

#[actix_web::test]
async fn lines_logged_while_the_pipe_was_not_read_are_delivered_later_one_event_per_line() {
    let home = home();
    let mut command = serve(home.path());
    let mut gateway = WithStreams::start(command.args(["--log", "json"]), None, Some(StreamKind::Unread));
    let url = address(home.path()).await;
    let (code, _) = post(&format!("{url}/api/actors/drain/fault"), &json!({"fault": "panic_in_handler"})).await;
    assert_eq!(code, 200);
    let mut reader = gateway.readers.pop().unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    gateway.terminate();
    assert_eq!(gateway.exit_code(SOON), Some(0));
    let text = reading.join().unwrap();
    let lines: Vec<Value> = text
        .trim_start_matches('#')
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} is no event")))
        .collect();
    for words in ["gateway is up", "actor panicked", "gateway is down"] {
        assert!(lines.iter().any(|line| line["fields"]["message"] == words), "{words:?} in {text}");
    }
}

#[actix_web::test]
async fn the_watchdog_ends_a_gateway_whose_log_is_not_read() {
    let home = home();
    let mut gateway = WithStreams::start(&mut serve(home.path()), Some(StreamKind::Unread), Some(StreamKind::Unread));
    let url = address(home.path()).await;
    let hang = json!({"fault": "hang_in_timer", "seconds": 600});
    assert_eq!(post(&format!("{url}/api/actors/relays/fault"), &hang).await.0, 200);
    assert_eq!(gateway.exit_code(LATER), Some(75));
}

#[test]
fn a_failed_start_ends_with_its_code_with_every_kind_of_output() {
    for kind in STREAM_KINDS {
        let home = home();
        fs::write(home.path().join("caduceus.yaml"), "agent: [\n").unwrap();
        let mut gateway = WithStreams::start(&mut serve(home.path()), Some(kind), Some(kind));
        assert_eq!(gateway.exit_code(SOON), Some(78), "{kind:?}");
        let mut command = binary();
        let mut status =
            WithStreams::start(command.args(["status", "--home"]).arg(home.path()), Some(kind), Some(kind));
        assert_eq!(status.exit_code(SOON), Some(69), "{kind:?}");
        // Started by hand, without a gateway.
        let mut guard = WithStreams::start(binary().args(["guard", "--", "true"]), Some(kind), Some(kind));
        assert_eq!(guard.exit_code(SOON), Some(125), "{kind:?}");
    }
}

#[actix_web::test]
async fn a_connector_and_a_demo_run_and_end_with_every_kind_of_output() {
    let started: Vec<_> = STREAM_KINDS
        .into_iter()
        .flat_map(|kind| {
            ["connector", "demo"].map(|name| {
                // The address is not in an output that could be read.
                let address = format!("127.0.0.1:{}", reserved_port());
                let mut command = binary();
                command.args([name, "--bind", &address]);
                (name, kind, address, WithStreams::start(&mut command, Some(kind), Some(kind)))
            })
        })
        .collect();
    for (name, kind, address, mut process) in started {
        wait_for(&format!("{name} to answer, {kind:?}"), LATER, || async {
            client().get(format!("http://{address}/")).send().await.is_ok().then_some(())
        })
        .await;
        process.terminate();
        let ended = wait_for_exit(&mut process.child, LATER);
        assert_eq!(ended.code(), Some(0), "{name}, {kind:?}: {ended}");
    }
}

#[actix_web::test]
async fn a_command_ends_the_same_without_a_reader_and_reports_a_full_disk() {
    let home = home();
    let _gateway = WithStreams::start(&mut serve(home.path()), None, None);
    address(home.path()).await;
    let path = home.path().to_str().unwrap();
    let on_home: [&[&str]; 10] = [
        &["status"],
        &["status", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["secrets", "audit"],
        &["honcho", "status"],
        &["drain", "status"],
        &["drain", "cancel"],
        &["ledger", "list"],
        &["ledger", "check", "--last"],
    ];
    let others: [&[&str]; 5] =
        [&["--help"], &["serve", "--help"], &["--version"], &["secrets", "generate"], &["honcho", "login", "--help"]];
    let commands = on_home.map(|words| [words, &["--home", path]].concat()).into_iter();
    for words in commands.chain(others.map(<[&str]>::to_vec)) {
        let good = crate::command::caduceus(&words, &[]).code;
        let with = |kind| {
            let (output, _reader) = StreamKind::stream(kind);
            let mut command = binary();
            command.args(&words).env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).stdout(output);
            let child = command.stderr(Stdio::piped()).spawn().unwrap();
            command.stdout(Stdio::null());
            let ended = child.wait_with_output().unwrap();
            (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
        };
        let (closed, error) = with(StreamKind::Closed);
        assert_eq!(closed, good, "{words:?}: {error}");
        assert!(!error.contains("panicked"), "{words:?}: {error}");
        let (full, error) = with(StreamKind::Full);
        // The code of a finding takes precedence over the code of the failed output.
        assert_eq!(full, if good == Some(0) { Some(74) } else { good }, "{words:?}: {error}");
        assert!(error.contains("cannot write to standard output"), "{words:?}: {error}");
    }
}

#[actix_web::test]
async fn a_watch_ends_when_its_reader_has_gone() {
    let home = home();
    let _gateway = WithStreams::start(&mut serve(home.path()), None, None);
    address(home.path()).await;
    let mut command = binary();
    command.args(["status", "--watch", "--home"]).arg(home.path()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut watch = WithStreams { child: command.spawn().unwrap(), readers: Vec::new() };
    let mut output = watch.child.stdout.take().unwrap();
    output.read_exact(&mut [0; 10]).unwrap();
    drop(output);
    // There is no change to be written.
    assert_eq!(watch.exit_code(SOON), Some(0));
}
