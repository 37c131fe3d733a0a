//! The process is killed at any moment.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;
use crate::ledger::tests::received;

/// Marks the run of this test binary that is to be killed; for the test harness it is a filter that matches nothing.
const CHILD: &str = "ledger-child=";
/// Acknowledged before the kill. More than one group, less than a second.
const ENOUGH: usize = 300;

#[test]
fn everything_acknowledged_before_a_kill_is_present_after_it() {
    if let Some(path) = std::env::args().find_map(|arg| arg.strip_prefix(CHILD).map(PathBuf::from)) {
        return record_until_killed(&path);
    }
    let home = Home::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "ledger::sqlite::tests::kill::everything_acknowledged_before_a_kill_is_present_after_it",
            "--nocapture",
        ])
        .arg(format!("{CHILD}{}", home.path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    // Lines in the pipe at the time of the kill were acknowledged too. A truncated line was not.
    while output.read_line(&mut line).unwrap() > 0 {
        if let Some((id, number)) = line.strip_suffix('\n').and_then(|line| line.strip_prefix("ack ")?.split_once(' '))
        {
            acknowledged.push((id.parse::<i64>().unwrap(), number.parse::<u64>().unwrap()));
        }
        line.clear();
        if acknowledged.len() == ENOUGH {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= ENOUGH, "the child ended before the kill, after {}", acknowledged.len());

    let rows = received(&home.open());
    for (id, number) in acknowledged {
        let row = rows.iter().find(|row| row.id.0 == id).unwrap_or_else(|| panic!("row {id} is lost"));
        assert_eq!(row.event, event(number).event.get());
    }
}

/// Prints `ack <row> <number>` for each event on disk, until the pipe or the process ends.
#[expect(clippy::disallowed_methods, reason = "the test reads it")]
fn record_until_killed(path: &Path) {
    let writer = LedgerWriter::open(path).unwrap();
    let threads = (0..4_u64).map(|thread| {
        let writer = writer.clone();
        std::thread::spawn(move || {
            for number in (0..100_000).map(|step| step * 4 + thread) {
                let InboundId(id) = record(&writer, number);
                if writeln!(std::io::stdout().lock(), "ack {id} {number}").is_err() {
                    return;
                }
            }
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
}
