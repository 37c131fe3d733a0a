//! Simulated power cuts: a preloaded library journals what a gateway does with the files of its ledger, and a gateway starts on what the
//! disk may hold after a cut at some place of the journal.
//!
//! A seed is a cut. `CADUCEUS_LONG` cuts 100 times in place of 15; `CADUCEUS_SEEDS=FROM..TO` runs these seeds. The journal differs in each
//! run, so a seed that failed is repeated on another journal; the message of a failure says what was kept.
//!
//! The library journals the acknowledgements and answers on their way to the connector too, so what had left the gateway before a cut is
//! known from the journal alone. The directory of the ledger itself is taken as being on disk.

mod disk;
mod journal;
mod recording;
mod verdict;

use std::collections::BTreeMap;

use fastrand::Rng;
use tempfile::TempDir;

use crate::support;
use journal::Record;
use recording::{LeftBefore, Recording};

/// States of the disk for each cut. They are opened by this process, and the first one of every fourth cut gets a gateway.
const STATES: usize = 6;
const SERVED: u64 = 4;
/// States of the disk for each place of the first start, before its log begins and from then on.
const FIRST_STATES: [usize; 2] = [24, 1];

/// Logs that begin because a gateway starts: two at the first start, whose first page is copied, and one at the last.
const STARTS: usize = 3;

/// Where a cut is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Anywhere.
    Anywhere,
    /// Just after an acknowledgement has left.
    Acknowledged,
    /// While the log is written back.
    WrittenBack,
    /// While files get or lose their names, or a gateway starts.
    Names,
    /// While the rows of a damaged file are carried over to a new one.
    CarriedOver,
}

const PLACES: [Place; 5] = [Place::Anywhere, Place::Acknowledged, Place::WrittenBack, Place::Names, Place::CarriedOver];

impl Place {
    /// The number of records before the cut.
    fn cut(self, recording: &Recording, rng: &mut Rng) -> usize {
        let records = &recording.journal.records;
        let near = |places: Vec<usize>, rng: &mut Rng| {
            let place = places[rng.usize(0..places.len())];
            (place + 1 + rng.usize(0..6)).saturating_sub(2).min(records.len())
        };
        let with = |is: fn(&Record) -> bool| (0..records.len()).filter(|at| is(&records[*at])).collect::<Vec<_>>();
        match self {
            Self::Anywhere => rng.usize(0..=records.len()),
            Self::Acknowledged => {
                let acked = recording.acknowledgements();
                (acked[rng.usize(0..acked.len())] + 1 + rng.usize(0..3)).min(records.len())
            }
            Self::WrittenBack => near(with(is_page), rng),
            Self::CarriedOver => {
                let begun = recording.acknowledgements().first().copied().unwrap_or(records.len());
                rng.usize(0..=begun)
            }
            Self::Names => near(
                with(|record| {
                    matches!(
                        record,
                        Record::Begun(_)
                            | Record::Named { .. }
                            | Record::Renamed { .. }
                            | Record::Unlinked { .. }
                            | Record::DirectorySynced(_)
                    )
                }),
                rng,
            ),
        }
    }
}

/// Whether a page of the database was written: those of the log are behind headers.
fn is_page(record: &Record) -> bool {
    matches!(record, Record::Written { offset, bytes, .. } if bytes.len() == 4096 && offset % 4096 == 0)
}

#[actix_web::test]
async fn nothing_acknowledged_is_lost_and_nothing_is_called_damaged_after_a_power_cut() {
    let new = Recording::of_new_home().await;
    let carried = Recording::of_carried_home(&new).await;
    let mut places: BTreeMap<Place, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    let seeds = support::seeds(15, 100);
    for seed in seeds.clone() {
        let mut rng = Rng::with_seed(seed);
        let place = PLACES[usize::try_from(seed).unwrap() % PLACES.len()];
        let recording = if place == Place::CarriedOver { &carried } else { &new };
        let cut = place.cut(recording, &mut rng);
        *places.entry(place).or_default() += 1;
        let (disk, left) = (recording.disk(cut, false), recording.left_before(cut));
        for state in 0..STATES {
            let directory = scratch();
            let how = disk.cut(&recording.journal, directory.path(), cut, &mut rng);
            let wrong = if state == 0 && seed % SERVED == 1 {
                let interrupted = if seed % 2 == 0 { "ask" } else { "rerun" };
                verdict::served(directory.path(), recording, &left, interrupted).await
            } else {
                verdict::opened(directory.path(), recording, &left)
            };
            failures.extend(failure(&format!("seed {seed}, {place:?}, record {cut}, {how}"), directory, &wrong));
        }
    }
    failures.extend(wrong_at_first_start(&new));
    let (records, acked) = (new.journal.records.len(), new.acknowledgements().len());
    eprintln!("{records} records with {acked} acknowledgements and {} logs", new.logs());
    eprintln!("{STATES} states of the disk for each of {seeds:?}: {places:?}");
    assert!(new.logs() > STARTS, "the log was written back while the gateway worked");
    let found = found_on_a_broken_disk(&new);
    assert!(found.contains("was acknowledged and is lost"), "nothing is lost on a disk that ignores syncs: {found}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// What is wrong after a cut at each place of the first start, before anything was acknowledged.
fn wrong_at_first_start(recording: &Recording) -> Vec<String> {
    let mut rng = Rng::with_seed(0);
    let mut failures = Vec::new();
    for cut in 0..=recording.acknowledgements()[0] {
        let disk = recording.disk(cut, false);
        for _ in 0..FIRST_STATES[usize::from(cut > recording.first_log())] {
            let directory = scratch();
            let how = disk.cut(&recording.journal, directory.path(), cut, &mut rng);
            let wrong = verdict::opened(directory.path(), recording, &LeftBefore::default());
            failures.extend(failure(&format!("first start, record {cut}, {how}"), directory, &wrong));
        }
    }
    failures
}

/// A directory in memory, if there is such a file system: what the disk holds is simulated.
fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Says what is wrong, if anything is, and keeps the directory.
fn failure(what: &str, directory: TempDir, wrong: &[String]) -> Option<String> {
    (!wrong.is_empty()).then(|| format!("{what}, in {}:\n  {}", directory.keep().display(), wrong.join("\n  ")))
}

/// What is wrong after cuts of a disk that ignores the syncs of files: the checks find what they look for.
fn found_on_a_broken_disk(recording: &Recording) -> String {
    let mut rng = Rng::with_seed(0);
    let mut found = String::new();
    for _ in 0..STATES {
        let cut = Place::Acknowledged.cut(recording, &mut rng);
        let directory = scratch();
        recording.disk(cut, true).cut(&recording.journal, directory.path(), cut, &mut rng);
        found += &verdict::opened(directory.path(), recording, &recording.left_before(cut)).join("\n");
    }
    found
}
