//! Temporary homes and the gateways that serve them, each a process of this program.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use caduceus_actors::files::own;
use caduceus_contract::api::announcement::ListenAnnouncement;
use tempfile::TempDir;

use super::http;
use super::load::LoadConnector;
use super::process;

/// Where the ledger is written to memory only.
const MEMORY: &str = "/dev/shm";
/// A gateway is ready within this time, with a thousand profiles on a busy machine too.
const READY: Duration = Duration::from_mins(2);
/// Interval of questions while something is waited for.
const POLL: Duration = Duration::from_millis(1);

/// Where homes are made, and whether rows take their short form.
#[derive(Debug, Clone)]
pub(crate) struct Lab {
    pub(crate) short: bool,
    /// A directory on the disk that is measured.
    pub(crate) disk: PathBuf,
}

/// What the home of a row lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Disk,
    Memory,
}

/// What differs between the homes of the rows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HomeOptions {
    /// Named profiles `p0`, `p1`, … beside the default one.
    pub(crate) profiles: u32,
    /// Data threads; by the cores of the machine if not set.
    pub(crate) threads: Option<u32>,
}

impl Lab {
    /// One of two numbers: of the whole and of the short form.
    pub(crate) fn pick<T>(&self, whole: T, short: T) -> T {
        if self.short { short } else { whole }
    }

    /// A home whose agent is `echo`, linked to `connector`.
    pub(crate) fn home(&self, place: Place, options: HomeOptions, connector: SocketAddr) -> anyhow::Result<TempDir> {
        let parent = match place {
            Place::Disk => self.disk.as_path(),
            Place::Memory => Path::new(MEMORY),
        };
        let home = tempfile::Builder::new().prefix("caduceus-bench-").tempdir_in(parent);
        let home = home.with_context(|| format!("no temporary home in {}", parent.display()))?;
        let threads = options.threads.map_or_else(String::new, |threads| format!("threads:\n  data: {threads}\n"));
        let ours = format!("agent:\n  backend: echo\nturns:\n  max_concurrent: 2048\n{threads}");
        create(&home.path().join("caduceus.yaml"), &ours)?;
        let link = format!(
            "GATEWAY_RELAY_URL=ws://{connector}/relay\nGATEWAY_RELAY_ID=bench\nGATEWAY_RELAY_SECRET=no-secret-of-a-bench\n"
        );
        create(&home.path().join(".env"), &link)?;
        if options.profiles > 0 {
            create(&home.path().join("config.yaml"), "gateway:\n  multiplex_profiles: true\n")?;
        }
        for profile in 0..options.profiles {
            let directory = home.path().join(format!("profiles/p{profile}"));
            fs::create_dir_all(&directory)?;
            create(&directory.join(".env"), &format!("KEY=no-secret-of-p{profile}\n"))?;
        }
        Ok(home)
    }

    /// A gateway on a home of its own, with its link up.
    pub(crate) fn linked(&self, place: Place, options: HomeOptions) -> anyhow::Result<(BenchGateway, LoadConnector)> {
        let mut connector = LoadConnector::listen()?;
        let home = self.home(place, options, connector.address()?)?;
        let gateway = BenchGateway::start(home)?;
        connector.accept()?;
        gateway.until_ready()?;
        Ok((gateway, connector))
    }
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    own::create_new(path, own::OpenMode::ReadWrite, 0o600).map_err(io::Error::from)?.write_all(text.as_bytes())
}

/// A gateway process, killed with its home when dropped.
pub(crate) struct BenchGateway {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) started: Instant,
    home: TempDir,
}

impl BenchGateway {
    /// Starts a gateway on `home` and waits for its address. Its log, at level `info`, goes to a file of the home.
    pub(crate) fn start(home: TempDir) -> anyhow::Result<Self> {
        let (child, address, started) = serve(home.path())?;
        Ok(Self { child, address, started, home })
    }

    /// Ends the process as a crash does.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends the process as a crash does, and starts another on the same home.
    pub(crate) fn restart(mut self) -> anyhow::Result<Self> {
        self.kill()?;
        let Self { home, .. } = &mut self;
        let (child, address, started) = serve(home.path())?;
        (self.child, self.address, self.started) = (child, address, started);
        Ok(self)
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Waits for `/readyz` 200; returns the time since the start of the process.
    pub(crate) fn until_ready(&self) -> anyhow::Result<Duration> {
        while self.started.elapsed() < READY {
            if http::get(self.address, "/readyz").is_ok_and(|(code, _)| code == 200) {
                return Ok(self.started.elapsed());
            }
            thread::sleep(POLL);
        }
        anyhow::bail!("the gateway was not ready within {READY:?}")
    }

    /// CPU time that it has used.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        Ok(process::cpu(self.child.id())?)
    }

    /// The CPU time of the threads that run.
    pub(crate) fn cpu_of_threads(&self) -> anyhow::Result<Duration> {
        Ok(process::cpu_of_threads(self.child.id())?)
    }

    /// Its open descriptors.
    pub(crate) fn descriptors(&self) -> anyhow::Result<u64> {
        Ok(process::descriptors(self.child.id())?)
    }

    /// Its resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        Ok(process::resident_kib(self.child.id())?)
    }

    /// The body of one of its pages.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let (code, body) = http::get(self.address, path)?;
        anyhow::ensure!(code == 200, "{path} was answered with {code}");
        Ok(body)
    }

    /// Its status.
    pub(crate) fn status(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.get("/api/status")?)?)
    }

    /// Waits until its status is as `done` says.
    pub(crate) fn until(&self, timeout: Duration, done: impl Fn(&serde_json::Value) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + timeout;
        while Instant::now() < until {
            if done(&self.status()?) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("the status did not become what was waited for within {timeout:?}")
    }
}

impl Drop for BenchGateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn serve(home: &Path) -> anyhow::Result<(Child, SocketAddr, Instant)> {
    let log = own::open_or_create(&home.join("bench.log"), own::OpenMode::ReadWrite, 0o600).map_err(io::Error::from)?;
    let started = Instant::now();
    let mut child = program()
        .args(["serve", "--bind", "127.0.0.1:0", "--home"])
        .arg(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("the gateway did not start")?;
    let first = first_line(&mut child)?;
    let listening: ListenAnnouncement =
        serde_json::from_str(&first).with_context(|| format!("not an address: {first:?}"))?;
    let address = listening.listening.trim_start_matches("http://").parse()?;
    Ok((child, address, started))
}

/// This program, with an empty environment: nothing of another home reaches it.
pub(crate) fn program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.env_clear();
    command
}

/// The first line of a child's output.
pub(crate) fn first_line(child: &mut Child) -> anyhow::Result<String> {
    let output = child.stdout.take().context("the output is not a pipe")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    anyhow::ensure!(!line.is_empty(), "the process ended without a line");
    Ok(line)
}
