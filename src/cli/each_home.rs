//! Reads the homes of profiles, each on a separate thread: a disk that does not answer does not delay the others.

use std::path::Path;
use std::time::Instant;

use caduceus_actors::files::workers::{NoAnswer, Owner, TIMEOUT};
use caduceus_actors::files::{FileWorker, Purpose};

/// Homes that are read at a time; it limits the threads.
const AT_ONCE: usize = 64;

/// The result of `read` for each of `profiles`, in their order; `home` gives the directory of a profile. Blocks, for little more than
/// 10 s if few disks hang.
pub(super) fn each_home<P: Clone + Send + 'static, T: Send + 'static>(
    profiles: &[P],
    home: impl Fn(&P) -> &Path,
    read: impl Fn(&P) -> T + Clone + Send + 'static,
) -> Vec<Result<T, NoAnswer>> {
    let mut found = Vec::with_capacity(profiles.len());
    for some in profiles.chunks(AT_ONCE) {
        let begun = some.iter().map(|profile| {
            let (own, read) = (profile.clone(), read.clone());
            FileWorker::of(home(profile), Purpose::Settings, Owner::Profile).begin(move || read(&own))
        });
        let begun: Vec<_> = begun.collect();
        // Twice the limit: a file within that has a separate limit, such as the `.env`, may take as long again.
        let deadline = Instant::now() + TIMEOUT * 2;
        found.extend(begun.into_iter().map(|reading| reading.wait(deadline)));
    }
    found
}

/// Whether `path`, or where it leads, is a directory.
///
/// # Errors
/// [`NoAnswer`] where the disk does not answer.
pub(super) fn is_directory(path: &Path) -> Result<bool, NoAnswer> {
    let place = path.to_owned();
    let reading = FileWorker::of(path, Purpose::Settings, Owner::Profile).begin(move || place.is_dir());
    reading.wait(Instant::now() + TIMEOUT)
}
