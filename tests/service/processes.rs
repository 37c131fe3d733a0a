//! Processes as seen from outside, through `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A process that has a given home.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) arguments: Vec<String>,
}

/// The agents that run in `home`, their guards and whatever they started: all inherit `HERMES_HOME`, whoever their
/// parent is by now.
pub(crate) fn of_home(home: &Path) -> Vec<Found> {
    let home = home.canonicalize().expect("the home is there");
    let entries = fs::read_dir("/proc").expect("there is a /proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let found =
        pids.filter_map(look).filter(|found| found.environment.get("HERMES_HOME").is_some_and(|at| home == *at));
    found.collect()
}

/// `None` for one that has ended, or is not ours to look at.
fn look(pid: u32) -> Option<Found> {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
    let words = |bytes: Vec<u8>| -> Vec<String> {
        bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    };
    let split = |word: String| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let stat = String::from_utf8_lossy(&read("stat")?).into_owned();
    Some(Found {
        pid,
        parent: stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?,
        environment: words(read("environ")?).into_iter().filter_map(split).collect(),
        arguments: words(read("cmdline")?),
    })
}
