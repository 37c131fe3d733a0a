//! Processes, read from `/proc`.

use std::collections::BTreeMap;
use std::fs;

/// The running processes whose environment holds `mark`.
pub(crate) fn marked(mark: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let holds = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|window| window == mark.as_bytes())
    };
    pids.filter(holds).collect()
}

/// The environment of a process, as other processes of its user can read it.
pub(crate) fn environment_of(pid: i32) -> BTreeMap<String, String> {
    let text = String::from_utf8(fs::read(format!("/proc/{pid}/environ")).unwrap()).unwrap();
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The arguments of a process.
pub(crate) fn arguments_of(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
}
