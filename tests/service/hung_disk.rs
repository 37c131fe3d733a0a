//! A disk that does not answer affects only its own home: for the gateway, and for every command that reads a home.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::odd_files::troubles;
use crate::support::{SOON, binary, client, output_of, wait_for};
use crate::world::World;

/// Ceiling for a command that waits some seconds for a disk.
const CEILING: Duration = Duration::from_mins(1);

/// Makes the file system under `profiles/hung` hang for as long as the file in `HANG` is there, for calls through the C library.
const HUNG_DISK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static void hang(const char *path) {
    const char *file = getenv("HANG");
    if (file && path && strstr(path, "profiles/hung")) while (access(file, F_OK) == 0) usleep(10000);
}
int statx(int d, const char *p, int f, unsigned m, struct statx *s) {
    hang(p);
    int (*real)(int, const char *, int, unsigned, struct statx *) = dlsym(RTLD_NEXT, "statx");
    return real(d, p, f, m, s);
}
int inotify_add_watch(int fd, const char *p, uint32_t m) {
    hang(p);
    int (*real)(int, const char *, uint32_t) = dlsym(RTLD_NEXT, "inotify_add_watch");
    return real(fd, p, m);
}
"#;

fn hung_disk(folder: &Path) -> PathBuf {
    build_library(folder, HUNG_DISK)
}

/// Builds a library for `LD_PRELOAD`; returns its path.
pub(crate) fn build_library(folder: &Path, text: &str) -> PathBuf {
    let (source, library) = (folder.join("disk.c"), folder.join("disk.so"));
    fs::write(&source, text).unwrap();
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .args(["-ldl"])
        .status();
    assert!(built.expect("a C compiler is installed").success());
    library
}

/// How many directories hang, by the metrics.
async fn hung(world: &World) -> u64 {
    let mut answer = client().get(world.url("/metrics")).send().await.unwrap();
    let text = String::from_utf8(answer.body().limit(1 << 24).await.unwrap().to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("caduceus_file_systems_hung "));
    line.unwrap_or_else(|| panic!("no such metric in {text}")).parse().unwrap()
}

#[actix_web::test]
async fn a_home_on_a_hung_disk_affects_no_other_from_start_to_shutdown() {
    let mut world = World::prepare().await;
    world.profile("hung", "A=1\n");
    world.profile("good", "");
    let switch = world.path("hang");
    fs::write(&switch, "").unwrap();
    world.variable("LD_PRELOAD", &hung_disk(world.home()).display().to_string());
    world.variable("HANG", &switch.display().to_string());
    world.serve().await;
    world.until("the hung disk", |status| troubles(status, "hung").contains("does not answer")).await;
    assert!(hung(&world).await > 0);
    for (id, profile) in [("d", None), ("g", Some("good"))] {
        world.push(id, "hello", id, profile).await;
        world.until_text(id, "hello").await;
    }
    world.write(".drain_request.json", "{}");
    world.until("the drain", |status| status["gateway_state"] == "draining").await;
    fs::remove_file(world.path(".drain_request.json")).unwrap();
    world.until("the end of the drain", |status| status["gateway_state"] == "running").await;
    world.profile("fresh", "");
    world.until("the new profile", |status| status["profiles"].to_string().contains("fresh")).await;
    let threads = || fs::read_dir(format!("/proc/{}/task", world.gateway().id())).unwrap().count();
    let before = threads();
    world.push("f", "hello", "f", Some("fresh")).await;
    world.until_text("f", "hello").await;
    for round in 0..20 {
        let (id, chat) = (format!("hung{round}"), format!("hung{round}"));
        world.push(&id, "hello", &chat, Some("hung")).await;
    }
    world.until("an empty queue", |status| status["turns"]["queued"] == 0).await;
    assert!(threads() < before + 10, "{before} threads, then {}", threads());
    fs::remove_file(&switch).unwrap();
    world.until("the repaired disk", |status| troubles(status, "hung") == "[]").await;
    wait_for("no directory that hangs", SOON, || async { (hung(&world).await == 0).then_some(()) }).await;
    world.push("again", "hello", "again", Some("hung")).await;
    world.until_text("again", "hung: hello").await;
    fs::write(&switch, "").unwrap();
    world.until("the hung disk", |status| troubles(status, "hung").contains("does not answer")).await;
    assert!(world.stop_gateway().success());
}

/// A command that reads a home while its disks hang.
struct RunningCommand {
    child: Child,
    begun: Instant,
}

impl RunningCommand {
    fn start(world: &World, library: &Path, switch: &Path, arguments: &[&str]) -> Self {
        let mut command = binary();
        command.args(arguments).arg("--home").arg(world.home());
        command.env("LD_PRELOAD", library).env("HANG", switch).env("HOME", world.home());
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child, begun: Instant::now() }
    }

    /// Its output, once it has ended.
    fn output(self) -> Output {
        let output = output_of(self.child, "a command", CEILING);
        println!("it took {:?}", self.begun.elapsed());
        output
    }

    fn report(self) -> Value {
        let output = self.output();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }
}

/// The entries of `list` whose disk does not answer.
fn unanswered(list: &Value) -> Vec<&Value> {
    list.as_array().unwrap().iter().filter(|item| item.to_string().contains("does not answer")).collect()
}

#[actix_web::test]
async fn commands_name_each_home_on_a_hung_disk_and_report_the_other_homes_as_usual() {
    let mut world = World::prepare().await;
    // Several, because a command waits for all of them at once.
    let hung = ["hung-a", "hung-b", "hung-c", "hung-d"];
    for name in hung {
        world.profile(name, "A=1\n");
    }
    world.profile("good", "SHARED=shared-by-two-homes\n");
    world.profile("well", "SHARED=shared-by-two-homes\n");
    let (library, switch) = (hung_disk(world.home()), world.path("hang"));
    for served in [false, true] {
        if served {
            world.serve().await;
        }
        fs::write(&switch, "").unwrap();
        let start = |arguments: &[&str]| RunningCommand::start(&world, &library, &switch, arguments);
        let doctor = start(&["doctor", "--json"]);
        let audit = start(&["secrets", "audit", "--json"]);
        let grants = start(&["honcho", "status", "--json"]);
        let refresh = start(&["honcho", "refresh", "--profile", "hung-a"]);
        let drain = start(&["drain", "begin", "--profile", "hung-b"]);
        let audit = audit.report();
        assert!(audit["findings"].to_string().contains("SHARED"), "{audit}");
        for report in [&doctor.report(), &audit] {
            let unanswered = unanswered(&report["findings"]);
            for name in hung {
                assert!(unanswered.iter().any(|found| found.to_string().contains(name)), "{name}: {report}");
            }
            assert!(!unanswered.iter().any(|found| found.to_string().contains("good")), "{report}");
        }
        let grants = grants.report();
        let names: Vec<_> = unanswered(&grants["grants"]).into_iter().map(|grant| &grant["profile"]).collect();
        assert_eq!(names, hung, "{grants}");
        for command in [refresh, drain] {
            let output = command.output();
            assert!(!output.status.success());
            assert!(String::from_utf8_lossy(&output.stderr).contains("does not answer"), "{output:?}");
        }
        fs::remove_file(&switch).unwrap();
    }
}

#[actix_web::test]
async fn the_doctor_names_unserved_profiles_on_a_hung_disk_as_well() {
    let world = World::prepare().await;
    world.write("config.yaml", "gateway:\n  multiplex_profiles: false\n");
    world.profile("hung", "");
    world.profile("good", "");
    std::os::unix::fs::symlink(world.path("profiles/hung"), world.path("profiles/linked")).unwrap();
    std::os::unix::fs::symlink("nowhere", world.path("profiles/dangling")).unwrap();
    let switch = world.path("hang");
    fs::write(&switch, "").unwrap();
    let doctor =
        RunningCommand::start(&world, &hung_disk(world.home()), &switch, &["doctor", "--json"]).report().to_string();
    assert!(doctor.contains("good, hung, linked"), "{doctor}");
}
