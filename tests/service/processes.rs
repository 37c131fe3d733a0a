//! Processes, read from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A process that has a given home.
#[derive(Debug)]
pub(crate) struct FoundProcess {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) arguments: Vec<String>,
}

/// The agents that run in `home`, their guards and all their descendants: all inherit `HERMES_HOME`, whatever their
/// current parent is.
pub(crate) fn of_home(home: &Path) -> Vec<FoundProcess> {
    let home = home.canonicalize().expect("the home exists");
    let mut found = all();
    found.retain(|found| found.environment.get("HERMES_HOME").is_some_and(|at| home == *at));
    found
}

/// The same for `home` and everything below it.
pub(crate) fn below_home(home: &Path) -> Vec<FoundProcess> {
    let home = home.canonicalize().expect("the home exists");
    let mut found = all();
    found.retain(|found| found.environment.get("HERMES_HOME").is_some_and(|at| Path::new(at).starts_with(&home)));
    found
}

/// The children of a process, zombies among them.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    pids().filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn all() -> Vec<FoundProcess> {
    pids().filter_map(read).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc is readable").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The fourth field; the second is a name, which may hold anything.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    String::from_utf8_lossy(&stat).rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// `None` for a process that has ended, or that this user may not read.
fn read(pid: u32) -> Option<FoundProcess> {
    let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
    let words = |bytes: Vec<u8>| -> Vec<String> {
        bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    };
    let split = |word: String| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    Some(FoundProcess {
        pid,
        parent: parent_of(pid)?,
        environment: words(file("environ")?).into_iter().filter_map(split).collect(),
        arguments: words(file("cmdline")?),
    })
}
